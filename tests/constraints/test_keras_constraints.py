"""MaxNorm, NonNeg, UnitNorm and MinMaxNorm: parameters, configs, and the cases with a name."""

import dataclasses
import json
import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from wproj import MaxNorm, MinMaxNorm, NonNeg, Numerics, UnitNorm, WprojError
from wproj.constraints import max_norm, min_max_norm, non_neg, unit_norm
from wproj.errors import AxisError, ConstraintError, NonFiniteError, RequestError

RADIAL = [MaxNorm, UnitNorm, MinMaxNorm]
CLASSES = [*RADIAL, NonNeg]


def columns(*vectors: list[float]) -> np.ndarray:
    """A float32 array with these columns."""
    return np.array(vectors, np.float32).T


# Parameters


def test_defaults_are_those_of_keras():
    """Without arguments the configs are the ones that Keras documents."""
    assert MaxNorm().get_config() == {"max_value": 2, "axis": 0}
    assert UnitNorm().get_config() == {"axis": 0}
    assert NonNeg().get_config() == {}
    assert MinMaxNorm().get_config() == {
        "min_value": 0.0,
        "max_value": 1.0,
        "rate": 1.0,
        "axis": 0,
    }


def test_parameters_come_in_the_order_of_keras():
    """Positional arguments mean what they mean in Keras."""
    assert MaxNorm(3, 1) == MaxNorm(max_value=3, axis=1)
    assert UnitNorm(1) == UnitNorm(axis=1)
    expected = MinMaxNorm(min_value=0.5, max_value=2, rate=0.9, axis=-1)
    assert MinMaxNorm(0.5, 2, 0.9, -1) == expected


NOT_NEGATIVE = "a number that is not negative"


@pytest.mark.parametrize(
    ("cls", "parameters", "expected"),
    [
        (MaxNorm, {"max_value": -1}, NOT_NEGATIVE),
        (MaxNorm, {"max_value": -1e-9}, NOT_NEGATIVE),
        (MaxNorm, {"max_value": math.nan}, NOT_NEGATIVE),
        (MaxNorm, {"max_value": -math.inf}, NOT_NEGATIVE),
        (MaxNorm, {"max_value": "2"}, NOT_NEGATIVE),
        (MaxNorm, {"max_value": None}, NOT_NEGATIVE),
        (MaxNorm, {"max_value": True}, NOT_NEGATIVE),
        (MaxNorm, {"max_value": [2]}, NOT_NEGATIVE),
        (MaxNorm, {"max_value": 1j}, NOT_NEGATIVE),
        (MinMaxNorm, {"min_value": -0.5}, NOT_NEGATIVE),
        (MinMaxNorm, {"min_value": math.nan}, NOT_NEGATIVE),
        (MinMaxNorm, {"min_value": math.inf, "max_value": math.inf}, "finite"),
        (MinMaxNorm, {"min_value": 2.0}, "at most max_value, which is 1.0"),
        (MinMaxNorm, {"min_value": 0.5, "max_value": 0}, "at most max_value, which is 0"),
        (MinMaxNorm, {"max_value": math.nan}, NOT_NEGATIVE),
        (MinMaxNorm, {"rate": 1.5}, "a number from 0 to 1"),
        (MinMaxNorm, {"rate": -0.1}, NOT_NEGATIVE),
        (MinMaxNorm, {"rate": math.nan}, NOT_NEGATIVE),
        (MinMaxNorm, {"rate": False}, NOT_NEGATIVE),
    ],
)
def test_numbers_out_of_range_are_refused_in_a_sentence(cls, parameters, expected):
    """The error names the constraint, the parameter, what was expected and what was given."""
    name, given = next(iter(parameters.items()))

    with pytest.raises(ConstraintError) as caught:
        cls(**parameters)
    assert str(caught.value) == f"{cls().name}: {name} must be {expected}, not {given!r}"


@pytest.mark.parametrize("cls", RADIAL)
@pytest.mark.parametrize(
    "axis", [True, "0", 1.0, [], (), [0, 0], (1, 1), [True], ["0"], [0.0], {0}, [None], b"0"]
)
def test_axes_of_the_wrong_form_are_refused_in_a_sentence(cls, axis):
    """Axes are an integer, several different ones, or None."""
    with pytest.raises(ConstraintError) as caught:
        cls(axis=axis)
    assert str(caught.value) == (
        f"{cls().name}: axis must be an integer, several different ones, or None for all axes, "
        f"not {axis!r}"
    )


