"""Rules, patterns, axes, constraints and sizes, as the command line and recipes have them."""

import re
from contextlib import suppress

from fuzzing.checkpoints import SMALL, weights
from fuzzing.damage import encoded, texts
from fuzzing.target import Target
from wproj.constraints.base import Constraint
from wproj.constraints.keras import MaxNorm
from wproj.errors import RequestError
from wproj.selection.axes import parse_axes
from wproj.selection.globs import looser, matcher, nearest, select
from wproj.selection.plan import sketch_plan
from wproj.selection.rules import Rule, parse_constraint, parse_rule
from wproj_cli.options import parse_number, parse_resources

_SPECS = ("max_norm=2", "max_norm", "MaxNorm", "non_neg", "unit_norm", "min_max_norm=0.5..2")
_SPECS = (*_SPECS, "non_neg+max_norm=2", "min_max_norm=1e-3..1e+3", "Constraint")
_SETTINGS = (" axis=", " rate=", " max_value=", " min_value=", "0.5", "1", "[1]", "null", "{}")
_AXES = ("0", "-1", "1", "0,1,2", "all", "in", "(0,1)", "[0]", ",", "(", ")", "-", "999")
_GLOBS = ("*", "?", "conv*", "*/kernel", "dense", "[abc]", "[!a]", "{a,b}", "{1..3}", "\\", "re:")
_REGEX = ("re:", ".*", "(", ")", "(?:", "(?P<a>", "(?i)", "[a-z]", "[[", "{2}", "{2,", "|", "\\1")
_SIZES = ("256MB", "1GiB", "1.5", "k", "128000000", " ", "1e9", "0", "9" * 15, "inf", "nan")


def _text(data: bytes) -> str:
    """What the command line would be given; bytes that are not UTF-8 as lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def _run_rule(data: bytes) -> None:
    # Behind the pattern, `module:Class` runs code because its name was typed: not here.
    first, *rest = re.split(r"(?<=\s)", _text(data), maxsplit=1)
    rule = parse_rule(first + "".join(rest).replace(":", ";"))
    assert str(rule)
    # What an expression costs is up to who writes it: names meet globs only.
    if not rule.patterns[0].startswith("re:"):
        sketch_plan(SMALL, [rule])


def _run_constraint(data: bytes) -> None:
    for constraint in parse_constraint(_text(data).replace(":", ";")):
        constraint.get_config()


def _run_axes(data: bytes) -> None:
    axes = parse_axes(_text(data))
    sketch_plan(SMALL, [Rule("*", MaxNorm(1), axes, partial=True), Rule("*", Constraint(), axes)])


def _run_glob(data: bytes) -> None:
    """A pattern, and names for it to match, each on a line."""
    pattern, *names = _text(data).split("\n")
    matches = matcher(pattern)
    if pattern.startswith("re:"):
        return
    entries = weights((name[:64], (2,)) for name in names[:8]).entries
    select(pattern, entries)
    nearest(pattern, entries)
    looser(pattern, entries)
    for name in names:
        matches(name[:64])


def _run_size(data: bytes) -> None:
    text = _text(data)
    with suppress(RequestError):
        parse_number("--rtol", text)
    parse_resources(None, text)


def _seeds(*texts_: str) -> list[bytes]:
    return [text.encode() for text in texts_]


RULE = Target(
    run=_run_rule,
    seeds=lambda: _seeds(
        "conv*/kernel max_norm=2 axis=0,1,2",
        "* non_neg+unit_norm axis=in",
        "'w[0]' min_max_norm=0..1 rate=0.5",
    ),
    inputs=encoded(texts(*_SPECS, *_SETTINGS, *_AXES, *_GLOBS, " ", "'", '"', size=10)),
    words=(*_SPECS, *_SETTINGS, *_GLOBS),
    guided=110,
    structured=6,
)
CONSTRAINT = Target(
    run=_run_constraint,
    seeds=lambda: _seeds("max_norm=2", "non_neg+min_max_norm=0.5..2 rate=0.1", "unit_norm"),
    inputs=encoded(texts(*_SPECS, *_SETTINGS, "+", "=", "..", " ", size=8)),
    words=(*_SPECS, *_SETTINGS),
    guided=90,
    structured=4,
)
AXES = Target(
    run=_run_axes,
    seeds=lambda: _seeds("0", "-1", "0,1,2", "all", "in"),
    inputs=encoded(texts(*_AXES, size=6)),
    words=_AXES,
    guided=30,
    structured=4,
)
GLOB = Target(
    run=_run_glob,
    seeds=lambda: _seeds(
        "conv*/kernel\nconv1/kernel\nconv1/bias", "{a,b}[!c]?\nabd", "re:a+(b|c)\nab"
    ),
    inputs=encoded(texts(*_GLOBS, *_REGEX, "\n", "\n", "conv1/kernel", size=12)),
    words=(*_GLOBS, *_REGEX),
    guided=90,
    structured=5,
)
SIZE = Target(
    run=_run_size,
    seeds=lambda: _seeds("256MB", "1.5 GiB", "128000000"),
    inputs=encoded(texts(*_SIZES, size=4)),
    words=_SIZES,
    guided=60,
    structured=2,
)
