"""A plan: which rule takes which tensor along which axes, and everything that may be wrong."""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from wproj import MaxNorm, MinMaxNorm, NonNeg, UnitNorm
from wproj.constraints.base import Constraint
from wproj.dtypes import kind_of
from wproj.errors import (
    AxisNeededError,
    AxisOutOfRangeError,
    ExpectError,
    LayoutNeededError,
    NoMatchError,
    NothingLeftError,
    ProblemsError,
    RequestError,
)
from wproj.formats.base import Checkpoint, TensorEntry
from wproj.selection.plan import Assignment, Skipped, make_plan
from wproj.selection.rules import Rule, parse_rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Checkpoint):
    """A checkpoint whose values nobody may read: planning needs none."""

    @contextmanager
    def stores(self, path=None, *, writable=False):  # noqa: ARG002 # the contract's
        """There are no values."""
        raise NotImplementedError
        yield


def entry(name, shape=(3, 4), dtype="float32", **known):
    """A tensor of this name and shape."""
    stored = np.dtype(getattr(ml_dtypes, dtype) if hasattr(ml_dtypes, dtype) else dtype)
    return TensorEntry(
        name=name,
        path=name,
        shape=shape,
        dtype=dtype,
        stored=stored,
        kind=kind_of(stored),
        nbytes=0,
        **known,
    )


def checkpoint(*entries, layout="unknown"):
    """A checkpoint with these tensors."""
    return Listed(path=Path("model.st"), format="safetensors", layout=layout, entries=entries)


NETWORK = (
    entry("conv1/kernel", (3, 3, 16, 32)),
    entry("conv1/bias", (32,)),
    entry("dense/kernel", (8, 5)),
    entry("dense/bias", (5,)),
    entry("bn/moving_mean", (5,)),
    entry("step", (), "int64"),
    entry("quantized", (4, 4), "int8"),
)


def plan(*rules, entries=NETWORK, layout="unknown", **options):
    """The plan for rules given by their text."""
    given = [parse_rule(rule) if isinstance(rule, str) else rule for rule in rules]
    return make_plan(checkpoint(*entries, layout=layout), given, **options)


def summary(made):
    """Name and axis, or the reason, of each item."""
    return {
        item.entry.name: item.axis if isinstance(item, Assignment) else item.reason
        for item in made.items
    }


def test_a_rule_takes_the_tensors_that_it_matches():
    """With its constraint along its axes, in the order of the file."""
    made = plan("*kernel max_norm=2 axis=0")

    assert summary(made) == {"conv1/kernel": (0,), "dense/kernel": (0,)}
    assert [item.steps for item in made.assignments] == [(MaxNorm(2, axis=(0,)),)] * 2


def test_the_first_rule_that_matches_takes_a_tensor():
    """Later ones get what is left."""
    made = plan("dense/kernel max_norm=1 axis=0", "*/kernel unit_norm axis=0,1,2")

    assert {i.entry.name: i.rule for i in made.items} == {
        "conv1/kernel": "*/kernel unit_norm axis=0,1,2",
        "dense/kernel": "dense/kernel max_norm=1 axis=0",
    }


def test_a_rule_that_expects_nothing_may_match_nothing():
    """It says that there must be no such tensor."""
    nothing = Rule("*gone*", MaxNorm(2), axis=0, expect=0)
    some = Rule("*kernel", MaxNorm(2), axis=0, expect=0)

    assert plan(nothing).items == ()
    with pytest.raises(ExpectError, match="expects 0 and takes 2 tensors"):
        plan(some)


def test_a_rule_whose_tensors_are_all_taken_is_an_error():
    """It names the tensors and the rule that has them."""
    with pytest.raises(
        NothingLeftError, match="rule 'dense/kernel non_neg' has no tensor left"
    ) as caught:
        plan("*kernel max_norm=2 axis=0", "dense/kernel non_neg")

    assert "dense/kernel (taken by rule '*kernel max_norm=2 axis=0')" in str(caught.value)
    assert "the first match wins" in caught.value.hint