@pytest.mark.parametrize("cls", RADIAL)
@pytest.mark.parametrize(
    ("given", "kept"),
    [(0, 0), (-1, -1), ([0, 1], (0, 1)), ((2,), (2,)), (None, None), (np.int64(1), 1)],
)
def test_axes_of_every_form_are_kept_as_plain_values(cls, given, kept):
    """Lists become tuples and NumPy integers Python's; the order stays."""
    assert cls(axis=given).axis == kept
    assert type(cls(axis=given).axis) is type(kept)


def test_errors_are_value_errors_and_errors_of_wproj():
    """What is wrong with a request can be caught by either family."""
    with pytest.raises(ValueError, match="max_value"):
        MaxNorm(-1)
    with pytest.raises(WprojError, match="max_value"):
        MaxNorm(-1)
    with pytest.raises(RequestError, match="max_value"):
        MaxNorm(-1)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"mode": "fast"}, "numerics: mode must be 'exact' or 'keras', not 'fast'"),
        ({"nonfinite": "drop"}, "numerics: nonfinite must be 'error' or 'skip', not 'drop'"),
        ({"epsilon": -1e-7}, "numerics: epsilon must be finite and not negative, not -1e-07"),
        ({"epsilon": math.nan}, "numerics: epsilon must be finite and not negative, not nan"),
        ({"epsilon": math.inf}, "numerics: epsilon must be finite and not negative, not inf"),
    ],
)
def test_options_out_of_range_are_refused_in_a_sentence(parameters, sentence):
    """The numerics are one of two, non-finite entries refused or skipped."""
    with pytest.raises(ConstraintError) as caught:
        Numerics(**parameters)
    assert str(caught.value) == sentence


# Values


@pytest.mark.parametrize("constraint", [cls() for cls in CLASSES], ids=str)
def test_constraints_are_frozen_values(constraint):
    """They are equal by their parameters, can be hashed, and cannot be changed."""
    twin = type(constraint)(**constraint.get_config())

    assert twin == constraint
    assert hash(twin) == hash(constraint)
    for field in dataclasses.fields(constraint):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(constraint, field.name, 1)


def test_constraints_with_lists_of_axes_can_be_hashed():
    """An axis that was a list is no obstacle."""
    assert len({MaxNorm(axis=[0, 1]), MaxNorm(axis=(0, 1)), MaxNorm(axis=[1, 0])}) == 2


def test_names_are_lower_case():
    """The name of a constraint is the one that rules use."""
    names = [cls().name for cls in CLASSES]

    assert names == ["max_norm", "unit_norm", "min_max_norm", "non_neg"]


def test_the_lower_case_aliases_are_the_classes():
    """As in keras.constraints."""
    found = (max_norm, min_max_norm, non_neg, unit_norm)

    assert found == (MaxNorm, MinMaxNorm, NonNeg, UnitNorm)


@pytest.mark.parametrize(
    "constraint",
    [
        MaxNorm(),
        MaxNorm(3.5, axis=[0, 1, 2]),
        MaxNorm(1, axis=None),
        MaxNorm(np.float32(2.5)),
        MaxNorm(np.int64(3)),
        MaxNorm(max_value=math.inf),
        UnitNorm(axis=-1),
        NonNeg(),
        MinMaxNorm(0.1, 0.7, 0.5, (0, -1)),
        MinMaxNorm(np.float64(0.5), np.float16(2.0)),
    ],
    ids=str,
)
def test_a_config_survives_json(constraint):
    """Config to text and back gives an equal constraint."""
    text = json.dumps(constraint.get_config())

    assert type(constraint).from_config(json.loads(text)) == constraint


@pytest.mark.parametrize(
    "half", [0.5, np.float32(0.5), np.float16(0.5), np.float64(0.5), Fraction(1, 2)], ids=repr
)
def test_numbers_of_any_kind_are_bounds_or_refused(half):
    """A bound that is accepted works like the float of the same value."""
    w = columns([3, 4])
    try:
        constraint = MaxNorm(half)
    except ConstraintError:
        return

    assert constraint(w).tobytes() == MaxNorm(0.5)(w).tobytes()
    assert constraint == MaxNorm(0.5)


