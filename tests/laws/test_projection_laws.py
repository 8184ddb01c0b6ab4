"""The laws of a projection, for every constraint of the registry, every dtype, every axis form.

What is stored is measured here by NumPy and `math.fsum` alone, in several orders of summation.
"""

import functools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from wproj import ElementwiseConstraint, MaxNorm, MinMaxNorm, NonNeg, RadialConstraint, UnitNorm
from wproj.constraints.registry import ALL
from wproj.dtypes import away_from_zero, grid, nearest, toward_zero
from wproj.errors import NonFiniteError, NotRepresentableError

Array = NDArray[Any]

DTYPES = ("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2")
NARROW = tuple(name for name in DTYPES if name != "float64")
FORMS = ("int", "negative", "list", "none")
KINDS = ("normal", "bits", "integers", "sparse", "drawn")

# What the laws are tried with; a constraint that is not named here is tried with its defaults.
PARAMETERS: dict[str, tuple[dict[str, float], ...]] = {
    "max_norm": tuple({"max_value": bound} for bound in (2, 0.1, 3.0, 0.7, 1e-2)),
    "min_max_norm": (
        {"min_value": 0.5, "max_value": 2.0},
        {"min_value": 0.1, "max_value": 0.3},
        {"min_value": 3.0, "max_value": math.inf},
        {"min_value": 0.7, "max_value": 0.7},
        {"min_value": 1.0, "max_value": 1.0},
    ),
}
RADIAL = tuple(name for name, cls in ALL.items() if issubclass(cls, RadialConstraint))
CONVEX = ("max_norm", "non_neg")

law = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
every_constraint = pytest.mark.parametrize("name", ALL)
every_radial = pytest.mark.parametrize("name", RADIAL)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_form = pytest.mark.parametrize("form", FORMS)


@dataclass(frozen=True)
class Case:
    """A constraint and the weights that it is applied to."""

    constraint: Any
    w: Array

    @property
    def axis(self) -> Any:
        """The axes that make a vector; those of an elementwise constraint are all of them."""
        return getattr(self.constraint, "axis", None)


def dtype_of(name: str) -> np.dtype[Any]:
    """The NumPy or ml_dtypes dtype of this name."""
    return np.dtype(getattr(ml_dtypes, name, name))


def finite(w: Array) -> Array:
    """The same with zeros for what is not finite."""
    with np.errstate(invalid="ignore"):  # Signaling NaNs raise a flag when they are read.
        return np.where(np.isfinite(w.astype(np.float64)), w, np.zeros((), w.dtype))


def store(values: Array, dtype: np.dtype[Any]) -> Array:
    """Float64 values in `dtype`, zeros where they do not fit."""
    with np.errstate(all="ignore"):
        return finite(values.astype(dtype))


