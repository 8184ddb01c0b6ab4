"""Recipes: what TOML says as rules and a policy, the lines that errors name, and where one lies."""

import hashlib
import tomllib

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wproj
from wproj import CheckPolicy, MaxNorm, MinMaxNorm, NonNeg, Rule, UnitNorm
from wproj.errors import RecipeError
from wproj.selection.lines import lines_of
from wproj.selection.recipe import find_recipe, load_recipe, parse_recipe

RECIPE = """\
version = 1
layout  = "torch"
exclude = ["*/bias"]

[[rule]]
id         = "conv"
match      = ["conv*/kernel", "re:c[0-9]+"]
constraint = "max_norm"
max_value  = 2.5                 # Keras' parameter names
axis       = [0, 1, 2]
expect     = 4

[[rule]]
match = "embedding*"
steps = [ { constraint = "non_neg" }, { constraint = "UnitNorm", axis = -1 } ]

[[rule]]
id = "band"
match = "band"
constraint = "min_max_norm"
min_value = 0.5
max_value = inf
rate = 0.25
axis = "in"

[check]
rtol = 0
nonfinite = "warn"
"""

RULE = "version = 1\n[[rule]]\nmatch = 'a'\nconstraint = 'max_norm'\n"


def parse(text, settings=(), **options):
    """The recipe in a text."""
    return parse_recipe(text.encode(), "r.toml", settings, **options)


def refusal(text, settings=(), **options):
    """What the error of a text says, and its hint."""
    with pytest.raises(RecipeError) as caught:
        parse(text, settings, **options)
    return str(caught.value).removeprefix("recipe "), caught.value.hint


# What a recipe says


def test_a_recipe_is_its_rules_and_its_policy():
    """Every key arrives where it belongs, with the line of its rule."""
    recipe = parse(RECIPE)
    conv, embeddings, band = recipe.rules

    patterns = ("conv*/kernel", "re:c[0-9]+")
    assert conv == Rule(patterns, (MaxNorm(2.5),), (0, 1, 2), label="conv", expect=4, line=5)
    assert embeddings == Rule("embedding*", (NonNeg(), UnitNorm()), (-1,), line=13)
    assert band == Rule("band", (MinMaxNorm(0.5, float("inf"), 0.25),), "in", label="band", line=17)
    assert recipe.exclude == ("*/bias",)
    assert recipe.layout == "torch"
    assert recipe.check == CheckPolicy(rtol=0, nonfinite="warn")
    assert (recipe.path, recipe.sha256) == ("r.toml", hashlib.sha256(RECIPE.encode()).hexdigest())


def test_what_is_not_said_has_its_default():
    """A version is all that a recipe needs."""
    recipe = parse("version = 1")

    assert (recipe.rules, recipe.exclude, recipe.layout) == ((), (), None)
    assert recipe.check == CheckPolicy()


@pytest.mark.parametrize("axis", ["0", "-1", "[0, 1]", "'in'", "'all'", "'0,1'"])
def test_axes_are_those_of_the_command_line(axis):
    """Numbers, lists, and the words."""
    (rule,) = parse(f"{RULE}axis = {axis}").rules

    assert rule.axis == wproj.parse_axes(axis.strip("'").replace(" ", ""))


def test_a_rule_without_an_axis_leaves_it_to_the_layer():
    """As on the command line."""
    assert parse(RULE).rules[0].axis == wproj.parse_rule("a max_norm").axis == "auto"


def test_a_byte_order_mark_and_other_ends_of_lines_change_nothing():
    """As editors on Windows write them."""
    written = parse_recipe(b"\xef\xbb\xbf" + RECIPE.replace("\n", "\r\n").encode(), "r.toml")

    assert written.rules == parse(RECIPE).rules


# What it cannot say