def test_a_tensor_that_one_rule_leaves_out_another_takes_by_name():
    """What is left out by default is still there for a rule that names it exactly."""
    made = plan(
        "bn/* non_neg", "bn/moving_mean non_neg", entries=(*NETWORK, entry("bn/gamma", (5,)))
    )

    assert summary(made) == {"bn/moving_mean": None, "bn/gamma": None}
    assert {i.entry.name: i.rule for i in made.items} == {
        "bn/moving_mean": "bn/moving_mean non_neg",
        "bn/gamma": "bn/* non_neg",
    }


def test_everything_that_a_rule_leaves_alone_is_listed_with_the_reason():
    """Beside what it takes."""
    made = plan("* non_neg", exclude=["*bias"])

    assert summary(made) == {
        "conv1/kernel": None,
        "conv1/bias": "excluded",
        "dense/kernel": None,
        "dense/bias": "excluded",
        "bn/moving_mean": "moving statistics",
        "step": "int64: integer entries",
        "quantized": "int8: integer entries",
    }


def test_an_excluded_tensor_is_not_taken_by_its_name_either():
    """Excluding is the last word."""
    with pytest.raises(NothingLeftError, match=r"dense/kernel \(excluded\)"):
        plan("dense/kernel non_neg", exclude=["dense"])


def test_a_pattern_that_excludes_nothing_is_no_error():
    """It may be a habit, used on many files."""
    assert summary(plan("dense/kernel non_neg", exclude=["nothing*"])) == {"dense/kernel": None}


@pytest.mark.parametrize("name", ["bn/moving_mean", "optimizer/vars/0", "running_var", "f8"])
def test_what_is_left_out_by_default_is_taken_by_its_exact_name(name):
    """Not by a pattern that matches it, and not by its layer."""
    tensor = entry(name, (4,), "float8_e5m2" if name == "f8" else "float32")

    assert summary(plan(f"{name} non_neg", entries=(tensor,))) == {name: None}
    with pytest.raises(NothingLeftError, match="no tensor left") as caught:
        plan(f"{name[:-1]}? non_neg", entries=(tensor,))
    assert "left out by default is taken when it is named exactly" in caught.value.hint


def test_the_name_of_an_alias_is_exact():
    """All hard links to a tensor are its names."""
    tensor = entry("optimizer/vars/0", (4,), aliases=("mine",))

    assert summary(plan("mine non_neg", entries=(tensor,))) == {"optimizer/vars/0": None}


@pytest.mark.parametrize("name", ["step", "quantized"])
def test_integers_are_not_taken_by_any_name(name):
    """A rule for them alone is an error with their dtype."""
    with pytest.raises(NothingLeftError, match="integer entries"):
        plan(f"{name} max_norm=1 axis=all")


@pytest.mark.parametrize(
    ("axis", "resolved"),
    [
        ("0", (0,)),
        ("-1", (3,)),
        ("0,1,2", (0, 1, 2)),
        ("2,0", (0, 2)),
        ("-2,0", (0, 2)),
        ("all", (0, 1, 2, 3)),
    ],
)
def test_axes_are_resolved_for_each_tensor(axis, resolved):
    """Counted from 0, in order."""
    (item,) = plan(f"conv1/kernel max_norm=2 axis={axis}").assignments

    assert item.axis == resolved
    assert item.steps == (MaxNorm(2, axis=resolved),)


@pytest.mark.parametrize(
    ("layout", "conv", "dense"), [("keras", (0, 1, 2), (0,)), ("torch", (1, 2, 3), (1,))]
)
@pytest.mark.parametrize("said", [False, True])
def test_incoming_axes_follow_the_layout(layout, conv, dense, said):
    """Of the file, or as the caller says; vectors have none and are left alone."""
    where = {"layout": "unknown"} if said else {"layout": layout}
    made = make_plan(
        checkpoint(*NETWORK, **where),
        [parse_rule("* max_norm=2 axis=in")],
        layout=layout if said else None,
    )

    assert made.layout == layout
    assert summary(made) | {"step": None, "quantized": None} == {
        "conv1/kernel": conv,
        "conv1/bias": "rank 1: no incoming axis",
        "dense/kernel": dense,
        "dense/bias": "rank 1: no incoming axis",
        "bn/moving_mean": "moving statistics",
        "step": None,
        "quantized": None,
    }