def from_bits(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Finite numbers of uniformly random bit patterns: every magnitude that the dtype has."""
    size = math.prod(shape) * dtype.itemsize
    return finite(rng.integers(0, 256, size, np.uint8).view(dtype).reshape(shape))


def sparse(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Zeros of both signs, the smallest numbers, and now and then a larger one."""
    tiny = grid(dtype).tiny
    choice = [0.0, -0.0, tiny, -3 * tiny, 1.0, -30.0]
    return store(rng.choice(choice, shape, p=[0.3, 0.2, 0.15, 0.15, 0.1, 0.1]), dtype)


def drawn(draw: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Numbers chosen by hypothesis, which shrink."""
    elements = st.floats(-1e3, 1e3) | st.sampled_from([0.0, -0.0, 1.0, 0.1, grid(dtype).tiny])
    return store(draw(hnp.arrays(np.float64, shape, elements=elements)), dtype)


@st.composite
def weights(draw: Any, dtype: np.dtype[Any], most: int = 6) -> Array:
    """An array of `dtype`, of one to four axes, finite."""
    shape = tuple(draw(st.lists(st.integers(1, most), min_size=1, max_size=4)))
    kind = draw(st.sampled_from(KINDS))
    if kind == "drawn":
        return drawn(draw, shape[:2], dtype)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind == "bits":
        return from_bits(rng, shape, dtype)
    if kind == "sparse":
        return sparse(rng, shape, dtype)
    if kind == "integers":
        return store(rng.integers(-8, 9, shape) / draw(st.sampled_from([1, 4, 16])), dtype)
    return store(rng.standard_normal(shape) * 2.0 ** draw(st.integers(-6, 6)), dtype)


def axes(form: str, ndim: int) -> st.SearchStrategy[Any]:
    """Axes of an array of `ndim` axes, in one of the forms that Keras and NumPy know."""
    if form == "none":
        return st.none()
    if form == "int":
        return st.integers(0, ndim - 1)
    if form == "negative":
        return st.integers(-ndim, -1)
    several = st.lists(st.integers(0, ndim - 1), min_size=1, max_size=ndim, unique=True)
    return several.map(lambda given: [a - ndim if a % 2 else a for a in given])


@st.composite
def cases(draw: Any, name: str, dtype: str, form: str | None = None) -> Case:
    """A constraint of the registry with some parameters and axis, and weights."""
    w = draw(weights(dtype_of(dtype)))
    parameters = dict(draw(st.sampled_from(PARAMETERS.get(name, ({},)))))
    if name in RADIAL:
        form = form or draw(st.sampled_from(FORMS))
        parameters["axis"] = draw(axes(form, w.ndim))
    return Case(ALL[name](**parameters), w)


def kept_and_summed(ndim: int, axis: Any) -> tuple[list[int], list[int]]:
    """The axes that are not summed over, and those that are."""
    summed = range(ndim) if axis is None else np.atleast_1d(axis) % ndim
    taken = sorted(int(a) for a in summed)
    return [a for a in range(ndim) if a not in taken], taken


def rows(w: Array, axis: Any) -> Array:
    """The vectors of `w` along `axis`, one a row."""
    kept, summed = kept_and_summed(w.ndim, axis)
    count = math.prod(w.shape[a] for a in kept)
    return w.transpose(*kept, *summed).reshape(count, -1)


def unrows(vectors: Array, shape: tuple[int, ...], axis: Any) -> Array:
    """The array of `shape` whose vectors along `axis` are these: the inverse of `rows`."""
    kept, summed = kept_and_summed(len(shape), axis)
    order = [*kept, *summed]
    return vectors.reshape([shape[a] for a in order]).transpose(np.argsort(order))


def measured(vectors: Array) -> tuple[Array, Array]:
    """The smallest and the largest norm of each row that orders of summation in float64 give."""
    x = np.ascontiguousarray(vectors.astype(np.float64))  # By halves, not one by one.
    exponent = np.zeros(len(x), np.intc)
    if vectors.dtype == np.float64:  # Powers of two are exact, and keep squares within float64.
        exponent = np.frexp(np.abs(x).max(axis=1, initial=0))[1]
        x = np.ldexp(x, -exponent[:, None])
    squares = x * x
    backward = np.ascontiguousarray(squares[:, ::-1])
    exactly = np.array([math.fsum(row) for row in squares])
    sums = [squares.sum(axis=1), backward.sum(axis=1), exactly]
    if vectors.dtype != np.float64:  # One by one, equal float64 entries add up equal errors.
        sums.append(np.cumsum(squares, axis=1)[:, -1])
    with np.errstate(over="ignore", under="ignore"):
        norms = np.ldexp(np.sqrt(np.stack(sums)), exponent)
    return norms.min(axis=0), norms.max(axis=0)


def slack(constraint: Any, length: int, dtype: np.dtype[Any]) -> float:
    """What numerics.md allows a norm to miss a sphere by."""
    lower, upper = constraint.bounds
    if lower < upper:
        return 0.0
    numbers = grid(dtype)
    wide = 8 + math.sqrt(length) if dtype == np.float64 else 1
    return lower * numbers.unit_roundoff * wide + math.sqrt(length) / 2 * numbers.tiny


def changed(before: Array, after: Array) -> Array:
    """Which rows differ in a byte."""
    old, new = (np.ascontiguousarray(a).view(np.uint8).reshape(len(a), -1) for a in (before, after))
    return (old != new).any(axis=1)


def same_bytes(left: Array, right: Array) -> bool:
    """Whether two arrays have the same dtype, shape and bytes in C order."""
    return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())


def projected_exactly(constraint: Any, w: Array, axis: Any) -> Array:
    """The real-valued projection of the vectors of `w`, one a row, in extended precision."""
    x = rows(w, axis).astype(np.float64).astype(np.longdouble)
    if isinstance(constraint, ElementwiseConstraint):
        return np.maximum(x, 0)
    lower, upper = constraint.bounds
    norms = np.sqrt(np.square(x).sum(axis=1, keepdims=True))
    target = np.clip(norms, lower, upper)
    return np.where(norms > 0, x * (target / np.where(norms > 0, norms, 1)), x)


def length_of(x: Array) -> Array:
    """Euclidean norms of the rows, in the precision of `x`."""
    return np.sqrt(np.square(x).sum(axis=1))


def roundoff(vectors: Array, dtype: np.dtype[Any]) -> Array:
    """How far a row may be from its exact projection: within an ulp for each entry."""
    numbers = grid(dtype)
    length = vectors.shape[1]
    margin = 2 * (8 + math.sqrt(length)) if dtype == np.float64 else 0
    relative = (3 + margin) * numbers.unit_roundoff
    return relative * length_of(vectors) + math.sqrt(length) * numbers.tiny


# Feasible, idempotent, identity inside


@every_form
@every_dtype
@every_radial
@law
@given(data=st.data())
def test_what_is_stored_is_inside_without_any_tolerance(name, dtype, form, data):
    """Whatever order adds up the squares of a result, its norm is within the bounds."""
    case = data.draw(cases(name, dtype, form))
    vectors = rows(case.constraint(case.w), case.axis)
    lowest, highest = measured(vectors)
    allowed = slack(case.constraint, vectors.shape[1], vectors.dtype)
    lower, upper = case.constraint.bounds
    zero = highest == 0

    assert (highest <= upper + allowed).all()
    assert ((lowest >= lower - allowed) | zero).all()


@every_form
@pytest.mark.parametrize("name", ["max_norm", "min_max_norm"])
@law
@given(data=st.data())
def test_what_moves_in_float64_keeps_the_margin_from_the_bounds(name, form, data):
    """A float64 vector that was moved is inside by u * (8 + sqrt(length)), relatively."""
    case = data.draw(cases(name, "float64", form))
    lower, upper = case.constraint.bounds
    assume(lower < upper)
    before, after = (rows(a, case.axis) for a in (case.w, case.constraint(case.w)))
    moved = after[changed(before, after)]
    lowest, highest = measured(moved)
    margin = 2.0**-53 * (8 + math.sqrt(after.shape[1]))

    assert (highest <= upper * (1 - margin)).all()
    assert (lowest >= lower * (1 + margin)).all()


@every_dtype
@law
@given(data=st.data())
def test_no_entry_is_left_below_zero(dtype, data):
    """After NonNeg no stored entry is negative, and the others keep their bytes."""
    w = data.draw(weights(dtype_of(dtype)))
    out = NonNeg()(w)
    negative = w.astype(np.float64) < 0

    assert (out.astype(np.float64) >= 0).all()
    assert out[negative].tobytes() == bytes(out[negative].nbytes)
    assert same_bytes(out[~negative], w[~negative])


@every_form
@every_dtype
@every_constraint
@law
@given(data=st.data())
def test_projecting_again_changes_no_byte(name, dtype, form, data):
    """A projection is idempotent, bit for bit."""
    case = data.draw(cases(name, dtype, form))
    once = case.constraint(case.w)

    assert same_bytes(case.constraint(once), once)


@every_form
@every_dtype
@every_radial
@law
@given(data=st.data())
def test_a_vector_that_is_inside_keeps_its_bytes(name, dtype, form, data):
    """What satisfies its constraint in every order of summation is not touched."""
    case = data.draw(cases(name, dtype, form))
    before, after = (rows(a, case.axis) for a in (case.w, case.constraint(case.w)))
    lowest, highest = measured(before)
    lower, upper = case.constraint.bounds
    inside = (lowest >= lower) & (highest <= upper)

    assert not changed(before, after)[inside].any()


@every_dtype
@every_constraint
@law
@given(data=st.data())
def test_contains_says_of_every_result_that_it_is_inside(name, dtype, data):
    """The predicate and the projection agree; only zero vectors may be out of reach."""
    case = data.draw(cases(name, dtype))
    out = case.constraint(case.w)
    inside = case.constraint.contains(out)
    zero = ~rows(out, case.axis).astype(np.float64).any(axis=1)

    assert (inside.reshape(-1) | (zero if name in RADIAL else False)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [1, -1])
def test_a_vector_exactly_on_the_bound_keeps_its_bytes(dtype, order):
    """A norm equal to the bound is inside, -0.0 and subnormal entries included."""
    tiny = grid(dtype_of(dtype)).tiny
    tiny = tiny if tiny < 1e-9 else 0.0  # Squares of larger ones count beside 25.
    w = np.array([[3, -4, -0.0, 0.0, 0], [2.5, 2.5, -2.5, 2.5, tiny], [0, -5, -0.0, tiny, -tiny]])
    stored = w.astype(dtype_of(dtype))[:, ::order]

    assert same_bytes(MaxNorm(5.0, axis=1)(stored), stored)
    assert same_bytes(MinMaxNorm(5.0, 8.0, axis=1)(stored), stored)
    assert MaxNorm(5.0, axis=1).contains(stored).all()


@every_dtype
def test_a_vector_one_step_beyond_the_bound_is_moved(dtype):
    """Next to the bound, on its outside, a vector changes, and ends inside."""
    five = np.full((1, 1), 5.0).astype(dtype_of(dtype))
    beyond = np.nextafter(five, np.full((), 9.0).astype(five.dtype))
    out = MaxNorm(5.0, axis=0)(beyond)

    assert float(beyond[0, 0]) > 5
    assert float(out[0, 0]) <= 5
    assert not MaxNorm(5.0, axis=0).contains(beyond).any()


@pytest.mark.parametrize("width", [1e-5, 1e-4, 1e-3, 1e-2, 0.1])
@every_dtype
@law
@given(data=st.data())
def test_a_shell_of_any_width_is_met_up_to_the_dtype(dtype, width, data):
    """Thin shells hold their vectors within c * u, wide ones exactly; both idempotently."""
    w = data.draw(weights(dtype_of(dtype)))
    constraint = MinMaxNorm(1.0, 1 + width, axis=-1)
    out = constraint(w)
    lowest, highest = measured(rows(out, -1))
    sphere = slack(UnitNorm(), w.shape[-1], w.dtype)
    allowed = sphere if width <= 2 * sphere else 0.0

    assert (highest <= 1 + width + allowed).all()
    assert ((lowest >= 1 - allowed) | (highest == 0)).all()
    assert same_bytes(constraint(out), out)


# Independence and layout


@every_dtype
@every_radial
@law
@given(data=st.data())
def test_permuting_the_vectors_permutes_the_results(name, dtype, data):
    """What becomes of a vector does not depend on where it stands among the others."""
    case = data.draw(cases(name, dtype))
    kept, _ = kept_and_summed(case.w.ndim, case.axis)
    assume(kept)
    axis = data.draw(st.sampled_from(kept))
    order = data.draw(st.permutations(range(case.w.shape[axis])))
    permuted = np.take(case.w, order, axis=axis)

    assert same_bytes(case.constraint(permuted), np.take(case.constraint(case.w), order, axis=axis))


@every_dtype
@every_radial
@law
@given(data=st.data())
def test_other_vectors_do_not_matter(name, dtype, data):
    """A vector gets the same bytes whatever the other vectors are."""
    case = data.draw(cases(name, dtype))
    vectors = rows(case.w, case.axis)
    chosen = data.draw(st.integers(0, len(vectors) - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    others = from_bits(rng, vectors.shape, vectors.dtype)
    others[chosen] = vectors[chosen]
    exchanged = np.ascontiguousarray(unrows(others, case.w.shape, case.axis))
    mine, theirs = (rows(case.constraint(a), case.axis) for a in (case.w, exchanged))

    assert same_bytes(mine[chosen], theirs[chosen])


def test_a_vector_at_one_bound_does_not_depend_on_a_vector_at_the_other():
    """Whether squares add up exactly is a matter of one vector, not of its neighbors."""
    on_the_sphere = [248087, 268341, 395925, 498317, 18273, 3, 2455, 748693]
    assert sum(n * n for n in on_the_sphere) == 2**40
    vector = (np.array(on_the_sphere) / 2**20 * 0.6837243571439553).astype(np.float32)
    neighbor = np.array([200, 0, 0, 0, 0, 0, 0, 0], np.float32)
    shell = MinMaxNorm(1.0, 100.0, axis=1)

    assert same_bytes(shell(np.stack([vector, neighbor]))[:1], shell(vector[None]))


def test_a_huge_neighbor_does_not_change_a_vector():
    """That another vector has to be measured with a scale does not show in the result."""
    alone = np.array([[1e150], [1e-300]])
    beside = np.array([[1e150, 1e200], [1e-300, 0.0]])
    ball = MaxNorm(1e149, axis=0)

    assert same_bytes(ball(beside)[:, :1], ball(alone))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_a_thousand_neighbors_matter_no_more_than_one(dtype, axis):
    """Vectors that all need a repair get the bytes that each of them gets alone."""
    shape = (1024, 2600) if axis == 0 else (2600, 1024)
    equal = np.ones(shape).astype(dtype_of(dtype))
    many = MaxNorm(0.1, axis=axis)(equal)
    alone = MaxNorm(0.1, axis=axis)(equal[:, :1] if axis == 0 else equal[:1])

    assert np.array_equal(many, np.broadcast_to(alone, shape))


@every_dtype
@every_radial
@law
@given(data=st.data())
def test_flipping_signs_flips_the_signs_of_the_result(name, dtype, data):
    """Norms do not see signs, and rounding treats both alike."""
    case = data.draw(cases(name, dtype))
    seed = data.draw(st.integers(0, 2**32 - 1))
    flips = np.random.default_rng(seed).random(case.w.shape) < 0.5
    flipped, result = (np.where(flips, -a, a) for a in (case.w, case.constraint(case.w)))

    assert same_bytes(case.constraint(flipped), result)


def layouts(w: Array) -> dict[str, Array]:
    """Arrays equal to `w` that lie in memory in other ways."""
    strided = np.zeros([2 * n for n in w.shape], w.dtype)
    strided[(slice(None, None, 2),) * w.ndim] = w
    backward = (slice(None, None, -1),) * w.ndim
    found = {
        "fortran": np.asfortranarray(w),
        "strided": strided[(slice(None, None, 2),) * w.ndim],
        "reversed": np.ascontiguousarray(w[backward])[backward],
        "moved": np.moveaxis(np.ascontiguousarray(np.moveaxis(w, 0, -1)), -1, 0),
    }
    if w.dtype.isbuiltin == 1:
        found["big-endian"] = w.astype(w.dtype.newbyteorder(">"))
    return found


@every_form
@every_dtype
@every_constraint
@law
@given(data=st.data())
def test_memory_order_and_byte_order_do_not_matter(name, dtype, form, data):
    """The same numbers become the same numbers, to the bit, however they lie in memory."""
    case = data.draw(cases(name, dtype, form))
    expected = case.constraint(case.w)
    for layout, w in layouts(case.w).items():
        out = case.constraint(w)

        assert out.dtype == w.dtype, layout
        assert same_bytes(out.astype(expected.dtype), expected), layout


@every_dtype
@every_radial
@law
@given(data=st.data())
def test_every_way_to_name_the_same_axes_gives_the_same_bytes(name, dtype, data):
    """An axis may be counted from either end, and several may come in any order."""
    case = data.draw(cases(name, dtype, "list"))
    ndim = case.w.ndim
    expected = case.constraint(case.w)
    taken = [a % ndim for a in case.axis]
    forms: list[Any] = [taken[::-1], [a - ndim for a in taken], tuple(taken)]
    forms += [taken[0], taken[0] - ndim] if len(taken) == 1 else []
    forms += [None] if len(taken) == ndim else []

    assert all(same_bytes(case.constraint.at(form)(case.w), expected) for form in forms)


@every_dtype
@every_constraint
@law
@given(data=st.data())
def test_shape_and_dtype_stay_and_the_input_is_left_alone(name, dtype, data):
    """A projection returns a new array like its input, which it does not write to."""
    case = data.draw(cases(name, dtype))
    before = case.w.copy()
    case.w.flags.writeable = False
    out = case.constraint(case.w)

    assert (out.shape, out.dtype) == (case.w.shape, case.w.dtype)
    assert not np.shares_memory(out, case.w)
    assert same_bytes(case.w, before)


@every_constraint
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)])
def test_an_array_without_entries_comes_back(name, shape):
    """Where there is nothing to project, nothing happens."""
    w = np.zeros(shape, np.float32)

    assert same_bytes(ALL[name]()(w), w)


@pytest.mark.parametrize("dtype", NARROW)
def test_a_scalar_is_one_vector_of_length_one(dtype):
    """Over all of its no axes, the one entry of a scalar is the vector."""
    scalar = np.asarray(3.0).astype(dtype_of(dtype))

    assert float(MaxNorm(2.0, axis=None)(scalar)) == 2.0
    assert float(UnitNorm(axis=None)(-scalar)) == -1.0
    assert MaxNorm(2.0, axis=None)(scalar).shape == ()


# Zeros, NaN and infinity


@every_dtype
@every_constraint
def test_zero_vectors_stay_zero(name, dtype):
    """No direction leads from zero, and the sign of a zero is kept."""
    w = np.array([[0.0, -0.0, 3.0], [-0.0, 0.0, 0.25], [0.0, -0.0, 0.0]]).astype(dtype_of(dtype))
    for parameters in PARAMETERS.get(name, ({},)):
        out = ALL[name](**parameters)(w)

        assert same_bytes(out[:, :2], w[:, :2])


def poisons(dtype: np.dtype[Any]) -> list[Array]:
    """The non-finite numbers of a dtype, each as an array without axes."""
    with np.errstate(all="ignore"):
        values = np.array([math.nan, -math.nan, math.inf, -math.inf]).astype(dtype)
    return [value for value in values if not np.isfinite(value)]


@every_dtype
@every_constraint
@law
@given(data=st.data())
def test_nan_and_infinity_are_refused(name, dtype, data):
    """One entry that is not finite stops the projection, and the error says where it is."""
    case = data.draw(cases(name, dtype))
    place = tuple(data.draw(st.integers(0, n - 1)) for n in case.w.shape)
    case.w[place] = data.draw(st.sampled_from(poisons(case.w.dtype)))

    with pytest.raises(NonFiniteError) as caught:
        case.constraint(case.w)
    assert str(caught.value) == f"1 non-finite entry, the first at index {list(place)}"


@every_dtype
@every_radial
@law
@given(data=st.data())
def test_skipped_vectors_keep_their_bytes_and_the_others_do_not_notice(name, dtype, data):
    """With nonfinite="skip" the vectors with NaN or infinity stay, as if they were not there."""
    case = data.draw(cases(name, dtype))
    vectors = rows(case.w, case.axis).copy()
    bad = np.array(data.draw(st.lists(st.booleans(), min_size=len(vectors), max_size=len(vectors))))
    column = data.draw(st.integers(0, vectors.shape[1] - 1))
    absent = vectors.copy()
    vectors[bad, column] = data.draw(st.sampled_from(poisons(vectors.dtype)))
    absent[bad] = 0
    poisoned, without = (unrows(a, case.w.shape, case.axis) for a in (vectors, absent))
    out = rows(case.constraint.project(poisoned, nonfinite="skip"), case.axis)

    assert same_bytes(out[bad], vectors[bad])
    assert same_bytes(out[~bad], rows(case.constraint(without), case.axis)[~bad])


@every_dtype
def test_skipped_entries_keep_their_bytes_under_non_neg(dtype):
    """An elementwise constraint leaves the entries that are not finite, and takes the others."""
    w = np.array([-1.0, 2.0, -0.0, -3.0, 0.5]).astype(dtype_of(dtype))
    for poison in poisons(w.dtype):
        w[3] = poison
        out = NonNeg().project(w, nonfinite="skip")

        assert same_bytes(out[[1, 2, 3, 4]], w[[1, 2, 3, 4]])
        assert out[:1].tobytes() == bytes(w.dtype.itemsize)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("numerics", ["exact", "keras"])
def test_a_skipped_vector_beside_one_that_moves_makes_no_noise(dtype, poison, numerics):
    """Skipping emits no warning of NumPy's, in either numerics."""
    w = np.array([[poison, 3.0], [1.0, 4.0]]).astype(dtype_of(dtype))
    out = MaxNorm(1.0, axis=0).project(w, numerics=numerics, nonfinite="skip")

    assert same_bytes(out[:, 0], w[:, 0])
    assert float(out[1, 1]) == pytest.approx(0.8, rel=0.01)


def with_signaling_nan(dtype: np.dtype[Any]) -> Array:
    """A column of a signaling NaN and 3, each of them a vector along axis 1."""
    bits = f"u{dtype.itemsize}"
    w = np.array([[math.inf], [3.0]]).astype(dtype)
    w.view(bits)[0, 0] += 1
    return w


SIGNALING = pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64", "float8_e5m2"]
)


@SIGNALING
@every_constraint
def test_a_signaling_nan_is_refused_like_any_other(name, dtype):
    """The error is the one for NaN, not a warning of NumPy's about reading it."""
    with pytest.raises(NonFiniteError, match="1 non-finite entry, the first at index"):
        ALL[name]()(with_signaling_nan(dtype_of(dtype)))


@SIGNALING
def test_the_bits_of_a_signaling_nan_survive_skipping(dtype):
    """A signaling NaN is copied as the bytes that it is, without a warning of NumPy's."""
    w = with_signaling_nan(dtype_of(dtype))
    radial = MaxNorm(1.0, axis=1).project(w, nonfinite="skip")
    elementwise = NonNeg().project(-w, nonfinite="skip")

    assert same_bytes(radial[:1], w[:1])
    assert float(radial[1, 0]) == pytest.approx(1.0)
    assert same_bytes(elementwise[:1], -w[:1])
    assert float(elementwise[1, 0]) == 0.0


# Nearest


@every_dtype
@every_constraint
@law
@given(data=st.data())
def test_a_result_is_the_exact_projection_up_to_rounding(name, dtype, data):
    """What is stored differs from the real-valued projection by rounding alone."""
    case = data.draw(cases(name, dtype))
    assume(np.abs(case.w.astype(np.float64)).max() < 1e150)
    exact = projected_exactly(case.constraint, case.w, case.axis)
    before, after = (rows(a, case.axis) for a in (case.w, case.constraint(case.w)))
    moved = changed(before, after)
    error = length_of(after.astype(np.longdouble) - exact)

    assert (error[moved] <= roundoff(exact, case.w.dtype)[moved]).all()


@every_dtype
@every_constraint
@law
@given(data=st.data())
def test_no_random_point_inside_is_nearer(name, dtype, data):
    """The distance to the result is the least that a feasible point has, up to rounding."""
    case = data.draw(cases(name, dtype))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    assume(np.abs(case.w.astype(np.float64)).max() < 1e150)
    noise = rng.standard_normal(case.w.shape) * 2.0 ** data.draw(st.integers(-8, 4))
    other = case.constraint(store(case.w.astype(np.float64) + noise, case.w.dtype))
    exact = projected_exactly(case.constraint, case.w, case.axis)
    x, projection, point = (
        rows(a, case.axis).astype(np.longdouble) for a in (case.w, case.constraint(case.w), other)
    )
    reached = point.any(axis=1) & x.any(axis=1)
    allowed = roundoff(exact, case.w.dtype)
    if name in RADIAL:
        allowed = allowed + slack(case.constraint, x.shape[1], case.w.dtype)

    assert (length_of(x - projection) <= length_of(x - point) + allowed)[reached].all()


@every_dtype
@pytest.mark.parametrize("name", CONVEX)
@law
@given(data=st.data())
def test_a_projection_onto_a_convex_set_brings_points_no_farther_apart(name, dtype, data):
    """The distance of two results is at most that of the two points, up to rounding."""
    case = data.draw(cases(name, dtype))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    assume(np.abs(case.w.astype(np.float64)).max() < 1e150)
    noise = rng.standard_normal(case.w.shape) * 2.0 ** data.draw(st.integers(-8, 4))
    other = store(case.w.astype(np.float64) + noise, case.w.dtype)
    allowed = sum(
        roundoff(projected_exactly(case.constraint, a, case.axis), a.dtype) for a in (case.w, other)
    )
    x, y, at_x, at_y = (
        rows(a, case.axis).astype(np.longdouble)
        for a in (case.w, other, case.constraint(case.w), case.constraint(other))
    )

    assert (length_of(at_x - at_y) <= length_of(x - y) * (1 + 1e-15) + allowed).all()


def outside(distribution: str, length: int, count: int, constraint: Any) -> Array:
    """Columns outside of the constraint's bounds by factors from 1.1 to 4."""
    rng = np.random.default_rng([length, count])
    shape = (length, count)
    values = {
        "normal": lambda: rng.standard_normal(shape),
        "uniform": lambda: rng.uniform(-1, 1, shape),
        "laplace": lambda: rng.laplace(size=shape),
        "student": lambda: rng.standard_t(3, shape),
        "constant": lambda: np.ones(shape),
    }[distribution]()
    lower, upper = constraint.bounds
    away = rng.uniform(1.1, 4, count)
    norms = upper * away if math.isfinite(upper) else lower / away
    return values / length_of(values.T) * norms


def distances(w: Array, constraint: Any) -> tuple[float, float]:
    """Mean distances from the exact projections: of the results, of rounding those to nearest."""
    exact = projected_exactly(constraint, w, 0)
    rounded = nearest(exact.astype(np.float64), w.dtype)
    before, after = rows(w, 0), rows(constraint(w), 0)
    moved = changed(before, after)
    stored, plain = (
        length_of(a.astype(np.float64).astype(np.longdouble) - exact)[moved].mean()
        for a in (after, rounded)
    )
    return float(stored), float(plain)


LIMITS = [(64, 1.10), (256, 1.10), (1024, 1.05), (4096, 1.05)]
NEAR = [MaxNorm(2.0), MaxNorm(0.1), MinMaxNorm(3.0, math.inf), UnitNorm()]
every_limit = pytest.mark.parametrize(("length", "limit"), LIMITS)
every_near = pytest.mark.parametrize("constraint", NEAR, ids=lambda c: f"{c.name}-{c.bounds[1]}")


@every_near
@every_limit
@pytest.mark.parametrize("distribution", ["normal", "uniform", "laplace", "student"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_on_average_results_are_nearly_as_near_as_rounding_to_nearest(
    dtype, distribution, length, limit, constraint
):
    """Mean distances are within 1.05 of those of plain rounding, and 1.10 below 1024 entries."""
    w = outside(distribution, length, 256, constraint).astype(dtype_of(dtype))
    stored, plain = distances(w, constraint)

    assert stored <= limit * plain


def nearest_feasible_constant(length: int, bound: float, dtype: np.dtype[Any]) -> float:
    """The least distance of equal entries to a rounding, up or down of each, within `bound`."""
    entry = Fraction(bound / math.sqrt(length))
    down = Fraction(float(toward_zero(np.array([float(entry)]), dtype)[0]))
    up = Fraction(float(away_from_zero(np.array([float(entry)]), dtype)[0]))
    room = Fraction(bound) ** 2 - length * down**2
    most = min(length, int(room / (up**2 - down**2))) if up > down else 0
    count = most if up - entry < entry - down else 0
    square = count * (up - entry) ** 2 + (length - count) * (entry - down) ** 2
    return math.sqrt(square)


@every_limit
@pytest.mark.parametrize("bound", [2.0, 0.1, 0.7, 3.0, math.pi])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float8_e4m3fn"])
def test_no_rounding_of_equal_entries_within_the_bound_is_nearer(dtype, bound, length, limit):
    """Of a constant vector as few entries as possible are rounded the farther way."""
    w = outside("constant", length, 8, MaxNorm(bound)).astype(dtype_of(dtype))
    stored, _ = distances(w, MaxNorm(bound))
    best = nearest_feasible_constant(length, bound, w.dtype)

    assert stored <= limit * best + 1e-12 * bound


@every_near
@pytest.mark.parametrize("length", [64, 1024, 4096])
def test_float64_results_are_within_two_margins_of_the_exact_projection(length, constraint):
    """What float64 gives away for the sake of certainty is at most twice its margin."""
    w = outside("normal", length, 64, constraint)
    exact = projected_exactly(constraint, w, 0)
    error = length_of(rows(constraint(w), 0).astype(np.longdouble) - exact)
    margin = 2.0**-53 * (8 + math.sqrt(length))

    assert (error <= 2 * margin * length_of(exact)).all()


# Equivalences


@every_dtype
@law
@given(data=st.data())
def test_min_max_norm_from_zero_is_max_norm(dtype, data):
    """MinMaxNorm(0, m) and MaxNorm(m) store the same bytes."""
    case = data.draw(cases("max_norm", dtype))
    shell = MinMaxNorm(0.0, case.constraint.max_value, axis=case.axis)

    assert same_bytes(shell(case.w), case.constraint(case.w))


@every_dtype
@law
@given(data=st.data())
def test_min_max_norm_from_one_to_one_is_unit_norm(dtype, data):
    """MinMaxNorm(1, 1) and UnitNorm store the same bytes."""
    case = data.draw(cases("unit_norm", dtype))

    assert same_bytes(MinMaxNorm(1.0, 1.0, axis=case.axis)(case.w), case.constraint(case.w))


SCALES = {"float16": 3, "bfloat16": 60, "float32": 60, "float64": 700}


@pytest.mark.parametrize("dtype", SCALES)
@pytest.mark.parametrize("lower", [0.0, 0.75, 1.5])
@pytest.mark.parametrize("direction", [1, -1])
@law
@given(seed=st.integers(0, 2**32 - 1), shape=st.tuples(st.integers(1, 40), st.integers(1, 5)))
@example(seed=3443162, shape=(15, 5))
def test_scaling_by_a_power_of_two_commutes_with_projecting(dtype, lower, direction, seed, shape):
    """Vectors and bounds times 2**k give the results times 2**k, away from subnormals."""
    power = direction * SCALES[dtype]
    w = np.random.default_rng(seed).choice([-3.0, -1.25, 0.75, 1.0, 1.375, 2.7], shape)
    w = w.astype(dtype_of(dtype))
    scaled = (w.astype(np.float64) * 2.0**power).astype(w.dtype)
    one = MinMaxNorm(lower, 1.5, axis=0)(w)
    two = MinMaxNorm(lower * 2.0**power, 1.5 * 2.0**power, axis=0)(scaled)

    assert same_bytes((one.astype(np.float64) * 2.0**power).astype(w.dtype), two)


# Steps


@every_form
@pytest.mark.parametrize("dtype", NARROW)
@law
@given(data=st.data())
def test_a_rate_below_one_is_exactly_the_formula(dtype, form, data):
    """Outside, entries are w * (rate * clip(n) + (1 - rate) * n) / n, rounded once."""
    w = data.draw(weights(dtype_of(dtype)))
    axis = data.draw(axes(form, w.ndim))
    rate = data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.9]))
    numbers = grid(w.dtype)
    out = rows(MinMaxNorm(0.5, 2.0, rate, axis)(w), axis).astype(np.longdouble)
    x = rows(w, axis).astype(np.longdouble)
    norms = length_of(x)[:, None]
    inside = ((norms >= 0.5) & (norms <= 2.0)) | (norms == 0)
    target = rate * np.clip(norms, 0.5, 2.0) + (1 - rate) * norms
    exact = np.where(inside, x, x * (target / np.where(inside, 1, norms)))
    half = np.maximum(numbers.unit_roundoff * np.abs(exact), numbers.tiny / 2) * (1 + 1e-9)

    assert (np.abs(out - exact) <= np.where(inside, 0, half)).all()