REFUSED = {
    "an unknown key": ("chek = 1", "r.toml, line 2: unknown key chek", "did you mean check?"),
    "an unknown key of a rule": (
        "[[rule]]\nmatch = 'a'\n\nmax_vlaue = 1",
        "r.toml, line 5: unknown key rule.max_vlaue",
        "did you mean max_value?",
    ),
    "an unknown key of the second rule": (
        "[[rule]]\nmatch = 'a'\n# [[rule]]\n[[rule]]\nmatch = 'b'\naxes = 1",
        "r.toml, line 7: unknown key rule.axes",
        "did you mean axis?",
    ),
    "an unknown key of a step": (
        "[[rule]]\nmatch = 'a'\nsteps = [\n  {constraint = 'non_neg'},\n  {axs = 1},\n]",
        "r.toml, line 4: unknown key rule.steps.axs",
        "did you mean axis?",
    ),
    "an unknown key of the policy": (
        "[check]\nrtl = 1",
        "r.toml, line 3: unknown key check.rtl",
        "did you mean rtol?",
    ),
    "a key like no other": (
        "'\u00fcber' = 1",
        "r.toml, line 2: unknown key \u00fcber",
        "the keys are version, layout, exclude, rule, check",
    ),
    "a table for a list": (
        "[rule]\nmatch = 'a'",
        "line 2: rule: expected 'array', got 'table'",
        "",
    ),
    "a text for a number": (
        "[[rule]]\nmatch = 'a'\nmax_value = '3'",
        "line 4: rule.max_value: expected 'float | none', got 'str'",
        "",
    ),
    "no pattern": ("[[rule]]\nconstraint = 'non_neg'", "line 2: match is missing in rule", "add"),
    "no patterns": (
        "[[rule]]\nmatch = []",
        "line 3: rule.match: expected 'array' of length >= 1",
        "",
    ),
    "an empty id": ("[[rule]]\nmatch = 'a'\nid = ''", "line 4: rule.id: expected 'str' of", ""),
    "no constraint": ("[[rule]]\nmatch = 'a'", "line 2: rule 1: it has no constraint", "example"),
    "two sources of constraints": (
        "[[rule]]\nid='x'\nmatch='a'\nconstraint='non_neg'\nsteps=[{constraint='non_neg'}]",
        "line 2: rule 'x': constraint and steps exclude each other",
        "",
    ),
    "a parameter beside steps": (
        "[[rule]]\nmatch = 'a'\nrate = 0.5\nsteps = [{constraint = 'non_neg'}]",
        "line 2: rule 1: with steps, rate belongs into one of them",
        "",
    ),
    "steps along different axes": (
        "[[rule]]\nmatch = 'a'\naxis = 0\nsteps = [{constraint = 'unit_norm', axis = 1}]",
        "line 2: rule 1: the constraints of a rule share one axis",
        "",
    ),
    "an axis in the config": (
        "[[rule]]\nmatch = 'a'\nconstraint = 'max_norm'\nconfig = {axis = 1}",
        "line 2: rule 1: axis belongs beside constraint",
        "",
    ),
    "a parameter twice": (
        "[[rule]]\nmatch='a'\nconstraint='max_norm'\nmax_value=1\n[rule.config]\nmax_value=2",
        "line 2: rule 1: max_value belongs beside constraint",
        "",
    ),
    "an unknown constraint": (
        "[[rule]]\nmatch = 'a'\nconstraint = 'maxnrm'",
        "line 2: rule 1: unknown constraint 'maxnrm'",
        "did you mean max_norm?",
    ),
    "an empty axis": (
        "[[rule]]\nmatch='a'\nconstraint='max_norm'\naxis=[]",
        "axis [] is empty",
        "",
    ),
    "an id of two rules": (
        "[[rule]]\nid = 'x'\nmatch = 'a'\n[[rule]]\nid = 'x'\nmatch = 'b'",
        "line 5: rule 2 has the id 'x' of the rule on line 2",
        "ids",
    ),
    "a layout that is none": (
        "layout = 'tf'",
        "line 2: layout: invalid enum value 'tf'",
        "layout is auto or keras or torch",
    ),
    "a policy that is none": (
        "[check]\nunreachable = true",
        "line 3: check.unreachable: expected 'str', got 'bool'",
        "unreachable is error or warn or ignore",
    ),
    "a tolerance that is not a number": ("[check]\nrtol = nan", "line 3: check.rtol", ""),
    "a number below zero": ("[[rule]]\nmatch = 'a'\nexpect = -1", "line 4: rule.expect: exp", ""),
    "a statement that is none": ("\na b", "r.toml, line 3: is not TOML: ", ""),
    "a number of many digits": (f"x = {'9' * 5000}", "r.toml: has a number of too many digits", ""),
    "nesting without an end": (f"x = {'[' * 5000}", "r.toml: is nested too deeply", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_recipe_cannot_say_is_told_with_its_line(name):
    """And with what may have been meant."""
    text, problem, hint = REFUSED[name]
    said, hinted = refusal(f"version = 1\n{text}")

    assert problem in said
    assert hint in (hinted or "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "r.toml: version is missing"),
        ("version = 2", "r.toml, line 1: version: invalid enum value 2"),
        ("version = 1.0", "r.toml, line 1: version: expected 'int', got 'float'"),
        ("version = true", "r.toml, line 1: version: expected 'int', got 'bool'"),
    ],
)
def test_a_recipe_says_its_version(text, problem):
    """The one that there is."""
    said, hint = refusal(text)

    assert said.startswith(problem)
    assert "version" in hint


def test_a_pyproject_is_read_from_its_table():
    """Lines are those of the whole file."""
    text = "[tool.other]\nx = 1\n[tool.wproj]\nversion = 1\n[[tool.wproj.rule]]\nmatch = 'a'\n"
    table = ("tool", "wproj")
    (rule,) = parse(f"{text}constraint = 'non_neg'", table=table).rules
    said, hint = refusal(f"{text}constrain = 'non_neg'", table=table)

    assert (rule.match, rule.line) == ("a", 5)
    assert (said, hint) == (
        "r.toml, line 7: unknown key rule.constrain",
        "did you mean constraint?",
    )


@pytest.mark.parametrize("text", ["", "tool = 3", "[tool]\nx = 1", "[tool]\nwproj = 3"])
def test_a_pyproject_without_a_table_is_refused(text):
    """However it lacks it."""
    said, _ = refusal(text, table=("tool", "wproj"))

    assert "has no table [tool.wproj]" in said or "expected 'table', got 'int'" in said


def test_code_runs_only_where_it_may(tmp_path):
    """A recipe that was found in a folder names no file to import."""
    (tmp_path / "mine.py").write_text("raise SystemExit('ran')")
    text = f"version = 1\n[[rule]]\nmatch = 'a'\nconstraint = '{tmp_path / 'mine.py'}:Mine'"
    said, hint = refusal(text, code=False)

    assert "code, which runs only from a recipe that was named" in said
    assert hint == "give the recipe with --recipe"


# --set

CONV = "version = 1\n[[rule]]\nid = 'a.b'\nmatch = 'w'\nconstraint = 'max_norm'\n"


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ("rule.a.b.max_value=3", Rule("w", (MaxNorm(3.0),), "auto", "a.b", line=2)),
        ("rule.a.b.max_value = 0.5", Rule("w", (MaxNorm(0.5),), "auto", "a.b", line=2)),
        ("rule.a.b.axis=[0, 1]", Rule("w", (MaxNorm(),), (0, 1), "a.b", line=2)),
        ("rule.a.b.axis=in", Rule("w", (MaxNorm(),), "in", "a.b", line=2)),
        ("rule.a.b.match=x*", Rule("x*", (MaxNorm(),), "auto", "a.b", line=2)),
        ("rule.a.b.match=['x', 'y']", Rule(("x", "y"), (MaxNorm(),), "auto", "a.b", line=2)),
        ("rule.a.b.constraint=unit_norm", Rule("w", (UnitNorm(),), "auto", "a.b", line=2)),
        ("rule.a.b.expect=2", Rule("w", (MaxNorm(),), "auto", "a.b", expect=2, line=2)),
    ],
)
def test_a_setting_changes_one_value_of_a_rule(setting, rule):
    """Of the rule of this id, dots in it or not; as TOML, or as a text."""
    assert parse(CONV, [setting]).rules == (rule,)


