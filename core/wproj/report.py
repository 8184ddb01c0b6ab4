"""What was measured, as frozen values: the report schema, version 1. No formatting here.

Keys are only ever added within version 1. A measure that does not exist (of an empty set, of
non-finite values, of a constraint that cannot tell) is None, and `null` in JSON.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from wproj.measures import Difference, Distance, Histogram, NormSummary, Violations

SCHEMA = "wproj.report"
SCHEMA_VERSION = "1.0"

Status = Literal[
    "changed",
    "unchanged",
    "violation",
    "ok",
    "skipped",
    "error",
    "added",
    "removed",
    "reshaped",
    "retyped",
]


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """One constraint of a rule: its name and its config as Keras spells it, axes resolved."""

    name: str
    config: dict[str, Any]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor as one of two compared checkpoints has it."""

    path: str
    shape: list[int]
    dtype: str


class TensorReport(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor of a checkpoint.

    `file` is the shard that holds it, in a checkpoint of several files. `named_by` says where the
    name comes from in Keras files: `config`, `attribute` (a layer name noted beside the variable)
    or `path`. `layer` is the class of its Keras layer and `declared` the constraint that the layer
    declares for it, as serialized, where a config tells. `axis` holds the axes summed over, None
    where every entry is judged by itself; the norms are then those of the whole tensor, and
    `vectors` counts entries. `zero` counts vectors of norm 0, `unreachable` those of them that a
    lower bound leaves at zero. `step` says that the constraint moves only part of the way (`rate`
    below 1).

    `check` counts as violations what is outside by more than the tolerance. `diff` has the tensor
    as either checkpoint has it in `a` and `b`, None where it has none, and their `difference`;
    `norm_before` and `norm_after` are then those of `a` and of `b`.
    """

    name: str
    path: str
    shape: list[int]
    dtype: str
    bytes: int
    file: str | None = None
    named_by: Literal["config", "attribute", "path"] | None = None
    layer: str | None = None
    declared: str | dict[str, Any] | None = None
    rule: str | None = None
    constraint: list[Applied] = []
    axis: list[int] | None = None
    vectors: int | None = None
    vector_length: int | None = None
    status: Status = "ok"
    reason: str | None = None
    norm_before: NormSummary | None = None
    norm_after: NormSummary | None = None
    changed_vectors: int | None = None
    changed_entries: int | None = None
    zero: int | None = None
    unreachable: int | None = None
    nonfinite: int | None = None
    step: bool = False
    violations: Violations | None = None
    distance: Distance | None = None
    histogram: Histogram | None = None
    a: Side | None = None
    b: Side | None = None
    difference: Difference | None = None


class Looser(msgspec.Struct, frozen=True, kw_only=True):
    """A wider pattern, and how many tensors it would match."""

    pattern: str
    count: int


class Shadowed(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor that a rule matches and an earlier one has taken."""

    name: str
    by: str


class RuleReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule does to one checkpoint.

    `line` is that of the recipe, `matched` and `taken` name tensors, `looser` is a wider pattern
    for one that matches nothing, and `problem` says why the rule cannot be applied.
    """

    rule: str
    line: int | None
    match: list[str]
    constraint: list[Applied]
    matched: list[str]
    taken: list[str]
    shadowed: list[Shadowed]
    looser: Looser | None
    problem: str | None


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint; `tensor_count` counts all of its tensors, listed in `tensors` or not.

    `output` is what was written, or for `diff` the second checkpoint, whose tensors count, too,
    where the first has none. `rules` are those that were given, in order.
    """

    path: str
    format: str
    layout: str
    output: str | None
    tensor_count: int
    tensors: Sequence[TensorReport]
    rules: list[RuleReport] = []


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """A warning or an error, with its hint, and the file that it is about where there is one."""

    level: Literal["error", "warning"]
    message: str
    hint: str | None = None
    file: str | None = None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over all files of a report."""

    files: int
    tensors: int
    matched: int
    changed: int
    violations: int
    nonfinite: int
    skipped: int


class RecipeReport(msgspec.Struct, frozen=True, kw_only=True):
    """Which recipe the rules are from; the digest is of its bytes."""

    path: str
    sha256: str


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """Which program made the report."""

    name: str
    version: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report of one command."""

    schema: str = SCHEMA
    schema_version: str = SCHEMA_VERSION
    command: str
    tool: Tool
    numerics: str | None
    exit_code: int
    recipe: RecipeReport | None = None
    summary: Summary
    files: list[FileReport]
    diagnostics: list[Diagnostic]


def summarize(files: list[FileReport]) -> Summary:
    """Counts over `files`.

    Violations are those that remain: after a projection, or as found where nothing was projected.
    """
    matched = changed = violations = nonfinite = 0
    for tensor in _matched(files):
        matched += 1
        changed += tensor.status == "changed"
        violations += _remaining(tensor)
        nonfinite += tensor.nonfinite or 0
    total = sum(file.tensor_count for file in files)
    return Summary(
        files=len(files),
        tensors=total,
        matched=matched,
        changed=changed,
        violations=violations,
        nonfinite=nonfinite,
        skipped=total - matched,
    )


def _matched(files: Iterable[FileReport]) -> Iterator[TensorReport]:
    for file in files:
        yield from (t for t in file.tensors if t.status not in ("skipped", "error"))


def _remaining(tensor: TensorReport) -> int:
    if tensor.violations is None:
        return 0
    after = tensor.violations.after
    return (tensor.violations.before if after is None else after) or 0