def test_a_rate_below_one_is_a_step_and_not_certified():
    """Half of the way from 4 to at most 2 ends at 3, and the next step goes on from there."""
    half = MinMaxNorm(0.0, 2.0, rate=0.5, axis=0)
    once = half(np.array([4.0, 0.0], np.float32))

    assert half.step
    assert once.tolist() == [3.0, 0.0]
    assert half(once).tolist() == [2.5, 0.0]
    assert not half.contains(once).any()
    assert not MinMaxNorm(0.0, 2.0, axis=0).step


def test_a_step_from_a_norm_beyond_float64_is_refused():
    """Where the norm itself overflows, so does the norm that half of the way leads to."""
    with pytest.raises(NotRepresentableError):
        MinMaxNorm(0.0, 1.0, rate=0.5, axis=0)(np.full(2, 1.7e308))


# Extremes


def assert_projected(constraint: Any, w: Array, *, feasible: bool = True) -> Array:
    """Projects columns, checks that the result is inside and stays; returns it."""
    out = constraint(w)
    assert same_bytes(constraint(out), out)
    if feasible:
        lowest, highest = measured(rows(out, constraint.axis))
        lower, upper = constraint.bounds
        allowed = slack(constraint, rows(w, constraint.axis).shape[1], w.dtype)
        zero = ~rows(w, constraint.axis).astype(np.float64).any(axis=1)
        assert ((lowest >= lower - allowed) | zero).all()
        assert (highest <= upper + allowed).all()
    return out


