"""How tensors fall into vectors, tiles and units."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wproj.errors import AxisError
from wproj.numerics.vectors import JOINED, TILE, Vectors, normalize_axis

law = settings(max_examples=200, deadline=None, derandomize=True)
SHAPES = [
    (1,),
    (7,),
    (4, 6),
    (1, 5),
    (5, 1),
    (3, 4, 5),
    (2, 1, 3),
    (2, 3, 2, 4),
    (1, 1),
    (2, 2, 2, 2, 3),
]
TILES = [1, 2, 5, 12, 64, TILE]


def subsets(ndim: int) -> list[tuple[int, ...]]:
    """All sets of axes that are not empty."""
    return [
        axis for count in range(1, ndim + 1) for axis in itertools.combinations(range(ndim), count)
    ]


def owners(shape: tuple[int, ...], axis: tuple[int, ...]) -> np.ndarray:
    """For each entry in C order, the number of the vector that it belongs to."""
    kept = [1 if a in axis else n for a, n in enumerate(shape)]
    numbers = np.arange(math.prod(kept)).reshape(kept)
    return np.broadcast_to(numbers, shape).reshape(-1)


def assert_a_partition(shape: tuple[int, ...], axis: tuple[int, ...], tile: int) -> None:
    """The tiles of all units hold each entry once, and not more than `tile` each."""
    tiles = []
    for unit in Vectors.of(shape, axis).units(tile):
        assert all(one.stop <= after.start for one, after in itertools.pairwise(unit.tiles))
        tiles += unit.tiles
    position = 0
    for one in sorted(tiles, key=lambda one: one.start):
        assert one.start == position
        assert one.stop - one.start == math.prod(one.shape)
        assert 0 < one.stop - one.start <= tile
        position = one.stop
    assert position == math.prod(shape)


def assert_spans_are_the_entries(shape: tuple[int, ...], axis: tuple[int, ...], tile: int) -> None:
    """The spans of a unit are its entries, in as few runs as there can be."""
    for unit in Vectors.of(shape, axis).units(tile):
        spans = list(unit.spans)
        entries = [i for one in unit.tiles for i in range(one.start, one.stop)]

        assert [i for start, stop in spans for i in range(start, stop)] == entries
        assert all(one[1] < after[0] for one, after in itertools.pairwise(spans))
        assert unit.entries == len(entries)
        assert (unit.start, unit.stop) == (entries[0], entries[-1] + 1)


def assert_whole_vectors(shape: tuple[int, ...], axis: tuple[int, ...], tile: int) -> None:
    """Every vector has all of its entries in one unit, which has a place for each, in order."""
    vectors = Vectors.of(shape, axis)
    owner = owners(shape, axis)
    seen: list[int] = []
    for unit in vectors.units(tile):
        entries = np.concatenate([owner[one.start : one.stop] for one in unit.tiles])
        numbers, counts = np.unique(entries, return_counts=True)
        seen += numbers.tolist()
        assert (counts == vectors.length).all()
        assert len(numbers) == math.prod(unit.shape)
    assert seen == list(range(vectors.count))


def assert_indices_lead_home(shape: tuple[int, ...], axis: tuple[int, ...], tile: int) -> None:
    """The index of the unit and that of the tile find the number of each entry's vector."""
    vectors = Vectors.of(shape, axis)
    owner = owners(shape, axis)
    numbers = np.arange(vectors.count).reshape(vectors.kept_shape)
    for unit in vectors.units(tile):
        mine = np.broadcast_to(numbers[unit.index], unit.shape)
        for one in unit.tiles:
            found = np.broadcast_to(mine[one.index], one.shape).reshape(-1)
            assert np.array_equal(found, owner[one.start : one.stop])


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_entry_is_in_exactly_one_tile(shape, tile):
    """The tiles of all units are a partition of the entries, for any axes."""
    for axis in subsets(len(shape)):
        assert_a_partition(shape, axis, tile)
        assert_spans_are_the_entries(shape, axis, tile)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_unit_has_no_more_vectors_than_fit_into_memory(shape, tile):
    """Where vectors go across tiles, a unit has at most as many as a tile has entries."""
    for axis in subsets(len(shape)):
        for unit in Vectors.of(shape, axis).units(tile):
            one = unit.tiles[0]
            across = math.prod(one.shape) < math.prod(one.kept) * Vectors.of(shape, axis).length
            assert math.prod(unit.shape) <= (tile if across else JOINED * tile)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("shape", SHAPES)
def test_units_hold_whole_vectors(shape, tile):
    """All entries of a vector are in the tiles of one unit, for any axes."""
    for axis in subsets(len(shape)):
        assert_whole_vectors(shape, axis, tile)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("shape", SHAPES)
def test_indices_lead_from_an_entry_to_its_vector(shape, tile):
    """A unit's index and a tile's index find the number of each entry's vector."""
    for axis in subsets(len(shape)):
        assert_indices_lead_home(shape, axis, tile)