def test_the_layout_of_the_caller_overrides_that_of_the_file():
    """Who says it, knows it."""
    made = make_plan(
        checkpoint(*NETWORK, layout="keras"),
        [parse_rule("dense/kernel max_norm=2 axis=in")],
        layout="torch",
    )

    assert summary(made) == {"dense/kernel": (1,)}


def test_incoming_axes_need_a_layout():
    """Where the file does not tell, the error says how the caller can."""
    with pytest.raises(
        LayoutNeededError, match=r"axis 'in' needs the layout of model\.st"
    ) as caught:
        plan("dense/kernel max_norm=2 axis=in")

    assert "--layout keras" in caught.value.hint
    assert "--layout" in caught.value.hint
    assert "torch" in caught.value.hint


@pytest.mark.parametrize("layout", ["keras", "torch"])
@pytest.mark.parametrize("shape", [(5,), ()])
def test_incoming_axes_of_vectors_alone_are_an_error(layout, shape):
    """A rule for biases along incoming axes has nothing to do."""
    with pytest.raises(NothingLeftError, match=f"rank {len(shape)}: no incoming axis"):
        plan("b max_norm=2 axis=in", entries=(entry("b", shape),), layout=layout)


def test_an_explicit_axis_takes_a_bias_as_one_vector():
    """Axis 0 of a vector is the whole of it."""
    (item,) = plan("dense/bias max_norm=2 axis=0").assignments

    assert (item.axis, item.vectors, item.vector_length) == ((0,), 1, 5)


def test_a_scalar_is_one_vector_along_all_axes():
    """And has no other axis."""
    (item,) = plan("s max_norm=2 axis=all", entries=(entry("s", ()),)).assignments

    assert (item.axis, item.vectors, item.vector_length) == ((), 1, 1)
    with pytest.raises(AxisOutOfRangeError, match=r"axis 0 does not fit .* s \(\)"):
        plan("s max_norm=2 axis=0", entries=(entry("s", ()),))


@pytest.mark.parametrize(
    "spec", ["max_norm=2", "unit_norm", "min_max_norm=1..2", "non_neg+unit_norm"]
)
@pytest.mark.parametrize("layout", ["unknown", "keras", "torch"])
def test_a_norm_constraint_needs_an_axis(spec, layout):
    """Never a silent 0; the hint says which axes there are."""
    with pytest.raises(AxisNeededError, match="needs an axis for") as caught:
        plan(f"*/kernel {spec}", layout=layout)

    assert "conv1/kernel (3,3,16,32), dense/kernel (8,5)" in str(caught.value)
    assert "-a" in caught.value.hint
    assert "'in'" in caught.value.hint


@pytest.mark.parametrize("spec", ["non_neg", "Constraint"])
def test_other_constraints_need_no_axis(spec):
    """Each entry is judged by itself."""
    (item,) = plan(f"dense/kernel {spec}").assignments

    assert (item.axis, item.vectors, item.vector_length) == (None, 40, 1)


def test_all_tensors_that_an_axis_does_not_fit_are_listed_at_once():
    """With their shapes, and without those that it fits."""
    entries = [entry(f"w{rank}", (2,) * rank) for rank in range(1, 6)]
    with pytest.raises(AxisOutOfRangeError) as caught:
        plan("w* max_norm=2 axis=2", entries=(*entries, entry("v", (7,))))

    assert str(caught.value) == (
        "rule 'w* max_norm=2 axis=2': axis 2 does not fit 2 matched tensors: w1 (2), w2 (2,2)"
    )
    assert "narrow the pattern" in caught.value.hint


@pytest.mark.parametrize("axis", ["2", "-3", "0,2", "5"])
def test_one_tensor_that_an_axis_does_not_fit_is_an_error(axis):
    """In the singular."""
    with pytest.raises(AxisOutOfRangeError, match=f"axis {axis} does not fit 1 matched tensor: w "):
        plan(f"w max_norm=2 axis={axis}", entries=(entry("w", (3, 4)),))


@pytest.mark.parametrize("axis", ["0,-2", "1,-1"])
def test_axes_that_are_one_axis_of_a_tensor_do_not_fit_it(axis):
    """Which shows only with its rank."""
    with pytest.raises(RequestError, match="w "):
        plan(f"w max_norm=2 axis={axis}", entries=(entry("w", (3, 4)),))


