"""What a recipe may say, as TOML decodes it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec

AxisTable = int | list[int] | str | None
Severity = Literal["error", "warn", "ignore"]
Tolerance = Annotated[float, msgspec.Meta(ge=0, le=1)]
Patterns = Annotated[list[str], msgspec.Meta(min_length=1)]


class StepTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One constraint: its name, and its parameters as Keras names them."""

    constraint: str
    max_value: float | None = None
    min_value: float | None = None
    rate: float | None = None
    axis: AxisTable = None
    config: dict[str, Any] = {}


class RuleTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One rule: what it matches, and one constraint or several `steps`."""

    match: str | Patterns
    id: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    constraint: str | None = None
    max_value: float | None = None
    min_value: float | None = None
    rate: float | None = None
    axis: AxisTable = None
    config: dict[str, Any] = {}
    steps: list[StepTable] = []
    expect: Annotated[int, msgspec.Meta(ge=0)] | None = None


class CheckPolicy(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The policy of `check`; `rtol` None stands for the tolerance of each stored dtype."""

    rtol: Tolerance | None = None
    nonfinite: Severity = "error"
    unreachable: Severity = "error"
    unmatched_tensors: Severity = "ignore"


class RecipeTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A whole recipe, as TOML spells it."""

    version: Literal[1]
    layout: Literal["auto", "keras", "torch"] = "auto"
    exclude: list[str] = []
    rule: list[RuleTable] = []
    check: CheckPolicy = msgspec.field(default_factory=CheckPolicy)


_TABLES: dict[tuple[str, ...], type[msgspec.Struct]] = {
    (): RecipeTable,
    ("rule",): RuleTable,
    ("rule", "steps"): StepTable,
    ("check",): CheckPolicy,
}


def fields_at(place: Sequence[str | int]) -> list[str]:
    """The keys of the table at `place`."""
    return list(_TABLES[_keys(place)].__struct_fields__)


def choice_at(place: Sequence[str | int]) -> str | None:
    """The values that the key at `place` may have, where they are few."""
    *table, key = _keys(place) or ("",)
    kind = _TABLES.get(tuple(table))
    choices = get_args(get_type_hints(kind).get(key)) if kind else ()
    literal = all(isinstance(choice, str | int) for choice in choices)
    return f"{key} is {' or '.join(map(str, choices))}" if choices and literal else None


def _keys(place: Sequence[str | int]) -> tuple[str, ...]:
    return tuple(part for part in place if isinstance(part, str))