def test_a_bound_beyond_float64_is_refused():
    """An integer with hundreds of digits is no reason for an OverflowError."""
    with pytest.raises(ConstraintError) as caught:
        MaxNorm(10**400)
    start = "max_norm: max_value must be a number that float64 holds, or infinity, not 1000"
    assert str(caught.value).startswith(start)


def test_a_constraint_can_be_moved_to_other_axes():
    """`at` changes the axis and nothing else; elementwise constraints have none."""
    assert MinMaxNorm(0.5, 2.0, 0.9, 0).at([1, 2]) == MinMaxNorm(0.5, 2.0, 0.9, [1, 2])
    assert MaxNorm(3).at(()) == MaxNorm(3, axis=None)
    assert NonNeg().at(1) == NonNeg()


@pytest.mark.parametrize(
    ("constraint", "norms", "expected"),
    [
        (MaxNorm(2), [0, 1, 2, 3, math.inf], [0, 1, 2, 2, 2]),
        (UnitNorm(), [0.5, 1, 7], [1, 1, 1]),
        (MinMaxNorm(1, 2), [0.5, 1, 1.5, 3, math.inf], [1, 1, 1.5, 2, 2]),
        (MinMaxNorm(1, 2, 0.5), [0.5, 1, 1.5, 3], [0.75, 1, 1.5, 2.5]),
        (MinMaxNorm(1, 2, 0.0), [0.5, 3], [0.5, 3]),
    ],
)
def test_targets_are_the_norms_of_the_document(constraint, norms, expected):
    """min(n, max), 1, and rate * clip(n, min, max) + (1 - rate) * n."""
    assert constraint.target(np.array(norms, float)).tolist() == expected


# The four named cases: inside, on the boundary, outside, zero


def test_max_norm_in_the_four_cases():
    """Inside and on the boundary stay, outside comes to the bound, zero stays."""
    w = columns([0.3, 0.4], [3, 4], [6, 8], [0, 0])
    out = MaxNorm(5)(w)

    assert out[:, :2].tobytes() == w[:, :2].tobytes()
    np.testing.assert_allclose(out[:, 2], [3, 4], rtol=2e-7)
    assert out[:, 3].tolist() == [0, 0]
    assert MaxNorm(5).contains(w).tolist() == [True, True, False, True]


def test_unit_norm_in_the_four_cases():
    """There is no inside; what has norm one stays, the rest comes to it, zero stays."""
    w = columns([0.3, 0.4], [1, 0], [6, 8], [0, 0])
    out = UnitNorm()(w)

    np.testing.assert_allclose(out[:, 0], [0.6, 0.8], rtol=2e-7)
    assert out[:, 1].tobytes() == w[:, 1].tobytes()
    np.testing.assert_allclose(out[:, 2], [0.6, 0.8], rtol=2e-7)
    assert out[:, 3].tolist() == [0, 0]
    assert UnitNorm().contains(w).tolist() == [False, True, False, False]


def test_min_max_norm_in_the_four_cases():
    """Below comes up, inside and on both boundaries stay, above comes down, zero stays."""
    w = columns([0.3, 0.4], [3, 4], [6, 0], [6, 8], [60, 80], [0, 0])
    out = MinMaxNorm(5, 10)(w)

    np.testing.assert_allclose(out[:, 0], [3, 4], rtol=2e-7)
    assert out[:, 1:4].tobytes() == w[:, 1:4].tobytes()
    np.testing.assert_allclose(out[:, 4], [6, 8], rtol=2e-7)
    assert out[:, 5].tolist() == [0, 0]
    inside = MinMaxNorm(5, 10).contains(w)
    assert inside.tolist() == [False, True, True, True, False, False]


def test_non_neg_in_the_four_cases():
    """Positive and zero entries of either sign stay, negative ones become +0.0."""
    w = np.array([2.0, 0.0, -0.0, -3.0, 1e-45, -1e-45], np.float32)
    out = NonNeg()(w)

    assert out.tolist() == [2.0, 0.0, 0.0, 0.0, np.float32(1e-45), 0.0]
    assert np.signbit(out).tolist() == [False, False, True, False, False, False]
    assert NonNeg().contains(w).tolist() == [True, True, True, False, True, False]


@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [
        ((3, 4, 5), 0, (4, 5)),
        ((3, 4, 5), -1, (3, 4)),
        ((3, 4, 5), [0, 2], (4,)),
        ((3, 4, 5), None, ()),
        ((1, 4), 0, (4,)),
        ((4, 1), 0, (1,)),
        ((4,), 0, ()),
        ((0, 3), 0, (3,)),
    ],
)
def test_contains_drops_the_axes_summed_over(shape, axis, expected):
    """There is one answer for each vector."""
    assert MaxNorm(1, axis=axis).contains(np.zeros(shape, np.float32)).shape == expected


