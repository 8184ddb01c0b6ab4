"""Recipes, and the single values that override theirs."""

from hypothesis import strategies as st

from fuzzing.checkpoints import SMALL
from fuzzing.damage import TEXTS, encoded, scrambled, texts
from fuzzing.target import Target
from wproj.selection.plan import sketch_plan
from wproj.selection.recipe import Recipe, parse_recipe

_RECIPE = b"""\
version = 1
layout = "auto"
exclude = ["*/bias"]

[[rule]]
id = "conv"
match = ["conv*/kernel", "re:dense.*"]
constraint = "max_norm"
max_value = 2.0
axis = [0, 1, 2]
expect = 1

[[rule]]
match = "{a,b}*"
steps = [{ constraint = "non_neg" }, { constraint = "unit_norm", axis = -1 }]

[check]
rtol = 0
nonfinite = "warn"
"""
_LINES = (
    *_RECIPE.decode().split("\n"),
    'match = "*"',
    'constraint = "min_max_norm"',
    "min_value = 0.5",
    "rate = 0.1",
    "axis = ",
    'axis = "in"',
    "config = {}",
    'config.rate = "x"',
    "[rule.config]",
    "[[rule.steps]]",
    "[tool.wproj]",
    "# comment ]",
    'exclude = ["""',
    '"""]',
    "'''",
    "[[exclude]]",
    "rule = []",
    "check = 1",
)
_VALUES = (
    "1",
    "-1",
    "1e400",
    "nan",
    "inf",
    "9" * 30,
    "9" * 5000,
    "1979-05-27",
    "true",
    '"x"',
    "''",
)
_VALUES = (
    *_VALUES,
    "[]",
    "[[]]",
    "{}",
    "{a=1}",
    "[" * 400,
    "]" * 400,
    "a.b.c",
    "0x1f",
    '"\\u0000"',
)


def _plan(recipe: Recipe) -> None:
    globs = [rule for rule in recipe.rules if not any(p.startswith("re:") for p in rule.patterns)]
    if globs:
        exclude = [pattern for pattern in recipe.exclude if not pattern.startswith("re:")]
        sketch_plan(SMALL, globs, exclude=exclude, layout=recipe.layout)


def _run_recipe(data: bytes) -> None:
    table = ("tool", "wproj") if b"[tool.wproj]" in data else ()
    _plan(parse_recipe(data, "wproj.toml", table=table, code=False))


def _run_setting(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    _plan(parse_recipe(_RECIPE, "wproj.toml", [text], code=False))


def _documents() -> st.SearchStrategy[bytes]:
    key = st.sampled_from(
        ("match", "axis", "constraint", "max_value", "expect", "config", "id", "x")
    )
    statement = st.builds("{} = {}".format, key, st.one_of(st.sampled_from(_VALUES), _quoted()))
    line = st.one_of(st.sampled_from(_LINES), st.sampled_from(_LINES), statement)
    whole = st.lists(line, max_size=12).map(lambda lines: "\n".join(("version = 1", *lines)))
    return st.one_of(encoded(whole), scrambled(st.just(_RECIPE)))


def _quoted() -> st.SearchStrategy[str]:
    return st.sampled_from(TEXTS).map(lambda text: f"'''{text}'''")


RECIPE = Target(
    run=_run_recipe,
    seeds=lambda: [_RECIPE, b"version = 1\n", b"[tool.wproj]\nversion = 1\n"],
    inputs=_documents(),
    words=(*filter(None, _LINES), *_VALUES[:12]),
    guided=90,
    structured=8,
)
SETTING = Target(
    run=_run_setting,
    seeds=lambda: [b"rule.conv.max_value=3", b"check.rtol=0", b"layout=torch", b"exclude=['a*']"],
    inputs=encoded(
        texts(
            "rule.",
            "conv",
            "check.",
            ".",
            "=",
            "max_value=",
            "axis=",
            "rtol=",
            "rule=",
            *_VALUES,
            size=6,
        )
    ),
    words=("rule.conv.", "check.", "exclude=", "rule=", "layout=", "version=", *_VALUES[:12]),
    guided=25,
    structured=4,
)
