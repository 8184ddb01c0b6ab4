"""What a projection says of the way that it went, against all entries in float64."""

import math
from unittest.mock import patch

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wproj import MaxNorm, MinMaxNorm
from wproj.constraints.base import Numerics
from wproj.dtypes import grid
from wproj.numerics import aiming, repairing, rounding
from wproj.numerics.changes import Change, amended, compare, told_by_norms, unchanged
from wproj.numerics.scaling import Place
from wproj.numerics.vectors import TILE, Tile, Vectors

DTYPES = ("float16", "float32", "float64", "bfloat16", "float8_e4m3fn")


def changes(w, constraint, mode):
    """What became of each unit, and the values before and after; `mode` may be a Numerics."""
    before, after = w.reshape(-1), w.reshape(-1).copy()

    def write(start, values):
        after[start : start + len(values)] = values

    place = Place(
        lambda start, stop: before[start:stop],
        write,
        lambda start, stop: after[start:stop],
        lambda _start, _stop: None,
    )
    numerics = mode if isinstance(mode, Numerics) else Numerics(mode)
    found = list(constraint.store(w.shape, place, numerics))
    return found, before.astype(np.float64), after.astype(np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1])
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    bound=st.floats(0.001, 1.001),
    scale=st.sampled_from([1.0, 1e-3, 1e3, 1e-30, 1e18]),
    mode=st.sampled_from(["exact", "keras"]),
)
def test_the_distance_is_that_of_all_entries(dtype, axis, seed, rows, columns, bound, scale, mode):
    """To the nine digits promised, whether measured or told by the norms."""
    stored = np.dtype(getattr(ml_dtypes, dtype, dtype))
    largest = min(scale, float(ml_dtypes.finfo(stored).max) / 16)
    values = np.random.default_rng(seed).normal(size=(rows, columns)) * largest / 4
    w = values.astype(stored)
    norm = float(np.linalg.norm(w.astype(np.float64), axis=axis).max())
    found, before, after = changes(w, MaxNorm(norm * bound, axis=axis), mode)
    wholly = [one for one in found if isinstance(one, Change)]
    if len(wholly) < len(found):
        return  # Aimed deeper: measured by another pass.
    squares = math.fsum(np.square(after - before))
    assert sum(one.squares for one in wholly) == pytest.approx(squares, rel=2.1e-9, abs=1e-300)
    assert sum(one.entries for one in wholly) == np.count_nonzero(before != after)


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16", "float8_e4m3fn"])
@pytest.mark.parametrize("axis", [0, 1, 2, (0, 1), (1, 2), (0, 2), None])
@pytest.mark.parametrize("constraint", [MaxNorm(1.5), MinMaxNorm(1.4, 1.9), MinMaxNorm(30, 99)])
def test_what_became_of_repaired_vectors_is_what_is_stored(dtype, axis, constraint):
    """Whichever axes they lie along: their norms, which of them changed, and by how much."""
    stored = np.dtype(getattr(ml_dtypes, dtype, dtype))
    w = np.random.default_rng(7).normal(size=(11, 12, 13)).astype(stored)
    w[:, 5] = 0
    w[2, :, 3] = 0.01
    with (
        patch.object(aiming, "_bias", return_value=0.0),
        patch.object(rounding, "repair", side_effect=repairing.repair) as repair,
    ):
        found, before, after = changes(w, constraint.at(axis), "exact")
    assert repair.called or axis is None
    before, after = before.reshape(w.shape), after.reshape(w.shape)
    changed = np.any(before != after, axis=axis)
    norms = np.sqrt(np.square(after).sum(axis=axis))
    assert all(isinstance(one, Change) for one in found)
    assert np.array_equal(np.concatenate([one.vectors.ravel() for one in found]), changed.ravel())
    np.testing.assert_allclose(
        np.concatenate([one.after.ravel() for one in found]), norms.ravel(), rtol=1e-13
    )
    assert sum(one.entries for one in found) == np.count_nonzero(before != after)
    squares = math.fsum(np.square(after - before).ravel())
    assert sum(one.squares for one in found) == pytest.approx(squares, rel=2.1e-9)


def test_what_became_of_some_vectors_takes_the_place_of_what_was_first_stored():
    """Vector by vector, entry by entry; the others stay as they are told."""
    unit = next(Vectors.of((4, 3), 1).units())
    old = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)
    first = old + np.array([[1, 1, 0], [0, 0, 2]], np.float32)
    new = old + np.array([[3, 0, 0], [0, 0, 0]], np.float32)
    moved = np.array([[True], [True], [False], [True]])
    norms = np.arange(4.0)[:, None]
    told = Change(unit, norms, norms + 1, moved, 8, 100.0)
    some = np.array([[True], [False], [False], [True]])

    found = amended(told, some, old=old, first=first, new=new)

    assert found.vectors.ravel().tolist() == [True, True, False, False]
    assert found.entries == 8 - 3 + 1
    assert found.squares == 100 - 6 + 9
    assert found.unit is unit
    assert np.array_equal(found.after, norms + 1)
    assert moved.ravel().tolist() == [True, True, False, True]