@pytest.mark.parametrize("magnitude", [1e200, 1e-200, 1e308, 1e-308, 1e-320])
@pytest.mark.parametrize("constraint", [MaxNorm(1e-210), UnitNorm(), MinMaxNorm(3.0, 5.0)], ids=str)
def test_float64_norms_neither_overflow_nor_underflow(magnitude, constraint):
    """Vectors of any magnitude keep their direction and get the norm that they should."""
    w = np.array([[3.0, 0.3], [4.0, 0.4]]) / 5 * magnitude
    out = assert_projected(constraint, w)
    direction = w / w.max(axis=0)
    length = np.sqrt(np.square(direction).sum(axis=0))
    target = np.clip(length * w.max(axis=0), *constraint.bounds)

    np.testing.assert_allclose(out, direction / length * target, rtol=1e-14, atol=5e-324)


def test_a_float64_vector_of_the_largest_numbers_has_a_norm_beyond_float64():
    """Entries of the largest finite number are projected as well as any others."""
    w = np.full((4, 1), np.finfo(np.float64).max)

    np.testing.assert_allclose(assert_projected(MaxNorm(3.0), w), 1.5, rtol=1e-14)
    np.testing.assert_allclose(assert_projected(UnitNorm(), w), 0.5, rtol=1e-14)
    assert same_bytes(MaxNorm(math.inf)(w), w)