@law
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=5).map(tuple),
    tile=st.integers(1, 300),
    data=st.data(),
)
def test_the_partition_holds_for_any_shape_and_tile(shape, tile, data):
    """Entries once each, vectors whole, indices right: for whatever hypothesis comes up with."""
    axis = data.draw(st.sampled_from(subsets(len(shape))))

    assert_a_partition(shape, axis, tile)
    assert_spans_are_the_entries(shape, axis, tile)
    assert_whole_vectors(shape, axis, tile)
    assert_indices_lead_home(shape, axis, tile)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_axes_of_a_tile_are_those_summed_over(shape, tile):
    """Along its axes a tile stays within one vector; along the others it does not."""
    for axis in subsets(len(shape)):
        owner = owners(shape, axis)
        for one in (one for unit in Vectors.of(shape, axis).units(tile) for one in unit.tiles):
            block = owner[one.start : one.stop].reshape(one.shape)
            inside = [bool((block == block.take([0], axis=a)).all()) for a in range(block.ndim)]
            single = [n == 1 for n in block.shape]

            assert inside == [a in one.axes or alone for a, alone in enumerate(single)]


@pytest.mark.parametrize("shape", SHAPES)
def test_counts_and_lengths_multiply_to_the_size(shape):
    """There are as many vectors as other indices, each as long as its axes say."""
    for axis in subsets(len(shape)):
        vectors = Vectors.of(shape, axis)

        assert vectors.length == math.prod(shape[a] for a in axis)
        assert vectors.count == math.prod(n for a, n in enumerate(shape) if a not in axis)
        assert math.prod(vectors.dims) == math.prod(shape)
        assert vectors.axis == axis


@pytest.mark.parametrize(
    ("shape", "axis", "dims", "summed"),
    [
        ((3, 3, 64, 128), (0, 1, 2), (576, 128), (True, False)),
        ((128, 64, 3, 3), (1, 2, 3), (128, 576), (False, True)),
        ((4, 6), 0, (4, 6), (True, False)),
        ((4, 6), None, (24,), (True,)),
        ((1, 6), 0, (6,), (False,)),
        ((6, 1), 1, (6,), (False,)),
        ((2, 1, 3), (0, 2), (6,), (True,)),
        ((1, 1), 0, (1,), (True,)),
        ((), None, (1,), (True,)),
        ((2, 3, 4), 1, (2, 3, 4), (False, True, False)),
    ],
)
def test_neighboring_axes_of_a_kind_are_merged(shape, axis, dims, summed):
    """Axes of length one are dropped, neighbors of the same kind become one."""
    vectors = Vectors.of(shape, axis)

    assert (vectors.dims, vectors.summed) == (dims, summed)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)])
def test_a_tensor_without_entries_has_no_units(shape):
    """Nothing is there to be read."""
    assert list(Vectors.of(shape, 0).units()) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_the_index_of_a_vector_is_that_of_the_axes_kept(shape):
    """From its position among the vectors follows its index, without the axes summed over."""
    for axis in subsets(len(shape)):
        vectors = Vectors.of(shape, axis)
        kept = [n for a, n in enumerate(shape) if a not in axis]
        indices = [list(index) for index in np.ndindex(*kept)]

        assert [vectors.index_of(position) for position in range(vectors.count)] == indices


@pytest.mark.parametrize(
    ("axis", "shape", "expected"),
    [
        (0, (2, 3), (0,)),
        (-1, (2, 3), (1,)),
        ([1, 0], (2, 3), (0, 1)),
        ((-1, 0), (2, 3, 4), (0, 2)),
        (None, (2, 3, 4), (0, 1, 2)),
        (None, (), ()),
        ([], (2, 3), ()),
    ],
)
def test_axes_are_counted_from_zero_and_sorted(axis, shape, expected):
    """Every way to name axes comes down to a sorted tuple."""
    assert normalize_axis(axis, shape) == expected


@pytest.mark.parametrize(
    ("axis", "shape", "sentence"),
    [
        (2, (2, 3), "axis 2 is out of range for shape (2,3)"),
        (-3, (2, 3), "axis -3 is out of range for shape (2,3)"),
        ([0, 5], (2, 3), "axis [0, 5] is out of range for shape (2,3)"),
        (0, (), "axis 0 is out of range for shape ()"),
        ((1, -1), (2, 3), "axis (1, -1) names an axis twice for shape (2,3)"),
        ([0, 0], (4,), "axis [0, 0] names an axis twice for shape (4)"),
    ],
)
def test_axes_that_a_tensor_does_not_have_are_refused(axis, shape, sentence):
    """The error says which axis, and what shape it does not fit."""
    with pytest.raises(AxisError) as caught:
        Vectors.of(shape, axis)
    assert str(caught.value) == sentence


def test_the_tile_is_part_of_the_numerics():
    """It decides the order of summation, and with it the last bits: it does not change."""
    assert TILE == 2**18