def test_twenty_misfits_are_named_and_the_rest_counted():
    """A list has an end."""
    entries = [entry(f"b{number}", (2,)) for number in range(25)]

    with pytest.raises(
        AxisOutOfRangeError, match=r"25 matched tensors: b0 .*b19 \(2\) \(5 more\)$"
    ):
        plan("* max_norm=2 axis=1", entries=entries)


def test_what_is_left_out_does_not_have_to_fit():
    """An integer scalar has no axis 0, and needs none."""
    made = plan("* max_norm=2 axis=0", exclude=["*bias"])

    assert summary(made)["step"] == "int64: integer entries"
    assert summary(made)["dense/kernel"] == (0,)


def test_a_rule_that_matches_nothing_is_an_error():
    """With the nearest names, and a pattern that would match."""
    with pytest.raises(
        NoMatchError, match=r"'dense/kernal' matches no tensor in model\.st"
    ) as caught:
        plan("dense/kernal max_norm=2 axis=0")

    assert "nearest: dense/kernel" in str(caught.value)
    assert "'*dense*' would match 2" in caught.value.hint


def test_every_pattern_of_a_rule_has_to_match():
    """One that does not is a mistake, too."""
    with pytest.raises(NoMatchError, match="'nothing'"):
        plan(Rule(("dense/kernel", "nothing"), NonNeg()))


def test_several_problems_are_told_at_once():
    """Numbered, each with its hint."""
    with pytest.raises(ProblemsError) as caught:
        plan(
            "nothing non_neg",
            "step non_neg",
            "conv1/kernel max_norm=2",
            "dense/kernel max_norm=2 axis=in",
            "dense/bias max_norm=2 axis=1",
        )
    kinds = [type(problem) for problem in caught.value.problems]
    lines = str(caught.value).splitlines()

    assert kinds == [
        NoMatchError,
        NothingLeftError,
        AxisNeededError,
        LayoutNeededError,
        AxisOutOfRangeError,
    ]
    assert lines[0] == "5 problems"
    assert [line[:5] for line in lines[1::2]] == [f"  {n}. " for n in range(1, 6)]
    assert all(line.startswith("     hint: ") for line in lines[2::2])


DENSE = ["dense/kernel", "dense/bias"]


@pytest.mark.parametrize(
    ("rules", "warnings", "taken"),
    [
        (["nothing non_neg", "dense/bias non_neg"], [NoMatchError], ["dense/bias"]),
        (["step non_neg", "dense/bias non_neg"], [NothingLeftError], ["dense/bias"]),
        (["dense/* non_neg", "dense/bias unit_norm axis=0"], [NothingLeftError], DENSE),
        (["nothing non_neg"], [NoMatchError], []),
    ],
)
def test_rules_without_a_tensor_are_warnings_where_that_is_allowed(rules, warnings, taken):
    """The others hold all the same."""
    made = plan(*rules, allow_unmatched=True)

    assert [type(warning) for warning in made.warnings] == warnings
    assert [item.entry.name for item in made.assignments] == taken


def test_other_problems_remain_errors_where_unmatched_rules_are_allowed():
    """An axis that does not fit is a mistake in any case."""
    with pytest.raises(AxisOutOfRangeError):
        plan("dense/bias max_norm=2 axis=1", allow_unmatched=True)


def test_a_plan_needs_a_rule():
    """Doing nothing is not a projection."""
    with pytest.raises(RequestError, match="no rule is given"):
        plan()


@pytest.mark.parametrize(
    ("constraint", "axis"),
    [
        (MaxNorm(2, axis=1), (1,)),
        (MaxNorm(2, axis=None), (0, 1)),
        ((NonNeg(), UnitNorm(axis=-1)), (1,)),
        ((MaxNorm(2, axis=1), MinMaxNorm(1, 2, axis=-1)), (1,)),
        (NonNeg(), None),
        (Constraint(), None),
    ],
)
def test_a_rule_without_an_axis_has_those_of_its_constraints(constraint, axis):
    """As Python code gives them."""
    assert summary(plan(Rule("dense/kernel", constraint))) == {"dense/kernel": axis}