@pytest.mark.parametrize(("before", "bound"), [(1e150, 1e-200), (1e15, 1e-300), (1e-120, 1e200)])
def test_factors_beyond_float64_are_no_obstacle(before, bound):
    """Between two norms that float64 holds, a vector is scaled as between any other two."""
    w = np.full((2, 1), before)
    out = assert_projected(MinMaxNorm(bound * 0.5, bound), w)
    expected = min(max(before, bound * 0.5 / math.sqrt(2)), bound / math.sqrt(2))

    np.testing.assert_allclose(out, expected, rtol=1e-14, atol=0)


def test_a_huge_vector_that_is_inside_makes_no_noise():
    """Beside one that moves, a vector that needs no factor causes no warning of NumPy's."""
    w = np.array([[1.0, 1e308]])
    out = MinMaxNorm(3.0, math.inf, axis=0)(w)

    assert out[0, 0] == pytest.approx(3.0)
    assert out[0, 1] == 1e308


@pytest.mark.parametrize("least", [1.7e308, 1.7976931348623157e308])
def test_a_bound_at_the_end_of_float64_is_reached_or_refused(least):
    """Near the largest number a vector is projected or refused, without a warning of NumPy's."""
    constraint = MinMaxNorm(least, math.inf, axis=0)
    try:
        out = constraint(np.array([1e307]))
    except NotRepresentableError:
        return
    assert out[0] >= least


