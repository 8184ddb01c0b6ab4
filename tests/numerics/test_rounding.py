"""From float64 into the set as stored: what is written, how near, and what certifies it."""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from wproj.dtypes import grid, nearest, to_float64
from wproj.errors import NotRepresentableError
from wproj.numerics import aiming, repairing, rounding
from wproj.numerics.changes import Change
from wproj.numerics.norms import Bounds, margin, measure
from wproj.numerics.repairing import misses, repair
from wproj.numerics.rounding import clip, rescale, rescale_into
from wproj.numerics.scaling import Place, Scaling
from wproj.numerics.vectors import TILE, Tile, Unit, Vectors

Array = NDArray[Any]

DTYPES = ("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2")
SIXTEEN = ("float16", "bfloat16")


def dtype_of(name: str) -> np.dtype[Any]:
    """The NumPy or ml_dtypes dtype of this name."""
    return np.dtype(getattr(ml_dtypes, name, name))


@dataclass
class Memory:
    """An array that is read and written as a file would be, and remembers the writes."""

    before: Array
    after: Array = field(init=False)
    writes: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Starts with a copy, as projecting a file does."""
        self.before = np.ascontiguousarray(self.before)
        self.after = self.before.copy()

    def place(self, *, blank: bool = False) -> Place:
        """Where the units of this array are read from and written to; a blank one has no values."""
        flat, result = self.before.reshape(-1), self.after.reshape(-1)

        def write(start: int, values: Array) -> None:
            assert values.dtype == self.before.dtype
            assert values.ndim == 1
            self.writes.append((start, start + len(values)))
            result[start : start + len(values)] = values

        def keep(start: int, stop: int) -> None:
            if blank:
                write(start, flat[start:stop])

        return Place(lambda a, b: flat[a:b], write, lambda a, b: result[a:b], keep)

    def units(self, axis: int | None, tile: int = TILE) -> list[Unit]:
        """The units of this array."""
        return list(Vectors.of(self.before.shape, axis).units(tile))


def into(w: Array, axis: int, lower: float, upper: float, tile: int = TILE) -> Memory:
    """Rescales what is outside of the bounds, as a radial constraint does."""
    memory = Memory(w)
    bounds = Bounds.of(lower, upper, Vectors.of(w.shape, axis).length, memory.before.dtype)
    for unit in memory.units(axis, tile):
        norms = measure(unit, memory.place().read)
        moving = ~bounds.contain(norms.value) & (norms.value > 0)
        if moving.any():
            goal = np.clip(norms.value, lower, upper)
            rescale_into(unit, memory.place(), Scaling(norms, moving), goal, bounds)
    return memory


def norms_in_random_orders(w: Array, axis: int) -> Array:
    """Norms of the vectors along `axis`, their squares added one by one in twenty random orders."""
    squares = np.square(np.moveaxis(w, axis, 0).astype(np.float64)).reshape(w.shape[axis], -1)
    rng = np.random.default_rng(0)
    sums = [np.cumsum(rng.permutation(squares, axis=0), axis=0)[-1] for _ in range(20)]
    return np.sqrt(np.stack(sums))


# Scaling


@pytest.mark.parametrize("dtype", DTYPES)
def test_rescaling_rounds_the_exact_product_once(dtype):
    """Entries times goal / (epsilon + norm), in rational arithmetic, rounded to nearest."""
    w = np.array([3.0, -4.0, 0.0, -0.0, 0.25]).astype(dtype_of(dtype))
    memory = Memory(w)
    (unit,) = memory.units(0)
    norms = measure(unit, memory.place().read)
    rescale(unit, memory.place(), Scaling(norms, np.array([True]), 0.5), np.array([1.5]))
    factor = Fraction(3, 2) / (Fraction(float(norms.value[0])) + Fraction(1, 2))
    expected = np.array([float(Fraction(x) * factor) for x in to_float64(w).tolist()])
    stored = to_float64(memory.after)

    np.testing.assert_allclose(stored, to_float64(nearest(expected, w.dtype)), rtol=4e-16)
    assert np.signbit(stored).tolist() == [False, True, False, True, False]


def test_a_vector_of_norm_zero_stays_as_it_is():
    """No factor leads from zero to another norm."""
    memory = Memory(np.array([[0.0, 3.0], [-0.0, 4.0]], np.float32))
    (unit,) = memory.units(0)
    norms = measure(unit, memory.place().read)
    rescale(unit, memory.place(), Scaling(norms, np.array([[True, True]])), np.array([[1.0, 1.0]]))

    assert memory.after[:, 0].tobytes() == memory.before[:, 0].tobytes()
    assert memory.after[:, 1].tolist() == [np.float32(0.6), np.float32(0.8)]


def test_vectors_that_do_not_move_keep_their_bytes():
    """Only those of `moving` are scaled."""
    memory = Memory(np.array([[3.0, 3.0], [4.0, 4.0]], np.float32))
    (unit,) = memory.units(0)
    norms = measure(unit, memory.place().read)
    rescale(unit, memory.place(), Scaling(norms, np.array([[False, True]])), np.array([[1.0, 1.0]]))

    assert memory.after[:, 0].tolist() == [3.0, 4.0]
    assert memory.after[:, 1].tolist() == [np.float32(0.6), np.float32(0.8)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float8_e4m3fn"])
def test_a_result_beyond_the_largest_number_is_refused(dtype):
    """Nothing infinite is stored; the sentence names the dtype and its largest number."""
    memory = Memory(np.array([1.0, 0.5]).astype(dtype_of(dtype)))
    (unit,) = memory.units(0)
    norms = measure(unit, memory.place().read)
    largest = grid(memory.before.dtype).largest
    sentence = f"the result is beyond {largest:g}, the largest finite {dtype}"

    with pytest.raises(NotRepresentableError) as caught:
        rescale(unit, memory.place(), Scaling(norms, np.array([True])), np.array([3 * largest]))
    assert str(caught.value) == sentence
    assert memory.writes == []
    assert caught.value.hint == "lower the bound, or convert the tensor to a wider dtype first"


# What is written


def test_only_tiles_with_a_vector_that_moves_are_written():
    """Where nothing changes nothing is written."""
    w = np.full((6, 4), 0.1, np.float32)
    w[2] = 5.0
    memory = into(w, 1, 0.0, 2.0, tile=8)

    assert set(memory.writes) == {(8, 16)}
    assert memory.after[[0, 1, 3, 4, 5]].tobytes() == w[[0, 1, 3, 4, 5]].tobytes()


def test_columns_across_tiles_are_written_in_every_tile():
    """A vector that spans the tiles of a unit is stored in all of them."""
    w = np.full((6, 4), 3.0, np.float32)
    memory = into(w, 0, 0.0, 2.0, tile=8)

    assert set(memory.writes) == {(0, 8), (8, 16), (16, 24)}
    assert (np.sqrt(np.square(memory.after.astype(np.float64)).sum(axis=0)) <= 2.0).all()


def test_a_blank_place_gets_every_tile():
    """An intermediate result has to hold what did not change, too."""
    w = np.full((6, 4), 0.1, np.float32)
    w[2] = 5.0
    memory = Memory(w)
    memory.after[:] = -1
    for unit in memory.units(1, tile=8):
        norms = measure(unit, memory.place().read)
        bounds = Bounds.of(0.0, 2.0, 4, w.dtype)
        scaling = Scaling(norms, norms.value > 2)
        goal = np.minimum(norms.value, 2)
        rescale_into(unit, memory.place(blank=True), scaling, goal, bounds)

    assert {start for start, _ in memory.writes} == {0, 8, 16}
    assert memory.after[[0, 1, 3, 4, 5]].tobytes() == w[[0, 1, 3, 4, 5]].tobytes()
    assert np.sqrt(np.square(memory.after[2].astype(np.float64)).sum()) <= 2.0


# Certified


@pytest.mark.parametrize("tile", [64, 1000, TILE])
@pytest.mark.parametrize(("lower", "upper"), [(0.0, 2.0), (0.0, 0.1), (3.0, math.inf), (0.3, 0.31)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_what_is_stored_is_inside_in_any_order_of_summation(dtype, lower, upper, tile):
    """Twenty random orders agree that the stored norms are within the bounds, however tiled."""
    rng = np.random.default_rng(1)
    w = (rng.standard_normal((50, 60)) * rng.uniform(0.01, 3, 60)).astype(dtype_of(dtype))
    for axis in (0, 1):
        norms = norms_in_random_orders(into(w, axis, lower, upper, tile).after, axis)

        assert (norms <= upper).all()
        assert (norms >= lower).all()


@pytest.mark.parametrize("gathered", [0, 1 << 21])
@pytest.mark.parametrize("tile", [1, 17, 64, TILE])
@pytest.mark.parametrize(("shape", "axis"), [((40, 30), 0), ((30, 40), 1), ((5, 40, 7), 1)])
@pytest.mark.parametrize(("lower", "upper"), [(0.0, 2.0), (3.0, math.inf)])
@pytest.mark.parametrize("dtype", SIXTEEN)
def test_every_entry_is_next_to_its_exact_value_however_tiled(
    dtype, lower, upper, shape, axis, tile, gathered, monkeypatch
):
    """Repairs end up at the entries that they were made for, in whichever tile those are."""
    monkeypatch.setattr(repairing, "_GATHERED", gathered)
    rng = np.random.default_rng(7)
    w = (rng.standard_normal(shape) * rng.choice([0.1, 0.5, 3.0, 9.0], shape[1:])).astype(
        dtype_of(dtype)
    )
    values = to_float64(w)
    norms = np.sqrt(np.square(values).sum(axis=axis, keepdims=True))
    exact = values * (np.clip(norms, lower, upper) / norms)
    memory = into(w, axis, lower, upper, tile)
    measured = norms_in_random_orders(memory.after, axis)
    ulp = 2.5 * grid(w.dtype).unit_roundoff * np.abs(exact) + grid(w.dtype).tiny

    assert (np.abs(to_float64(memory.after) - exact) <= ulp).all()
    assert (measured <= upper).all()
    assert (measured >= lower).all()


@pytest.mark.parametrize("dtype", SIXTEEN)
def test_norms_in_the_margin_are_accepted_only_where_squares_add_up_exactly(dtype):
    """Whatever ends closer to the bound than the margin is inside in rational arithmetic."""
    rng = np.random.default_rng(2)
    w = (rng.integers(-12, 13, (5, 4000)) / 4).astype(dtype_of(dtype))
    after = into(w, 0, 0.0, 1.0).after
    squares = [sum(Fraction(float(x)) ** 2 for x in column) for column in after.T.astype(float)]
    edge = Fraction(1 - margin(5)) ** 2

    assert sum(edge < square for square in squares) > 10
    assert all(square <= 1 for square in squares)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("order", [1, -1])
def test_what_float64_does_not_see_is_not_taken_to_be_inside(dtype, order):
    """3, 4 and a trace have a norm above 5, though float64 measures 5 in any order."""
    w = np.array([[6.0, 8.0, 2.0**-29]]).astype(dtype_of(dtype))[:, ::order]
    after = into(w, 1, 0.0, 5.0).after

    assert sum(Fraction(float(x)) ** 2 for x in after[0]) <= 25
    assert norms_in_random_orders(after, 1).min() > 5 * (1 - 3 * grid(w.dtype).unit_roundoff)


def test_rounding_to_nearest_alone_would_leave_many_outside():
    """The certificate is needed: without it, more than a quarter of all vectors are outside."""
    rng = np.random.default_rng(3)
    w = rng.standard_normal((100, 1000)) * 3
    stored = nearest(w / np.sqrt(np.square(w).sum(axis=0)) * 2.0, dtype_of("bfloat16"))
    outside = (norms_in_random_orders(stored, 0) > 2.0).any(axis=0)

    assert outside.mean() > 0.25


@pytest.mark.parametrize("attempts", [1, 2, 3, 10])
@pytest.mark.parametrize(("lower", "upper"), [(0.0, 2.0), (0.0, 0.1), (3.0, math.inf)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_rounding_toward_the_inside_is_enough_where_deeper_aims_are_not(
    dtype, lower, upper, attempts, monkeypatch
):
    """The last attempt rounds toward zero or away from it, and leaves nothing outside."""
    monkeypatch.setattr(rounding, "_ATTEMPTS", attempts)
    monkeypatch.setattr(repairing, "_GATHERED", 0)
    rng = np.random.default_rng(4)
    w = (rng.standard_normal((50, 300)) * rng.uniform(0.01, 3, 300)).astype(dtype_of(dtype))
    norms = norms_in_random_orders(into(w, 0, lower, upper, tile=64).after, 0)

    assert (norms <= upper).all()
    assert (norms >= lower).all()


@dataclass
class Stubborn:
    """Finds every vector outside, however it is stored, and notes how deep it is aimed."""

    deeper: list[float] = field(default_factory=list)
    repairs: int = 0

    def misses(self, *given: Any) -> Array:
        """All of those that were to be stored."""
        return given[-1]

    def repair(self, _unit: Unit, _place: Place, _scaling: Scaling, todo: Array, *rest: Any) -> Any:
        """None is repaired."""
        self.repairs += 1
        return todo, rest[-1]

    def aim(self, *given: Any) -> Array:
        """The next aim, a hundredth farther inside."""
        self.deeper.append(float(given[0].min()))
        return given[0] * 0.99


def test_what_is_never_inside_is_aimed_deeper_eight_times_and_then_at_the_bounds(monkeypatch):
    """The last two are rounded to nearest, and toward zero, from the surest norm at the bound."""
    stubborn = Stubborn()
    monkeypatch.setattr(rounding, "misses", stubborn.misses)
    monkeypatch.setattr(rounding, "repair", stubborn.repair)
    monkeypatch.setattr(rounding, "deeper", stubborn.aim)
    memory = Memory(np.random.default_rng(0).standard_normal((400, 3)).astype(np.float32))
    (unit,) = memory.units(0)
    norms = measure(unit, memory.place().read)
    bounds = Bounds.of(0.0, 2.0, 400, memory.before.dtype)
    moving = np.array([[True, False, True]])

    found = rescale_into(unit, memory.place(), Scaling(norms, moving), np.full((1, 3), 2.0), bounds)

    assert found is unit
    assert (len(stubborn.deeper), stubborn.repairs) == (8, 1)
    stored = np.sqrt(np.square(memory.after.astype(np.float64)).sum(axis=0))
    assert np.all(stored[[0, 2]] <= 2.0)
    np.testing.assert_allclose(stored[[0, 2]], 2.0, rtol=2.0**-23)
    assert np.array_equal(memory.after[:, 1], memory.before[:, 1])


@pytest.mark.parametrize(("dtype", "lower"), [(np.float64, 0.0), (np.float32, 2.0)])
def test_neither_float64_nor_a_sphere_is_repaired(dtype, lower, monkeypatch):
    """There is nothing finer to measure it by, and nothing inside to round to."""
    stubborn = Stubborn()
    monkeypatch.setattr(rounding, "misses", stubborn.misses)
    monkeypatch.setattr(rounding, "repair", stubborn.repair)
    memory = into(np.full((4, 1), 3.0, dtype), 0, lower, 2.0)

    assert stubborn.repairs == 0
    assert memory.after[0] == pytest.approx(1, rel=1e-3)


def test_a_unit_that_was_aimed_at_again_is_yet_to_be_measured(monkeypatch):
    """What is known of the last attempt leaves out the vectors that were inside before."""
    answers = iter([True, False])
    monkeypatch.setattr(rounding, "misses", lambda *given: given[-1] & next(answers))
    monkeypatch.setattr(rounding, "repair", Stubborn().repair)
    memory = Memory(np.full((4, 1), 3.0, np.float32))
    (unit,) = memory.units(0)
    norms = measure(unit, memory.place().read)
    bounds = Bounds.of(0.0, 2.0, 4, memory.before.dtype)
    scaling = Scaling(norms, np.ones(unit.shape, np.bool_))

    assert rescale_into(unit, memory.place(), scaling, np.full(unit.shape, 2.0), bounds) is unit


def test_what_is_kept_beside_what_moves_ends_with_its_tile():
    """In a place that has no values yet, each tile is written once."""
    memory = Memory(np.array([[1.0, 1.0], [9.0, 9.0], [1.0, 1.0], [1.0, 1.0]], np.float32))
    tiles = (Tile(2 * i, 2 * i + 2, (1, 2), (1,), (slice(i, i + 1),)) for i in range(4))
    whole = Unit(tuple(tiles), (4, 1), ())
    norms = measure(whole, memory.place().read)
    rescale(whole, memory.place(blank=True), Scaling(norms, norms.value > 2), np.full((4, 1), 2.0))

    assert memory.writes == [(0, 2), (2, 4), (4, 6), (6, 8)]


def test_what_became_of_a_unit_says_which_and_from_which_norms():
    """The unit itself, its norms before, and those as stored."""
    memory = Memory(np.array([[3.0, 0.1], [4.0, 0.1]], np.float32))
    (unit,) = memory.units(0)
    norms = measure(unit, memory.place().read)
    found = rescale(unit, memory.place(), Scaling(norms, norms.value > 1), np.ones((1, 2)))

    assert found.unit is unit
    assert found.before.ravel().tolist() == norms.value.ravel().tolist()
    assert found.after.ravel()[0] == pytest.approx(1, rel=1e-7)
    assert found.vectors.tolist() == [[True, False]]


def border(dtype: Any) -> Any:
    """A vector whose norm is its bound, and what there is to be said of it."""
    memory = Memory(np.array([3.0, 4.0], dtype))
    (unit,) = memory.units(0)
    return unit, memory.place(), Bounds.of(0.0, 5.0, 2, memory.before.dtype)


@pytest.mark.parametrize(("dtype", "missed"), [(np.float32, False), (np.float64, True)])
def test_at_the_bound_a_vector_is_sure_where_squares_add_up_exactly(dtype, missed):
    """Which float64 arithmetic can tell of every narrower dtype, but not of its own."""
    unit, place, bounds = border(dtype)

    assert misses(unit, place, np.array([5.0]), bounds, np.array([True])).tolist() == [missed]
    assert misses(unit, place, np.array([5.0]), bounds, np.array([False])).tolist() == [False]


def test_a_repair_that_ends_at_the_bound_is_judged_like_any_result(monkeypatch):
    """Its squares add up exactly, so that no vector is left."""
    monkeypatch.setattr(repairing, "inward", lambda *_: np.array([[3.0, 4.0]], np.float32))
    unit, place, bounds = border(np.float32)
    norms = measure(unit, place.read)
    todo, one = np.array([True]), np.array([5.1])
    change = Change(unit, one, one, todo, 2, 1.0)
    left, found = repair(unit, place, Scaling(norms, todo), todo, bounds, change)

    assert not left.any()
    assert found.after.tolist() == [5.0]


@pytest.mark.parametrize(("count", "left"), [(1, 0), (6, 0), (8, 0), (9, 9)])
def test_vectors_are_repaired_in_batches_or_left_all(count, left, monkeypatch):
    """Two batches of four here: more would take more passes than aiming deeper."""
    monkeypatch.setattr(repairing, "_GATHERED", 4 * 64)
    monkeypatch.setattr(repairing, "_BATCHES", 2)
    memory = Memory(np.random.default_rng(1).standard_normal((64, count)).astype(np.float16))
    (unit,) = memory.units(0)
    norms = measure(unit, memory.place().read)
    bounds = Bounds.of(0.0, 2.0, 64, memory.before.dtype)
    todo = np.ones(unit.shape, np.bool_)
    change = Change(unit, norms.value, norms.value, todo, 64 * count, 1.0)
    found, _ = repair(unit, memory.place(), Scaling(norms, todo), todo, bounds, change)

    assert int(found.sum()) == left
    assert (memory.writes == []) == bool(left)


def test_vectors_of_a_tile_with_one_row_are_repaired(monkeypatch):
    """The middle axis is summed over, and the last tile holds a single index of the first."""
    monkeypatch.setattr(aiming, "_bias", lambda _bounds: 0.0)
    w = np.random.default_rng(2).standard_normal((3, 1024, 128)).astype(np.float16)
    memory = into(w, 1, 0.0, 2.0)
    *_, last = memory.units(1)

    assert last.tiles[-1].shape == (1, 1024, 128)
    assert memory.writes.count((last.start, last.stop)) == 2  # Stored, and repaired.
    assert (norms_in_random_orders(memory.after, 1) <= 2.0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1, 2, 9, 400])
def test_a_sphere_is_met_by_rounding_to_nearest(dtype, length):
    """On a sphere the result is the exact product rounded to nearest, and within the slack."""
    rng = np.random.default_rng(5)
    w = (rng.standard_normal((length, 40)) * 3).astype(dtype_of(dtype))
    memory = into(w, 0, 1.0, 1.0)
    bounds = Bounds.of(1.0, 1.0, length, memory.before.dtype)
    (unit,) = memory.units(0)

    assert bounds.contain(measure(unit, memory.place().written).value).all()


# Clipping


def test_clipping_leaves_what_is_inside_and_what_is_not_finite():
    """-0.0, NaN and infinities keep their bytes; the others become what `inside` says."""
    w = np.array([-1.0, -0.0, 2.0, math.nan, -math.inf, math.inf, -3.0], np.float32)
    memory = Memory(w)
    (unit,) = Vectors.of(w.shape, ()).units()
    clip(unit.tiles[0], memory.place(), lambda values: np.maximum(values, 0.0))

    assert memory.after[[0, 6]].tobytes() == bytes(8)
    assert memory.after[1:6].tobytes() == w[1:6].tobytes()


@pytest.mark.parametrize("blank", [True, False])
def test_clipping_writes_a_tile_without_a_change_only_on_demand(blank):
    """What is inside already is written only for an intermediate result."""
    memory = Memory(np.array([1.0, 2.0], np.float32))
    (unit,) = Vectors.of((2,), ()).units()
    clip(unit.tiles[0], memory.place(blank=blank), lambda values: np.maximum(values, 0.0))

    assert memory.writes == ([(0, 2)] if blank else [])


def test_of_an_array_of_two_tiles_each_is_kept_by_itself():
    """What is kept ends where the tile does."""
    memory = Memory(np.ones((4, 2), np.float32))
    first, last = (unit.tiles[0] for unit in Vectors.of((4, 2), 1).units(4))
    clip(first, memory.place(blank=True), lambda values: np.maximum(values, 0.0))
    clip(last, memory.place(blank=True), lambda values: np.maximum(values, 0.0))

    assert memory.writes == [(0, 4), (4, 8)]


def test_a_signaling_nan_is_left_alone_without_a_warning():
    """As any other that is not finite."""
    memory = Memory(np.array([0x7FA00000, 0xC0000000], np.uint32).view(np.float32))
    (unit,) = Vectors.of((2,), ()).units()
    clip(unit.tiles[0], memory.place(), lambda values: np.maximum(values, 0.0))

    assert memory.after.view(np.uint32).tolist() == [0x7FA00000, 0]


def test_what_clipping_makes_of_infinities_is_not_looked_at():
    """Nor is a warning of it shown."""
    memory = Memory(np.array([math.inf, 3.0], np.float32))
    (unit,) = Vectors.of((2,), ()).units()
    clip(unit.tiles[0], memory.place(), lambda values: values - values + 1)

    assert memory.after.tolist() == [math.inf, 1.0]


def test_clipping_rounds_to_the_stored_dtype():
    """A value that the dtype does not hold is stored as the nearest one."""
    memory = Memory(np.array([5.0, 0.05]).astype(ml_dtypes.bfloat16))
    (unit,) = Vectors.of((2,), ()).units()
    clip(unit.tiles[0], memory.place(), lambda values: np.minimum(values, 0.1))

    assert float(memory.after[0]) == float(ml_dtypes.bfloat16(0.1))
    assert memory.after[1] == memory.before[1]
