"""Rules: which tensors a constraint holds for, and along which axes; and their one-line text."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wproj.constraints.base import Constraint, RadialConstraint
from wproj.constraints.registry import build, find, load_constraint
from wproj.errors import RequestError, RuleSyntaxError
from wproj.selection.axes import Axes, axes_text, parse_axes

_PLUS = re.compile(r"\+(?=[^\d.])")  # Not the plus of 1e+3.


@dataclass(frozen=True, slots=True)
class Rule:
    """Constraints for the tensors that any of the patterns matches.

    >>> from wproj import MaxNorm
    >>> str(Rule("conv*/kernel", MaxNorm(2), axis=(0, 1, 2)))
    'conv*/kernel max_norm=2 axis=0,1,2'

    Attributes:
        match: One pattern or several.
        constraint: One constraint or several, applied in order.
        axis: The axes that norms are summed over; None leaves it to each constraint, `in` stands
            for every axis but the output's, `all` for all.
        label: How messages and reports call the rule; its text if not given.
        partial: Whether tensors that the axis does not fit are left alone, not an error.
        expect: How many tensors it takes, where that is known; any other number is an error.
        line: The line of the recipe that it stands on.
    """

    match: str | tuple[str, ...]
    constraint: Constraint | tuple[Constraint, ...]
    axis: Axes = None
    label: str | None = None
    partial: bool = False
    expect: int | None = None
    line: int | None = None

    def __post_init__(self) -> None:
        """Refuses an axis that names none."""
        if isinstance(self.axis, tuple) and not self.axis:
            raise RequestError("the axis of a rule is empty", "'all' sums over all axes")

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns."""
        return (self.match,) if isinstance(self.match, str) else tuple(self.match)

    @property
    def steps(self) -> tuple[Constraint, ...]:
        """The constraints, in order."""
        return (self.constraint,) if isinstance(self.constraint, Constraint) else self.constraint

    def __str__(self) -> str:
        if self.label is not None:
            return self.label
        axis = "" if self.axis in (None, "auto") else f" axis={axes_text(self.axis)}"
        patterns = " ".join(map(_quoted, self.patterns))
        return f"{patterns} {steps_text(self.steps)}{axis}"


def parse_rule(text: str) -> Rule:
    """The rule that `GLOB CONSTRAINT [axis=AXES] [key=value]...` stands for.

    >>> parse_rule("conv*/kernel non_neg+max_norm=2 axis=0,1,2").steps
    (NonNeg(), MaxNorm(max_value=2, axis=0))

    Raises:
        RequestError: The text cannot be read, or the constraint does not exist or fit.
    """
    words = _words(text)
    if len(words) < 2:
        raise RuleSyntaxError(text, "has no constraint")
    pattern, spec, *settings = words
    options = _settings(text, settings)
    axis = options.pop("axis", None)
    axes = "auto" if axis is None else parse_axes(axis)
    return Rule(pattern, parse_steps(spec, options), axes, label=text)


def parse_constraint(text: str) -> tuple[Constraint, ...]:
    """The constraints that `CONSTRAINT [key=value]...` stands for, in order.

    Raises:
        RequestError: The text cannot be read, or the constraint does not exist or fit.
    """
    words = _words(text)
    if not words:
        raise RuleSyntaxError(text, "has no constraint")
    return parse_steps(words[0], _settings(text, words[1:]))


def parse_steps(spec: str, settings: Mapping[str, str]) -> tuple[Constraint, ...]:
    """The constraints of `max_norm=2`, `non_neg+max_norm=2` or `file.py:Class`.

    Each setting goes to those constraints whose parameters have its name.

    Raises:
        RequestError: A constraint does not exist, or takes no such parameter.
    """
    parts = [part.partition("=") for part in _PLUS.split(spec)]
    classes = [load_constraint(name) if ":" in name else find(name) for name, _, _ in parts]
    configs = [_config(name, value) if equals else {} for name, equals, value in parts]
    for key, text in settings.items():
        takers = [i for i, cls in enumerate(classes) if _takes(cls, key)]
        if not takers:
            raise RequestError(f"constraint {spec!r} takes no parameter {key!r}")
        for i in takers:
            if key in configs[i]:
                raise RequestError(f"constraint {spec!r} is given {key!r} twice")
            configs[i][key] = _value(text)
    return tuple(build(cls, config) for cls, config in zip(classes, configs, strict=True))


def steps_text(steps: Sequence[Constraint]) -> str:
    """Constraints as the command line spells them, axes left out.

    >>> from wproj import MinMaxNorm, NonNeg
    >>> steps_text([NonNeg(), MinMaxNorm(0.5, 2, rate=0.1)])
    'non_neg+min_max_norm=0.5..2 rate=0.1'
    """
    settings = [f" rate={c['rate']}" for c in _configs(steps) if c.get("rate", 1) != 1]
    return "+".join(map(_step_text, steps)) + "".join(settings)


def needs_axis(steps: Sequence[Constraint]) -> bool:
    """Whether any of the constraints is on norms."""
    return any(isinstance(step, RadialConstraint) for step in steps)


def _configs(steps: Sequence[Constraint]) -> list[dict[str, Any]]:
    return [step.get_config() for step in steps]


def _step_text(step: Constraint) -> str:
    config = step.get_config()
    if "min_value" in config:
        return f"{step.name}={config['min_value']}..{config['max_value']}"
    return f"{step.name}={config['max_value']}" if "max_value" in config else step.name


def _quoted(word: str) -> str:
    """A word as `_words` reads it back."""
    if word and not re.search(r"[\s'\"]", word):
        return word
    return f'"{word}"' if "'" in word else f"'{word}'"


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        return list(lexer)
    except ValueError as error:
        raise RuleSyntaxError(text, str(error).lower()) from error


def _settings(text: str, words: Sequence[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise RuleSyntaxError(text, f"{word!r} is not key=value")
        if key in settings:
            raise RuleSyntaxError(text, f"{key!r} is given twice")
        settings[key] = value
    return settings


def _config(name: str, value: str) -> dict[str, Any]:
    """The parameters behind the `=` of one constraint."""
    if ":" in name or find(name).__name__ not in ("MaxNorm", "MinMaxNorm"):
        raise RequestError(f"constraint {name!r} takes no value, but is given {value!r}")
    low, dots, high = value.partition("..")
    if find(name).__name__ == "MinMaxNorm":
        if not dots:
            raise RequestError(f"min_max_norm takes MIN..MAX, not {value!r}")
        return {"min_value": _number(low), "max_value": _number(high)}
    return {"max_value": _number(value)}


def _number(text: str) -> float:
    try:
        return int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError as error:
        raise RequestError(f"{text!r} is not a number") from error


def _takes(cls: type[Constraint], key: str) -> bool:
    import inspect

    parameters = inspect.signature(cls).parameters
    return key in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _value(text: str) -> Any:  # noqa: ANN401 # any JSON value
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