@pytest.mark.parametrize(
    ("w", "bound", "expected"),
    [
        ([1e200, 1e-200], 1e190, [1e190, 1e-210]),
        ([1e150, 1e-300], 1e149, [1e149, 1e-301]),
        ([1e-300, 1e-310], 1e-301, [1e-301, 1e-311]),
        ([1e300, 1.0, 1e-300], 1e298, [1e298, 1e-2, 1e-302]),
    ],
)
def test_entries_far_smaller_than_the_largest_are_scaled_with_it(w, bound, expected):
    """No entry is lost on the way from one magnitude to another that float64 holds."""
    out = MaxNorm(bound, axis=0)(np.array(w))

    np.testing.assert_allclose(out, expected, rtol=1e-14, atol=5e-324)


def test_float16_vectors_of_large_and_small_norms_keep_their_direction():
    """In float16, where Keras makes zeros of them, norms of 300 and 1e-4 are as good as others."""
    w = (np.array([[0.6], [0.8]]) * [300, 1e-4]).astype(np.float16)
    out = assert_projected(UnitNorm(), w).astype(np.float64)

    np.testing.assert_allclose(out, [[0.6, 0.6], [0.8, 0.8]], rtol=2e-3)


@every_dtype
@pytest.mark.parametrize("length", [1, 2, 7, 1000])
def test_vectors_of_the_largest_number_are_projected(dtype, length):
    """Squares of the largest finite number of a dtype are no obstacle."""
    numbers = dtype_of(dtype)
    w = np.full((length, 2), grid(numbers).largest).astype(numbers)
    w[:, 1] *= -1
    for bound in (2.0, 0.1, grid(numbers).largest / 2):
        out = assert_projected(MaxNorm(bound), w)

        assert same_bytes(-out[:, 0], out[:, 1])