def test_contains_tells_of_vectors_across_tiles():
    """Of two rows here, far longer than what is read at once."""
    w = np.full((2, 2**18 + 5), 2.0**-9, np.float32)
    w[1, -1] = 2.0

    assert MaxNorm(1.5, axis=1).contains(w).tolist() == [True, False]
    assert MaxNorm(1.5, axis=0).contains(w).sum() == w.shape[1] - 1


@pytest.mark.parametrize("dtype", ["f2", "<f2", ">f2", "f4", ">f4", ">f8"])
def test_a_sphere_contains_what_the_dtype_holds_of_it(dtype):
    """Norms cannot be met more closely than numbers are stored, whatever their byte order."""
    w = np.random.default_rng(0).standard_normal((64, 50)).astype(dtype)
    inside = UnitNorm().contains(UnitNorm()(w))

    assert inside.dtype == np.bool_
    assert inside.all()
    assert not UnitNorm().contains(w).any()


@pytest.mark.parametrize("numerics", ["exact", "keras"])
@pytest.mark.parametrize("epsilon", [0.0, 1e-7, 0.5])
def test_epsilon_belongs_to_the_keras_formulas_alone(numerics, epsilon):
    """Keras' formula divides by epsilon + n; the exact projection does not know epsilon."""
    w = columns([6, 8])
    out = MaxNorm(5).project(w, numerics=numerics, epsilon=epsilon)
    factor = 5 / (10 + (epsilon if numerics == "keras" else 0))

    np.testing.assert_allclose(out, w * factor, rtol=2e-7)


# Arrays


@pytest.mark.parametrize("given", [[[6.0], [8.0]], ((6.0,), (8.0,)), np.array([[6.0], [8.0]])])
def test_lists_are_arrays_of_float64(given):
    """Whatever NumPy makes a float array of is projected."""
    out = MaxNorm(5)(given)

    assert out.dtype == np.float64
    np.testing.assert_allclose(out, [[3], [4]], rtol=1e-14)


@pytest.mark.parametrize(
    "w",
    [
        [1, 2],
        [True],
        [1j],
        ["a"],
        [None],
        np.zeros(2, np.longdouble),
        np.zeros(2, ml_dtypes.int4),
        np.ones(2, ml_dtypes.float8_e8m0fnu),
    ],
    ids=lambda w: str(np.asarray(w).dtype),
)
@pytest.mark.parametrize("constraint", [MaxNorm(), NonNeg()], ids=str)
def test_arrays_that_are_not_floats_are_refused(constraint, w):
    """The error names the dtype, and the hint says what to do."""
    for question in (constraint, constraint.contains):
        with pytest.raises(RequestError, match=r"constraints project float arrays") as caught:
            question(w)
        assert str(caught.value).endswith(f"not {np.asarray(w).dtype}")
        assert caught.value.hint == "convert it first, for example with .astype('float32')"


@pytest.mark.parametrize("constraint", [cls(axis=2) for cls in RADIAL], ids=str)
def test_an_axis_that_the_array_does_not_have_is_refused(constraint):
    """The error names the axis and the shape."""
    with pytest.raises(AxisError, match=r"axis 2 is out of range for shape \(3,4\)"):
        constraint(np.ones((3, 4)))


def test_one_axis_named_from_both_ends_is_refused():
    """Whether two numbers mean the same axis depends on the array."""
    with pytest.raises(AxisError, match=r"axis \(0, -2\) names an axis twice for shape \(3,4\)"):
        MaxNorm(axis=[0, -2])(np.ones((3, 4)))


@pytest.mark.parametrize("constraint", [cls() for cls in CLASSES], ids=str)
def test_the_count_of_nonfinite_entries_and_the_first_are_named(constraint):
    """All of them are counted, wherever they are; the hint names the way around."""
    w = np.ones((400, 500), np.float32)
    w[1, 7] = math.nan
    w[300, 0] = math.inf
    w[399, 499] = -math.inf

    with pytest.raises(NonFiniteError) as caught:
        constraint(w)
    assert str(caught.value) == "3 non-finite entries, the first at index [1, 7]"
    assert "--nonfinite skip" in str(caught.value.hint)
