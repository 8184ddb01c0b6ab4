"""The text of rules: what it means, what it prints as, and how it fails."""

from dataclasses import replace

import pytest

from wproj import MaxNorm, MinMaxNorm, NonNeg, UnitNorm
from wproj.errors import (
    ConstraintError,
    ConstraintLoadError,
    RequestError,
    RuleSyntaxError,
    UnknownConstraintError,
)
from wproj.selection.rules import Rule, parse_constraint, parse_rule, steps_text

# A rule's text, and its patterns, steps and axis.
RULES = {
    "dense/kernel max_norm=2": ("dense/kernel", (MaxNorm(2),), "auto"),
    "dense/kernel max_norm": ("dense/kernel", (MaxNorm(2),), "auto"),
    "conv*/kernel max_norm=2.5 axis=0,1,2": ("conv*/kernel", (MaxNorm(2.5),), (0, 1, 2)),
    "w max_norm=1e-3 axis=-1": ("w", (MaxNorm(0.001),), (-1,)),
    "w max_norm=1e+3 axis=0": ("w", (MaxNorm(1000.0),), (0,)),
    "w max_norm=inf axis=all": ("w", (MaxNorm(float("inf")),), "all"),
    "w max_norm=0 axis=in": ("w", (MaxNorm(0),), "in"),
    "w MaxNorm=2 axis=0": ("w", (MaxNorm(2),), (0,)),
    "w non_neg": ("w", (NonNeg(),), "auto"),
    "w NonNeg": ("w", (NonNeg(),), "auto"),
    "w unit_norm axis=1": ("w", (UnitNorm(),), (1,)),
    "w UnitNorm axis=1": ("w", (UnitNorm(),), (1,)),
    "w min_max_norm=0.5..2 axis=0": ("w", (MinMaxNorm(0.5, 2),), (0,)),
    "w min_max_norm=.5...75 axis=0": ("w", (MinMaxNorm(0.5, 0.75),), (0,)),
    "w min_max_norm=1..inf axis=0": ("w", (MinMaxNorm(1, float("inf")),), (0,)),
    "w min_max_norm=0.5..2 rate=0.1 axis=0": ("w", (MinMaxNorm(0.5, 2, rate=0.1),), (0,)),
    "w min_max_norm=0.5..2 axis=0 rate=0.1": ("w", (MinMaxNorm(0.5, 2, rate=0.1),), (0,)),
    "w MinMaxNorm min_value=0.5 max_value=2": ("w", (MinMaxNorm(0.5, 2),), "auto"),
    "w max_norm max_value=3 axis=0": ("w", (MaxNorm(3),), (0,)),
    "w non_neg+max_norm=2 axis=0": ("w", (NonNeg(), MaxNorm(2)), (0,)),
    "w non_neg+max_norm=1e+3+unit_norm axis=0": (
        "w",
        (NonNeg(), MaxNorm(1000.0), UnitNorm()),
        (0,),
    ),
    "w[0] non_neg": ("w[0]", (NonNeg(),), "auto"),
    "{a,b}/kernel non_neg": ("{a,b}/kernel", (NonNeg(),), "auto"),
    "re:conv[0-9]+ non_neg": ("re:conv[0-9]+", (NonNeg(),), "auto"),
    r"re:\w+\.weight non_neg": (r"re:\w+\.weight", (NonNeg(),), "auto"),
    "'with space' non_neg": ("with space", (NonNeg(),), "auto"),
    '"with space" max_norm=2 axis=0': ("with space", (MaxNorm(2),), (0,)),
    "'it''s' non_neg": ("its", (NonNeg(),), "auto"),
    '"it\'s" non_neg': ("it's", (NonNeg(),), "auto"),
    "#1 non_neg": ("#1", (NonNeg(),), "auto"),
    "  w   max_norm=2\taxis=0 ": ("w", (MaxNorm(2),), (0,)),
    "ünï/重み non_neg": ("ünï/重み", (NonNeg(),), "auto"),
}


@pytest.mark.parametrize("text", RULES)
def test_the_text_of_a_rule_is_read(text):
    """Its pattern, its constraints in order, and its axis; its label is what was typed."""
    pattern, steps, axis = RULES[text]
    rule = parse_rule(text)

    assert (rule.patterns, rule.steps, rule.axis) == ((pattern,), steps, axis)
    assert str(rule) == text


