"""How the values of a tile are brought to a norm."""

import math

import numpy as np
import pytest

from wproj.numerics.norms import Norms
from wproj.numerics.scaling import Place, Scaling
from wproj.numerics.vectors import JOINED, TILE, Tile, Vectors


def reading(length, reads):
    """What reads from an array of so many numbers in order, and notes what it reads."""
    values = np.arange(length, dtype=np.float32)

    def read(start, stop):
        reads.append((start, stop))
        return values[start:stop]

    return read


@pytest.mark.parametrize(
    ("shape", "axis", "once"),
    [((5, 7), 0, True), ((4 * TILE, 1), 0, True), ((4 * TILE + 1, 1), 0, False)],
)
def test_a_unit_of_a_few_tiles_is_read_once(shape, axis, once):
    """Whole, and then given from memory; a larger one is read each time."""
    reads = []
    unit = next(Vectors.of(shape, axis).units())
    place = Place(reading(math.prod(shape), reads), print, print, print).reading_once(unit)

    assert place.read(3, 5).tolist() == [3.0, 4.0]
    assert place.read(1, 2).tolist() == [1.0]
    assert reads == ([(0, math.prod(shape))] if once else [(3, 5), (1, 2)])


def test_a_unit_in_the_middle_is_read_once():
    """Positions count from the start of the tensor."""
    reads = []
    *_, unit, _ = Vectors.of((6, TILE), 1).units()
    place = Place(reading(6 * TILE, reads), print, print, print).reading_once(unit)

    assert place.read(4 * TILE, 4 * TILE + 2).tolist() == [4 * TILE, 4 * TILE + 1]
    assert reads == [(4 * TILE, 5 * TILE)]


def test_of_a_panel_no_more_is_read_than_a_few_tiles():
    """Its entries may be few, but what is between them is not."""
    reads = []
    shape = (2, 4 * TILE + 3)
    *_, last = Vectors.of(shape, 0).units()
    place = Place(reading(math.prod(shape), reads), print, print, print).reading_once(last)

    assert last.entries == 6
    assert place.read(last.start, last.start + 1).tolist() == [4 * TILE]
    assert max(stop - start for start, stop in reads) <= JOINED * TILE


def column(values, dtype=np.float64):
    """A number for each of some rows."""
    return np.array(values, dtype)[:, None]


def test_the_scaling_of_some_vectors_is_theirs():
    """In order, as a column, with the same epsilon."""
    norms = Norms(np.array([[1.0, 2.0, 3.0]]), np.array([[0, 5, -7]], np.intc))
    scaling = Scaling(norms, np.array([[True, False, True]]), 0.5)

    found = scaling.of(np.array([[False, True, True]]))

    assert found.norms.fraction.tolist() == [[2.0], [3.0]]
    assert found.norms.exponent.tolist() == [[5], [-7]]
    assert found.moving.tolist() == [[False], [True]]
    assert found.epsilon == 0.5


@pytest.mark.parametrize("shift", [-1080, -1000, -3, -2, -1, 0, 1, 2, 3, 4, 5, 900, 1000])
@pytest.mark.parametrize("fraction", [0.5, 0.7, 0.999999, 1.0, 1.3])
def test_factors_beyond_float64_scale_as_exact_powers_of_two_do(shift, fraction):
    """To what the rational product is when it is rounded, subnormal values and results included."""
    values = np.array([[1.5, -0.1, 2.0**-1060, 0.0]])
    norms = Norms(column([fraction]), column([-shift], np.intc))
    # The other vector's exponent keeps the plain factor from being taken.
    both = Norms(
        np.vstack([norms.fraction, [[1.0]]]), np.vstack([norms.exponent, [[1]]]).astype(np.intc)
    )
    goal = column([1.1, 1.0])
    tile = Tile(0, 8, (2, 4), (1,), ())

    found = Scaling(both, column([True, True], np.bool_)).to(goal)(np.vstack([values] * 2), tile)

    for got, value in zip(found[0], values[0], strict=True):
        exact = math.ldexp(value, max(shift, 0)) * (1.1 / fraction)
        exact = exact if shift >= 0 else math.ldexp(value * (1.1 / fraction), shift)
        assert got == pytest.approx(exact, rel=4e-16, abs=5e-324)


def test_a_norm_of_zero_takes_no_part_in_the_choice():
    """Such a vector gets the factor zero, and the others the plain one."""
    norms = Norms(column([0.0, 4.0]), column([0, 0], np.intc))
    found = Scaling(norms, column([False, True], np.bool_)).to(column([1.0, 2.0]))(
        np.ones((2, 3)), Tile(0, 6, (2, 3), (1,), ())
    )

    assert found.tolist() == [[0.0] * 3, [0.5] * 3]


def test_a_norm_of_zero_stays_zero_beside_factors_beyond_float64():
    """Its factor is zero as well where the others come in two parts."""
    norms = Norms(column([0.0, 0.5]), column([0, 1000], np.intc))
    found = Scaling(norms, column([True, True], np.bool_)).to(column([1.0, 2.0]))(
        np.ones((2, 3)), Tile(0, 6, (2, 3), (1,), ())
    )

    assert found[0].tolist() == [0.0] * 3
    assert found[1].tolist() == [math.ldexp(4, -1000)] * 3


def test_an_epsilon_is_added_to_the_norm_and_not_to_its_fraction():
    """Half of it, for a norm of 2 whose fraction is counted in fours."""
    norms = Norms(column([0.5]), column([2], np.intc))
    scale = Scaling(norms, column([True], np.bool_), 2.0).to(column([1.0]))

    assert scale(np.full((1, 2), 8.0), Tile(0, 2, (1, 2), (1,), ())).tolist() == [[2.0, 2.0]]


def test_plain_factors_scale_in_place():
    """The values are overwritten: a tile takes no more memory."""
    values = np.full((1, 2), 8.0)
    scale = Scaling(Norms(column([2.0]), column([0], np.intc)), column([True], np.bool_)).to(
        column([1.0])
    )

    assert scale(values, Tile(0, 2, (1, 2), (1,), ())) is values
    assert values.tolist() == [[4.0, 4.0]]