def test_settings_change_the_rest_in_their_order():
    """Tables that are not there are begun; the last word counts."""
    changed = parse(CONV, ["check.rtol=0.5", "check.rtol=0", "layout=keras", "exclude=['b']"])

    assert (changed.check.rtol, changed.layout, changed.exclude) == (0.0, "keras", ("b",))
    assert changed.sha256 == parse(CONV).sha256


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("", "KEY=VALUE"),
        ("check.rtol", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("check..rtol=3", "KEY=VALUE"),
        ("rule.conv.max_value=3", "no rule has the id 'conv'"),
        ("rule=3", "no rule has the id ''"),
        ("rule.a.b=3", "no rule has the id 'a'"),
        ("version.x=1", "a recipe has no value there"),
        ("check.rtol.x=1", "a recipe has no value there"),
        ("rule.a.b.max_vlaue=3", "unknown key rule.max_vlaue"),
        ("rule.a.b.max_value=-3", "rule 'a.b': max_norm: max_value must be"),
        ("rule.a.b.max_value=", "rule.max_value: expected"),
        ("rule.a.b.max_value=3\nexclude=['*']", "rule.max_value: expected"),
        ("check=3", "check: expected 'table'"),
        ("exclude.x=1", "exclude: expected 'array'"),
        ("check.rtol=" + "[" * 5000, "check.rtol: expected"),
        ("check.rtol=" + "1" * 5000, "check.rtol: expected"),
        ("\x1b=1", "unknown key \\x1b"),
        ("rule.\x1b.max_value=1", "no rule has the id '\\x1b'"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(setting, problem):
    """Whatever it is, the sentence is printable."""
    with pytest.raises(wproj.RequestError) as caught:
        parse(CONV, [setting])

    assert problem in str(caught.value).replace("\\\\", "\\")
    assert str(caught.value).isprintable()
    assert (caught.value.hint or "").isprintable()


def test_settings_may_not_give_two_rules_one_id():
    """What is refused in the file is refused here."""
    text = CONV + "[[rule]]\nid = 'c'\nmatch = 'v'\nconstraint = 'non_neg'\n"

    with pytest.raises(RecipeError, match=r"rule 2 has the id 'a\.b' of the rule on line 2"):
        parse(text, ["rule.c.id=a.b"])


# Lines

KEYS = st.sampled_from(["a", "b", "rule", '"x y"', "'#'"])
VALUES = st.sampled_from(
    [
        "1",
        "'#['",
        '"]\\""',
        "[\n1, # ]\n2]",
        "{a = [1]}",
        '"""\n"x" ]\n\\""""""',
        "'''\n[[rule]]\n'''''",
        "[[],\n[{b = 1}]]",
        "[]",
    ]
)
STATEMENTS = st.one_of(
    st.tuples(KEYS, VALUES).map(" = ".join),
    st.tuples(KEYS, KEYS, VALUES).map(lambda parts: f"{parts[0]}.{parts[1]} = {parts[2]}"),
    st.tuples(KEYS, KEYS).map(lambda parts: f"[{parts[0]}.{parts[1]}]"),
    KEYS.map(lambda key: f"[[{key}]]  # [[no]]"),
    st.sampled_from(["", "# x = [", "  "]),
)


def places(data):
    """The places of everything in a TOML document."""
    listed = enumerate(data) if isinstance(data, list) else ()
    for key, value in data.items() if isinstance(data, dict) else listed:
        yield (key,)
        yield from ((key, *place) for place in places(value))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(STATEMENTS, max_size=7), st.sampled_from(["\n", "\r\n"]))
def test_every_place_of_a_document_has_the_line_that_brings_it(statements, end):
    """The text before that line does not have it, and with its statement it has."""
    text = "\n".join(statements).replace("\n", end)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = lines_of(text)
    starts, line = [], 1
    for statement in statements:
        starts.append(line)
        line += statement.count("\n") + 1

    assert lines.keys() == set(places(data))
    for place, found in lines.items():
        before = statements[: starts.index(found)]
        assert place not in set(places(tomllib.loads("\n".join(before))))
        until = statements[: starts.index(found) + 1]
        assert place in set(places(tomllib.loads("\n".join(until))))


# Where it lies


def test_the_nearest_recipe_is_found(tmp_path):
    """`wproj.toml` before `pyproject.toml`, and nothing above the repository."""
    below = tmp_path / "repository/a/b"
    below.mkdir(parents=True)
    (tmp_path / "wproj.toml").write_text("version = 1")
    (tmp_path / "repository/.git").mkdir()

    assert find_recipe(below) is None
    for name, text in (
        ("repository/pyproject.toml", "[tool.wproj]\nversion = 1"),
        ("repository/wproj.toml", ""),
        ("repository/a/pyproject.toml", "[tool.wproj]\nversion = 1"),
    ):
        (tmp_path / name).write_text(text)
        assert find_recipe(below) == tmp_path / name
    (tmp_path / "repository/.git").rmdir()
    assert find_recipe(tmp_path) == tmp_path / "wproj.toml"


@pytest.mark.parametrize("text", ["tool = 3", "tool = 'wproj'", "[tool.other]", "not TOML", "\xff"])
def test_a_pyproject_without_a_recipe_is_passed_over(tmp_path, text):
    """Whatever else is in it."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "pyproject.toml").write_bytes(text.encode("latin-1"))

    assert find_recipe(tmp_path) is None


def test_a_pyproject_is_loaded_from_its_table(tmp_path):
    """By its name; any other file is a recipe as a whole."""
    path = tmp_path / "pyproject.toml"
    path.write_text(
        "[tool.wproj]\nversion = 1\n[[tool.wproj.rule]]\nmatch='a'\nconstraint='non_neg'"
    )

    assert load_recipe(path).rules == (Rule("a", (NonNeg(),), "auto", line=3),)
    with pytest.raises(RecipeError, match="unknown key tool"):
        load_recipe(path.rename(tmp_path / "other.toml"))


# The schema


def test_the_schema_takes_what_a_recipe_takes():
    """As TOML decodes it; a valid schema of draft 2020-12."""
    schema = wproj.json_schema("recipe")
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)

    for text in (RECIPE, RULE, CONV, "version = 1", wproj.draft_recipe()):
        parse(text)
        validator.validate(tomllib.loads(text))


@pytest.mark.parametrize(
    "name",
    [
        "an unknown key",
        "an unknown key of a rule",
        "an unknown key of a step",
        "an unknown key of the policy",
        "a table for a list",
        "a text for a number",
        "no pattern",
        "no patterns",
        "an empty id",
        "a layout that is none",
        "a policy that is none",
        "a number below zero",
    ],
)
def test_the_schema_refuses_what_a_recipe_refuses(name):
    """Wherever a schema can tell."""
    document = tomllib.loads(f"version = 1\n{REFUSED[name][0]}")
    validator = jsonschema.Draft202012Validator(wproj.json_schema("recipe"))

    assert not validator.is_valid(document)


def test_the_schema_asks_for_the_version():
    """As the recipe does."""
    assert not jsonschema.Draft202012Validator(wproj.json_schema("recipe")).is_valid({})