@pytest.mark.parametrize("text", RULES)
def test_what_a_rule_prints_as_means_the_same_rule(text):
    """A rule from a report can be typed again."""
    rule = parse_rule(text)
    again = parse_rule(str(replace(rule, label=None)))

    assert (again.patterns, again.steps, again.axis) == (rule.patterns, rule.steps, rule.axis)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule("conv*/kernel", MaxNorm(2), axis=(0, 1, 2)), "conv*/kernel max_norm=2 axis=0,1,2"),
        (Rule("w", UnitNorm(), axis="in"), "w unit_norm axis=in"),
        (Rule("w", UnitNorm(), axis="all"), "w unit_norm axis=all"),
        (Rule("w", NonNeg()), "w non_neg"),
        (Rule("w", (NonNeg(), MaxNorm(2.5)), axis=-1), "w non_neg+max_norm=2.5 axis=-1"),
        (Rule(("a", "b"), NonNeg()), "a b non_neg"),
        (Rule("w", MaxNorm(2), label="conv"), "conv"),
        (
            Rule("w", MinMaxNorm(0.5, 2, rate=0.1), axis=0),
            "w min_max_norm=0.5..2 rate=0.1 axis=0",
        ),
    ],
)
def test_a_rule_prints_as_it_would_be_typed(rule, text):
    """Unless it has a label."""
    assert str(rule) == text


def test_the_texts_of_steps_leave_axes_out():
    """Those are the rule's."""
    assert steps_text([NonNeg(), MaxNorm(2, axis=(0, 1)), UnitNorm(axis=3)]) == (
        "non_neg+max_norm=2+unit_norm"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no constraint"),
        ("   ", "has no constraint"),
        ("w", "has no constraint"),
        ("'w max_norm=2", "no closing quotation"),
        ('w max_norm=2 "axis=0', "no closing quotation"),
        ("w max_norm=2 axis", "'axis' is not key=value"),
        ("w max_norm=2 =0", "'=0' is not key=value"),
        ("w max_norm=2 0", "'0' is not key=value"),
        ("w max_norm=2 axis=0 axis=1", "'axis' is given twice"),
        ("w min_max_norm=1..2 rate=0.5 rate=0.5 axis=0", "'rate' is given twice"),
    ],
)
def test_a_text_that_cannot_be_read_is_an_error_with_the_form(text, problem):
    """It repeats the rule, says what is wrong, and shows how a rule reads."""
    with pytest.raises(RuleSyntaxError, match=problem) as caught:
        parse_rule(text)

    assert text.strip("'\" ") in str(caught.value)
    assert "a rule reads 'GLOB CONSTRAINT" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("w max_norm=x", "'x' is not a number"),
        ("w max_norm=1,5", "'1,5' is not a number"),
        ("w max_norm=", "'' is not a number"),
        ("w min_max_norm=", "takes MIN..MAX, not ''"),
        ("w min_max_norm=2", "takes MIN..MAX, not '2'"),
        ("w min_max_norm=1..", "'' is not a number"),
        ("w min_max_norm=..2", "'' is not a number"),
        ("w unit_norm=1", "'unit_norm' takes no value"),
        ("w non_neg=1", "'non_neg' takes no value"),
        ("w max_norm=2 rate=0.1", "takes no parameter 'rate'"),
        ("w max_norm=2 max=3", "takes no parameter 'max'"),
        ("w non_neg max_value=2", "takes no parameter 'max_value'"),
        ("w max_norm=2 axis=x", "'x' is not an axis"),
        ("w max_norm=2 axis=", "'' is not an axis"),
        ("w max_norm=2 axis=0,0", "names an axis twice"),
        ("w max_norm=2 max_value=3", "max_value"),
        ("w non_neg+", "unknown constraint"),
        ("w +non_neg", "unknown constraint ''"),
        ("w non_neg++max_norm=2", "unknown constraint ''"),
    ],
)
def test_a_constraint_that_does_not_fit_is_an_error(text, problem):
    """It says which part of the rule is wrong."""
    with pytest.raises(RequestError, match=problem.replace("..", r"\.\.")):
        parse_rule(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("w max_norm=-1", "max_norm: max_value must be a number that is not negative, not -1"),
        ("w max_norm=nan", "max_norm: max_value must be a number that is not negative, not nan"),
        ("w max_norm=-inf", "max_norm: max_value must be .*, not -inf"),
        ("w min_max_norm=2..1", "min_value must be at most max_value, which is 1, not 2"),
        ("w min_max_norm=nan..1", "min_value must be a number that is not negative"),
        ("w min_max_norm=0..nan", "max_value must be a number that is not negative"),
        ("w min_max_norm=-1..1", "min_value must be a number that is not negative"),
        ("w min_max_norm=inf..inf", "min_value must be finite, not inf"),
        ("w min_max_norm=1..2 rate=2", "rate must be a number from 0 to 1, not 2"),
        ("w min_max_norm=1..2 rate=-0.5", "rate must be a number that is not negative"),
        ("w min_max_norm=1..2 rate=NaN", "rate must be a number that is not negative"),
        ("w min_max_norm=1..2 rate=fast", "rate must be a number that is not negative"),
        ("w max_norm max_value=true", "max_value must be a number that is not negative, not True"),
        ("w max_norm max_value=null", "max_value must be a number that is not negative, not None"),
    ],
)
def test_a_bound_that_cannot_be_is_an_error(text, problem):
    """It names the constraint, the parameter, what it must be and what it is."""
    with pytest.raises(ConstraintError, match=problem):
        parse_rule(text)