def test_the_constraints_of_a_rule_share_their_axes():
    """Else its vectors could not be counted."""
    with pytest.raises(RequestError, match="share one axis"):
        plan(Rule("dense/kernel", (MaxNorm(2, axis=0), MaxNorm(2, axis=1))))


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (
            "conv1/kernel max_norm=2 axis=0,1,2",
            "conv1/kernel (3,3,16,32) f32 axis 0,1,2 -> 32 vectors of 144 · max_norm=2",
        ),
        (
            "dense/bias unit_norm axis=all",
            "dense/bias (5) f32 axis 0 -> 1 vector of 5 · unit_norm",
        ),
        ("dense/kernel non_neg", "dense/kernel (8,5) f32 -> 40 entries · non_neg"),
        (
            "dense/kernel non_neg+min_max_norm=1..2 rate=0.1 axis=1",
            "dense/kernel (8,5) f32 axis 1 -> 8 vectors of 5 · non_neg+min_max_norm=1..2 rate=0.1",
        ),
    ],
)
def test_a_plan_says_what_it_does_to_each_tensor(rule, text):
    """In one line."""
    (item,) = plan(rule).items

    assert str(item) == text


DEPTHWISE = entry("dw/kernel", (3, 3, 16, 1), layer="DepthwiseConv2D", incoming=(0, 1))
BIAS = entry("dw/bias", (16,), layer="DepthwiseConv2D")


@pytest.mark.parametrize("axis", ["", " axis=in"])
@pytest.mark.parametrize("layout", ["unknown", "keras"])
def test_a_layer_whose_class_is_known_tells_its_axes(axis, layout):
    """Then neither an axis nor a layout is needed; its bias has none."""
    made = plan(f"dw/* max_norm=1{axis}", entries=(DEPTHWISE, BIAS), layout=layout)

    assert summary(made) == {"dw/kernel": (0, 1), "dw/bias": "rank 1: no incoming axis"}
    assert "axis 0,1 (in, DepthwiseConv2D) -> 16 vectors of 9" in str(made.items[0])
    assert made.warnings == ()


def test_a_layer_of_unknown_class_beside_one_that_is_known_needs_an_axis():
    """Only the unknown one is named."""
    with pytest.raises(AxisNeededError, match=r"needs an axis for other \(8,5\)$"):
        plan("* max_norm=1", entries=(DEPTHWISE, entry("other", (8, 5))))


def test_an_axis_other_than_that_of_the_layer_is_a_warning():
    """It is the commonest mistake, and may be meant."""
    made = plan("dw/kernel max_norm=1 axis=0,1,2", entries=(DEPTHWISE,))
    (warning,) = made.warnings

    assert summary(made) == {"dw/kernel": (0, 1, 2)}
    assert "dw/kernel: axis 0,1,2 sums over 144 weights at a time (1 vector)" in str(warning)
    assert "DepthwiseConv2D takes in 9, along axis 0,1 (16 vectors)" in str(warning)


def test_axes_by_layout_are_marked_as_such():
    """The plan says that nobody has given them."""
    (item,) = plan("dense/kernel max_norm=1 axis=in", layout="torch").items

    assert str(item) == (
        "dense/kernel (8,5) f32 axis 1 (in, by layout) -> 8 vectors of 5 · max_norm=1"
    )


def test_a_plan_says_what_it_leaves_alone_and_why():
    """In one line, too."""
    made = plan("* non_neg")
    lines = [str(item) for item in made.items if isinstance(item, Skipped)]

    assert lines == [
        "bn/moving_mean skipped: moving statistics",
        "step skipped: int64: integer entries",
        "quantized skipped: int8: integer entries",
    ]


def test_names_are_escaped_in_a_plan():
    """They come from files."""
    tensors = (entry("a\x1b[31m\nb"), entry("c\x07", (1,), "int8"))

    for item in plan("* non_neg", entries=tensors).items:
        assert str(item).isprintable()
    with pytest.raises(NoMatchError) as caught:
        plan("a[31m non_neg", entries=tensors)
    assert str(caught.value).isprintable()
    with pytest.raises(NothingLeftError) as caught:
        plan("c* non_neg", entries=tensors)
    assert str(caught.value).isprintable()
    with pytest.raises(AxisOutOfRangeError) as caught:
        plan("a* non_neg+max_norm axis=3", entries=tensors)
    assert str(caught.value).isprintable()