@every_dtype
@every_radial
@pytest.mark.parametrize("length", [1, 2, 7, 1000])
def test_vectors_of_the_smallest_number_are_projected(name, dtype, length):
    """Squares of the smallest subnormal number of a dtype are no obstacle, either."""
    w = np.full((length, 2), grid(dtype_of(dtype)).tiny).astype(dtype_of(dtype))
    for parameters in PARAMETERS.get(name, ({},)):
        assert_projected(ALL[name](**parameters), w)


@every_dtype
def test_a_bound_of_zero_makes_zeros(dtype):
    """The ball of radius zero is zero."""
    w = np.array([[3.0, -0.5], [-4.0, 0.25]]).astype(dtype_of(dtype))

    assert not assert_projected(MaxNorm(0), w).astype(np.float64).any()


@every_dtype
@law
@given(data=st.data())
def test_an_infinite_bound_is_no_bound(dtype, data):
    """Under MaxNorm(inf) everything keeps its bytes."""
    w = data.draw(weights(dtype_of(dtype)))

    assert same_bytes(MaxNorm(math.inf, axis=None)(w), w)


@pytest.mark.parametrize("dtype", NARROW)  # Below 5e-324 there is no bound, either.
@pytest.mark.parametrize("part", [0.9, 0.5, 0.1, 1e-6])
@pytest.mark.parametrize("length", [1, 2, 50])
def test_below_the_smallest_number_there_is_only_zero(dtype, part, length):
    """A bound smaller than the smallest subnormal number leaves zeros."""
    numbers = dtype_of(dtype)
    bound = grid(numbers).tiny * part
    w = np.random.default_rng(length).standard_normal((length, 3)).astype(numbers)

    assert not assert_projected(MaxNorm(bound), w).astype(np.float64).any()