@pytest.mark.parametrize(
    ("name", "near"),
    [("maxnorm2", "max_norm"), ("max_nrom", "max_norm"), ("unitnorms", "unit_norm"), ("zzz", None)],
)
def test_an_unknown_constraint_is_an_error_with_the_known_ones(name, near):
    """And with the nearest, if one is near."""
    with pytest.raises(
        UnknownConstraintError, match="choose from max_norm, min_max_norm"
    ) as caught:
        parse_rule(f"w {name}=2")

    assert repr(name) in str(caught.value)
    assert (f"did you mean {near}?" if near else "file.py:Class") in caught.value.hint


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("missing.py:Mine", "no file missing.py"),
        ("no_such_module_of_ours:Mine", "cannot be imported: ModuleNotFoundError"),
        ("math:sqrt", "has no subclass of wproj.Constraint named 'sqrt'"),
        ("math:", "has no subclass of wproj.Constraint named ''"),
        (":Mine", "cannot be imported"),
        ("wproj.constraints:NoSuch", "named 'NoSuch'"),
    ],
)
def test_a_constraint_that_cannot_be_loaded_is_an_error(reference, problem):
    """It repeats the reference and says why."""
    with pytest.raises(ConstraintLoadError, match=problem) as caught:
        parse_rule(f"w {reference}")

    assert reference in str(caught.value)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("raise RuntimeError('on purpose')", "RuntimeError: on purpose"),
        ("def f(:", "SyntaxError"),
        ("Mine = 3", "has no subclass"),
        ("class Mine: pass", "has no subclass"),
    ],
)
def test_a_file_that_is_no_constraint_is_an_error(tmp_path, source, problem):
    """Whatever running it raises."""
    (tmp_path / "mine.py").write_text(source)

    with pytest.raises(ConstraintLoadError, match=problem):
        parse_rule(f"w '{tmp_path}/mine.py:Mine'")


MINE = """
import wproj

class Mine(wproj.Constraint):
    def __init__(self, scale=1, words=()):
        self.scale, self.words = scale, words
"""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", (1, ())),
        ("scale=2.5", (2.5, ())),
        ("scale=two", ("two", ())),
        ('words=["a","b"]', (1, "[a,b]")),
        ("""'words=["a","b"]'""", (1, ["a", "b"])),
    ],
)
def test_a_constraint_of_ones_own_gets_its_settings(tmp_path, settings, expected):
    """As JSON where they are JSON, as text where not."""
    (tmp_path / "mine.py").write_text(MINE)
    (step,) = parse_rule(f"w '{tmp_path}/mine.py:Mine' {settings}").steps

    assert (step.scale, step.words) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Mine=3", "takes no value"),
        ("Mine other=3", "takes no parameter 'other'"),
    ],
)
def test_a_constraint_of_ones_own_refuses_other_settings(tmp_path, text, problem):
    """Those that its constructor does not have."""
    (tmp_path / "mine.py").write_text(MINE)

    with pytest.raises(RequestError, match=problem):
        parse_rule(f"w {tmp_path}/mine.py:{text}")


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("max_norm=2", (MaxNorm(2),)),
        ("min_max_norm=0.5..2 rate=0.1", (MinMaxNorm(0.5, 2, rate=0.1),)),
        ("non_neg+max_norm=2", (NonNeg(), MaxNorm(2))),
        (" unit_norm ", (UnitNorm(),)),
    ],
)
def test_a_constraint_by_itself_is_read_like_in_a_rule(text, steps):
    """For the option -c."""
    assert parse_constraint(text) == steps


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_constraint_is_an_error(text):
    """Not Keras' default."""
    with pytest.raises(RuleSyntaxError, match="has no constraint"):
        parse_constraint(text)


def test_a_pattern_and_a_constraint_are_one_or_several():
    """Rules from Python take a single value or a tuple."""
    rule = Rule(("a", "b"), (NonNeg(), MaxNorm(1)))

    assert rule.patterns == ("a", "b")
    assert rule.steps == (NonNeg(), MaxNorm(1))
    assert Rule("a", NonNeg()).steps == (NonNeg(),)