def test_infinities_that_stay_have_no_distance():
    """They are the same on both sides, so that only what moved counts."""
    unit = next(Vectors.of((1, 2), 1).units())
    old = np.array([[np.inf, 2.0]], np.float32)
    some = np.array([[True]])
    told = Change(unit, np.ones((1, 1)), np.ones((1, 1)), some, 1, 4.0)

    found = amended(told, some, old=old, first=old + np.float32(2), new=old + np.float32(3))

    assert (found.squares, found.entries) == (9.0, 1)


def test_a_unit_that_stays_has_no_changes():
    """Its norms after are those before."""
    unit = next(Vectors.of((2, 3), 1).units())
    norms = np.array([[1.0], [2.0]])
    found = unchanged(unit, norms)

    assert found.unit is unit
    assert found.before is norms
    assert found.after is norms
    assert found.vectors.dtype == np.bool_
    assert not found.vectors.any()
    assert (found.vectors.shape, found.entries, found.squares) == (unit.shape, 0, 0.0)


def test_what_is_compared_is_told_entry_by_entry_and_vector_by_vector():
    """Which vectors differ, how many entries do, and by how much; in any shape of what is read."""
    tile = Tile(0, 6, (2, 3), (1,), ())
    old = np.arange(6, dtype=np.float32)
    new = old + np.array([0, 2, 1, 0, 0, 0], np.float32)

    some = compare(tile, old, new)
    every = compare(tile, old, old + 1)

    assert some.vectors.tolist() == [[True], [False]]
    assert (some.entries, some.squares) == (2, 5.0)
    assert every.vectors.tolist() == [[True], [True]]
    assert (every.entries, every.squares) == (6, 6.0)
    assert compare(tile, old, old.copy()) is None


def test_a_distance_that_is_told_by_norms_is_not_measured():
    """The rest is told all the same."""
    found = compare(Tile(0, 2, (1, 2), (1,), ()), np.ones(2), np.array([1.0, 3.0]), measuring=False)

    assert (found.vectors.tolist(), found.entries, found.squares) == ([[True]], 1, 0.0)


def test_a_distance_beyond_float64_is_infinite():
    """Nothing is said of an overflow on the way."""
    found = compare(Tile(0, 1, (1, 1), (1,), ()), np.array([-1e308]), np.array([1e308]))

    assert found.squares == math.inf


def test_of_what_is_infinite_and_stays_only_the_rest_counts():
    """Though it is read as a run of entries, and the tile has rows."""
    old = np.array([np.inf, 2.0, 3.0, 4.0])
    found = compare(Tile(0, 4, (2, 2), (1,), ()), old, old + np.array([0, 0, 2, 0]))

    assert (found.vectors.tolist(), found.entries, found.squares) == ([[False], [True]], 1, 4.0)


@pytest.mark.parametrize(
    ("factor", "expected"), [(0.78, True), (0.80, False), (1.2, False), (1.28, True)]
)
def test_norms_tell_a_distance_unless_rounding_may_turn_the_vector(factor, expected):
    """Four entries of which each may be off by half of what is 1e-5 of the norm: 1e-5 in all."""
    numbers = grid(np.dtype(np.float32))
    after = np.array([numbers.tiny / 1e-5])

    assert told_by_norms(after / factor, after, 4, numbers).tolist() == [expected]


def test_norms_tell_the_distance_of_a_vector_that_hardly_turns():
    """The unit roundoff alone: a seventh of a percent is enough for float32, not for float16."""
    before, after = np.array([1.0, 1.0]), np.array([0.999, 0.998])
    single, half = grid(np.dtype(np.float32)), grid(np.dtype(np.float16))

    assert told_by_norms(before, after, 100, single).tolist() == [False, True]
    assert told_by_norms(before, after, 100, half).tolist() == [False, False]


@pytest.mark.parametrize("first", [0, 1])
def test_a_vector_that_differs_in_one_of_its_tiles_has_changed(first):
    """Whichever it is: in the other one its entries are zeros, which scaling leaves alone."""
    w = np.zeros((2 * TILE, 1), np.float32)
    w[first * TILE : (first + 1) * TILE] = 1
    found, before, after = changes(w, MaxNorm(2.0, axis=0), "exact")

    assert [one.vectors.all() for one in found] == [True]
    assert found[0].entries == np.count_nonzero(before != after) == TILE
    assert len(found[0].unit.tiles) == 2
    assert found[0].before.ravel().tolist() == [512.0]


def test_vectors_that_are_skipped_have_no_distance():
    """Their norms are not known, and they do not move."""
    w = np.array([[3.0, 4.0], [np.nan, 1.0]], np.float32)
    found, _, _ = changes(w, MaxNorm(1.0, axis=1), Numerics(nonfinite="skip"))

    assert [one.squares for one in found] == [pytest.approx(16.0, rel=1e-6)]


def test_vectors_that_change_in_different_tiles_have_all_changed():
    """One has its entries in the first half, the other in the second."""
    w = np.zeros((TILE, 2), np.float32)
    w[: TILE // 2, 0] = w[TILE // 2 :, 1] = 1
    found, _, _ = changes(w, MaxNorm(2.0, axis=0), "exact")

    assert [one.vectors.tolist() for one in found] == [[[True, True]]]