@every_dtype
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("length", [1, 3, 60])
def test_bounds_among_the_subnormal_numbers_hold(dtype, steps, length):
    """A bound of a few times the smallest number is kept without tolerance."""
    numbers = dtype_of(dtype)
    w = np.random.default_rng(length).standard_normal((length, 5)).astype(numbers)

    assert_projected(MaxNorm(steps * grid(numbers).tiny), w)


@every_dtype
@pytest.mark.parametrize("bound", [0.1, 1 / 3, 0.7, math.pi, 1 + 2**-30])
@pytest.mark.parametrize("length", [1, 2, 3, 17])
def test_bounds_that_the_dtype_does_not_hold_are_kept(dtype, bound, length):
    """The bound is the number that was given, not the nearest one of the stored dtype."""
    w = np.random.default_rng(length).standard_normal((length, 50)) * 9
    assert_projected(MaxNorm(bound), w.astype(dtype_of(dtype)))
    assert_projected(MinMaxNorm(bound, 2 * bound), (w / 1e3).astype(dtype_of(dtype)))


@every_dtype
@pytest.mark.parametrize("bound", [0.1, 1.0, 5.0])
def test_one_huge_entry_among_tiny_ones_takes_the_bound(dtype, bound):
    """What is left of a vector with one huge entry is that entry, as large as allowed."""
    numbers = dtype_of(dtype)
    w = np.full((100, 1), grid(numbers).tiny).astype(numbers)
    w[37] = -grid(numbers).largest
    out = assert_projected(MaxNorm(bound), w).astype(np.float64)
    least = bound * (1 - 2 * grid(numbers).unit_roundoff) * (1 - 1e-14)

    assert -bound <= out[37, 0] <= -least
    assert np.abs(np.delete(out, 37)).max() <= grid(numbers).tiny


@every_dtype
@pytest.mark.parametrize("bound", [0.1, 1.0, 1.5, 3.3])
def test_a_vector_of_length_one_becomes_the_largest_number_within_the_bound(dtype, bound):
    """A single entry has an answer that can be looked up: the bound, rounded toward zero."""
    numbers = dtype_of(dtype)
    w = np.array([[7.0, -7.0]]).astype(numbers)
    out = MaxNorm(bound, axis=0)(w)
    above = np.nextafter(out, w)
    margin = 3 * 9 * 2.0**-53 if numbers == np.float64 else 0.0

    assert (np.abs(out.astype(np.float64)) <= bound).all()
    assert (np.abs(above.astype(np.float64)) > bound * (1 - margin)).all()


@pytest.mark.parametrize("dtype", NARROW)
def test_no_result_beyond_the_dtype_is_stored(dtype):
    """A lower bound that the dtype cannot reach is refused, in words."""
    largest = grid(dtype_of(dtype)).largest
    w = np.array([[1.0], [0.5]]).astype(dtype_of(dtype))

    with pytest.raises(NotRepresentableError) as caught:
        MinMaxNorm(4 * largest, math.inf, axis=0)(w)
    assert str(caught.value) == (
        f"the result is beyond {largest:g}, the largest finite {dtype_of(dtype).name}"
    )


@functools.cache
def bfloat16_numbers() -> Array:
    """All finite numbers of bfloat16 from -4 to 4."""
    numbers = np.arange(1 << 16, dtype=np.uint16).view(ml_dtypes.bfloat16)
    with np.errstate(invalid="ignore"):
        return numbers[np.abs(numbers.astype(np.float32)) <= 4]


@pytest.mark.parametrize("bound", [2.0, 0.1, 1 + 2**-9])
def test_every_bfloat16_number_is_projected_as_a_vector_of_length_one(bound):
    """All of them: inside untouched, outside the nearest number inside."""
    w = bfloat16_numbers()[None]
    values = w.astype(np.float64)
    out = assert_projected(MaxNorm(bound), w)
    best = np.max(values[np.abs(values) <= bound])
    expected = np.where(np.abs(values) <= bound, values, np.copysign(best, values))

    assert np.array_equal(out.astype(np.float64), expected)
