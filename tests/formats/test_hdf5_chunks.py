"""Chunks of HDF5 that are unpacked without HDF5: h5py reads and writes the same values."""

import ctypes
import itertools
import math
import sys
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wproj.errors import TensorError
from wproj.formats import hdf5_store
from wproj.formats.hdf5 import open_hdf5
from wproj.formats.hdf5_boxes import BOX_ENTRIES, extent
from wproj.formats.hdf5_chunks import packing_of
from wproj.formats.hdf5_store import room_for

law = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture
    ],  # each example writes the file anew
)

BF16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = [np.dtype(name) for name in ("f2", "f4", "f8", ">f2", ">f4", ">f8", "i4", ">i4")] + [BF16]
FILTERS = {
    "none": {},
    "shuffle": {"shuffle": True},
    "gzip": {"compression": 1},
    "shuffle and gzip": {"compression": 4, "shuffle": True},
    "gzip that presses nothing": {"compression": 0},
    "shuffle and the best gzip": {"compression": 9, "shuffle": True},
    "checksum": {"compression": 1, "fletcher32": True},
    "lzf": {"compression": "lzf", "shuffle": True},
}


def numbers(shape, dtype="f4", seed=5):
    """Numbers as weights are, in any dtype; those of integers are larger."""
    dtype = np.dtype(dtype)
    scale = 100 if dtype.kind == "i" else 0.1
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(dtype)


def write(path, values, *, libver="earliest", **how):
    """Writes a file of one dataset, bfloat16 as Keras does."""
    opaque = values.dtype == BF16
    with h5py.File(path, "w", libver=libver) as file:
        dataset = file.create_dataset("w", data=values.view("V2") if opaque else values, **how)
        if opaque:
            dataset.attrs["dtype"] = "bfloat16"


def native(values):
    """The same values in the byte order of this machine."""
    return values.astype(values.dtype.newbyteorder("="))


def by_h5py(path):
    """What h5py reads, in native byte order."""
    with h5py.File(path) as file:
        dataset = file["w"]
        values = np.asarray(dataset[()])
        return native(values.view(BF16) if "dtype" in dataset.attrs else values)


def raw_chunks(path):
    """The packed bytes of all chunks that are stored, with their masks, by offset."""
    found = []
    with h5py.File(path) as file:
        dataset = file["w"].id
        file["w"].id.chunk_iter(lambda info: found.append(info.chunk_offset))
        return {offset: dataset.read_direct_chunk(offset) for offset in found}


@contextmanager
def opened(path, *, writable=False):
    """The store of the dataset in a file."""
    checkpoint = open_hdf5(path)
    with checkpoint.stores(writable=writable) as stores:
        yield stores(checkpoint.entries[0])


def read(path):
    """All values, box by box."""
    with opened(path) as store:
        values = np.zeros(store.shape, store.entry.stored.newbyteorder("="))
        for box in store.boxes():
            values[box] = store.read_box(box)
    return values


def rewrite(path, values, boxes=None):
    """Stores values in all boxes, or in these."""
    with opened(path, writable=True) as store:
        for box in store.boxes() if boxes is None else boxes:
            store.prepare_box(box, values[box])()
        store.flush()


@pytest.fixture
def path(tmp_path):
    """Where the file is."""
    return tmp_path / "model.h5"


@st.composite
def datasets(draw):
    """A shape, chunks of any size, a dtype, filters and a version of the format."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    chunks = tuple(draw(st.integers(1, n + 3)) for n in shape)
    how = dict(FILTERS[draw(st.sampled_from(sorted(FILTERS)))], chunks=chunks)
    how["libver"] = draw(st.sampled_from(["earliest", "latest"]))
    resizable = draw(st.booleans()) or any(c > n for c, n in zip(chunks, shape, strict=True))
    how["maxshape"] = tuple(None for _ in shape) if resizable else None
    return numbers(shape, draw(st.sampled_from(DTYPES)), draw(st.integers(0, 9))), how


@law
@given(datasets())
def test_all_values_are_those_that_h5py_reads(path, case):
    """Box by box, and each box in native byte order."""
    values, how = case
    write(path, values, **how)

    assert read(path).tobytes() == native(values).tobytes() == by_h5py(path).tobytes()


@law
@given(datasets())
def test_the_boxes_tile_the_dataset_along_its_chunks(path, case):
    """Each entry is in one box, and no chunk in two."""
    values, how = case
    write(path, values, **how)
    count = np.zeros(values.shape, int)
    with opened(path) as store:
        boxes = list(store.boxes())
    for box in boxes:
        count[box] += 1
        for side, chunk, n in zip(box, how["chunks"], values.shape, strict=True):
            assert side.start % chunk == 0
            assert side.stop == n or side.stop % chunk == 0

    assert (count == 1).all()
    assert boxes == sorted(boxes, key=lambda box: [side.start for side in box])


@law
@given(datasets(), st.randoms(use_true_random=False))
def test_h5py_reads_what_was_written_and_other_chunks_keep_their_bytes(path, case, rng):
    """In any order, into some of the chunks, edges among them."""
    values, how = case
    write(path, values, **how)
    grid = [range(0, n, c) for n, c in zip(values.shape, how["chunks"], strict=True)]
    offsets = list(itertools.product(*grid))
    chosen = rng.sample(offsets, rng.randint(0, len(offsets)))
    boxes = [
        tuple(
            slice(at, min(at + c, n))
            for at, c, n in zip(offset, how["chunks"], values.shape, strict=True)
        )
        for offset in chosen
    ]
    new, expected, before = native(-values), native(values), raw_chunks(path)
    rewrite(path, new, boxes)
    for box in boxes:
        expected[box] = new[box]
    after = raw_chunks(path)

    assert by_h5py(path).tobytes() == expected.tobytes() == read(path).tobytes()
    assert {k: v for k, v in after.items() if k not in chosen} == {
        k: v for k, v in before.items() if k not in chosen
    }


@pytest.mark.parametrize(
    ("how", "ours"),
    [
        ({}, False),
        ({"chunks": (4, 4)}, True),
        ({"chunks": (4, 4), "shuffle": True}, True),
        ({"chunks": (4, 4), "compression": 3}, True),
        ({"chunks": (4, 4), "compression": 3, "shuffle": True}, True),
        ({"chunks": (4, 4), "compression": 3, "fletcher32": True}, False),
        ({"chunks": (4, 4), "compression": "lzf"}, False),
        ({"chunks": (4, 4), "compression": "szip"}, False),
        ({"chunks": (4, 4), "scaleoffset": 2}, False),
        ({"chunks": (4, 4), "dtype": bool}, False),
        ({"chunks": (4, 4), "dtype": "c8"}, False),
        ({"chunks": (4, 4), "dtype": h5py.enum_dtype({"A": 1}, "i1")}, False),
        ({"chunks": (4, 4), "dtype": [("a", "f4")]}, False),
        ({"chunks": (4, 4), "dtype": h5py.string_dtype()}, False),
    ],
    ids=str,
)
def test_what_needs_hdf5_is_left_to_hdf5(how, ours):
    """Other filters, and entries that are other bytes in memory than in the file."""
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("w", (8, 8), **{"dtype": "f4"} | how)

        assert (packing_of(dataset) is not None) == ours


_SHUFFLE, _DEFLATE = (h5py.h5z.FILTER_SHUFFLE, ()), (h5py.h5z.FILTER_DEFLATE, (1,))
UNUSUAL = {
    "deflate before shuffle": [_DEFLATE, _SHUFFLE],
    "deflate twice": [_DEFLATE, _DEFLATE],
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_unusual_pipelines_are_read_and_written_all_the_same(path, case):
    """By HDF5, in its order."""
    values = numbers((10, 6))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((4, 4))
    for code, parameters in UNUSUAL[case]:
        plist.set_filter(code, h5py.h5z.FLAG_MANDATORY, parameters)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple(values.shape)
        made = h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F32LE, space, plist)
        h5py.Dataset(made)[...] = values
    assert read(path).tobytes() == values.tobytes()
    rewrite(path, -values)

    assert by_h5py(path).tobytes() == (-values).tobytes()


@pytest.mark.parametrize("mask", [0b00, 0b01, 0b10, 0b11])
@pytest.mark.parametrize("size", [(8, 8), (7, 5)], ids=str)
def test_chunks_whose_filters_were_left_out_are_read_and_written(path, mask, size):
    """A bit of the mask stands for a filter: 1 for shuffle, 2 for deflate."""
    values, padded = numbers(size), np.zeros((8, 8), "f4")
    padded[: size[0], : size[1]] = values
    plain = padded.tobytes()
    if not mask & 1:
        plain = padded.reshape(-1).view("u1").reshape(-1, 4).T.tobytes()
    how = {"chunks": (8, 8), "maxshape": (None, None), "compression": 5, "shuffle": True}
    write(path, np.zeros(size, "f4"), **how)
    with h5py.File(path, "r+") as file:
        data = plain if mask & 2 else zlib.compress(plain)
        file["w"].id.write_direct_chunk((0, 0), data, mask)
    assert by_h5py(path).tobytes() == read(path).tobytes() == values.tobytes()
    rewrite(path, -values)

    assert by_h5py(path).tobytes() == read(path).tobytes() == (-values).tobytes()
    if size == (8, 8):  # HDF5 itself rewrites edges of the size of a chunk.
        assert raw_chunks(path)[0, 0][0] == mask


@pytest.mark.parametrize("how", [{}, {"compression": 1, "shuffle": True}], ids=str)
def test_chunks_that_nobody_wrote_hold_the_fill_value(path, how):
    """They are read as such, and stored once they are written; the others are not."""
    with h5py.File(path, "w") as file:
        file.create_dataset("w", (10, 7), ">f4", chunks=(4, 4), fillvalue=3, **how)
    assert (read(path) == 3).all()
    with h5py.File(path, "r+") as file:
        file["w"][:4, :4] = 1
    assert read(path).tobytes() == by_h5py(path).tobytes()
    expected = by_h5py(path)
    boxes = [(slice(4, 8), slice(0, 4)), (slice(8, 10), slice(4, 7))]
    for box in boxes:
        expected[box] = numbers((10, 7))[box]
    rewrite(path, numbers((10, 7)), boxes)

    assert by_h5py(path).tobytes() == read(path).tobytes() == expected.tobytes()
    assert set(raw_chunks(path)) == {(0, 0), (4, 0), (8, 4)}


@pytest.mark.parametrize("dtype", ["f4", ">f8"])
def test_what_lies_beyond_the_edge_stays_as_it_is(path, dtype):
    """Padding that somebody left there, which no reader sees."""
    how = {"chunks": (4, 4), "compression": 4}
    write(path, numbers((6, 6), dtype), **how)
    chunk = numbers((4, 4), dtype, seed=9)
    with h5py.File(path, "r+") as file:
        file["w"].id.write_direct_chunk((4, 4), zlib.compress(chunk.tobytes()))
    values = native(numbers((6, 6), dtype, seed=3))
    rewrite(path, values)
    chunk[:2, :2] = values[4:, 4:]
    _, raw = raw_chunks(path)[4, 4]

    assert by_h5py(path).tobytes() == values.tobytes()
    assert zlib.decompress(raw) == chunk.tobytes()


@pytest.mark.skipif(sys.platform == "win32", reason="HDF5 is found through another library")
def test_edges_that_are_not_packed_at_all_are_read_and_written(path):
    """H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS, which h5py knows nothing of."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((4, 4))
    plist.set_shuffle()
    plist.set_deflate(1)
    library = ctypes.CDLL(h5py.h5p.__file__)
    library.H5Pset_chunk_opts.argtypes = [ctypes.c_int64, ctypes.c_uint]
    assert library.H5Pset_chunk_opts(plist.id, 2) == 0
    values = numbers((10, 7))
    with h5py.File(path, "w", libver="latest") as file:
        space = h5py.h5s.create_simple(values.shape)
        made = h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F32LE, space, plist)
        h5py.Dataset(made)[...] = values
    assert len(raw_chunks(path)[8, 4][1]) == 64
    assert read(path).tobytes() == values.tobytes()
    rewrite(path, -values)

    assert by_h5py(path).tobytes() == read(path).tobytes() == (-values).tobytes()


SOUND = zlib.compress(numbers(4096).tobytes())
DAMAGED = {
    "no stream": (b"\0" * 100, 0, "damaged"),
    "an empty stream": (zlib.compress(b""), 0, "has 0 in the file"),
    "a stream without an end": (SOUND[:-100], 0, "no end"),
    "a stream without a checksum": (SOUND[:-4], 0, "no end"),
    "another checksum": (SOUND[:-1] + bytes([SOUND[-1] ^ 1]), 0, "damaged"),
    "a flipped bit": (SOUND[:5000] + bytes([SOUND[5000] ^ 1]) + SOUND[5001:], 0, "damaged|has"),
    "one byte too few": (zlib.compress(bytes(16383)), 0, "has 16383 in the file"),
    "one byte too many": (zlib.compress(bytes(16385)), 0, "inflates to more"),
    "a bomb": (zlib.compress(bytes(64 << 20)), 0, "inflates to more"),
    "too much of it": (bytes(1 << 20), 0, "takes more than"),
    "too few bytes that are not pressed": (bytes(16000), 2, "has 16000 in the file"),
    "too few bytes as they are": (bytes(16000), 3, "has 16000 in the file"),
}


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_chunk_is_an_error_of_the_tensor(path, case, shuffle):
    """Whatever it inflates to, in little memory; other chunks are read."""
    raw, mask, problem = DAMAGED[case]
    mask = mask if shuffle else mask >> 1
    write(path, numbers(8192), chunks=(4096,), compression=1, shuffle=shuffle)
    with h5py.File(path, "r+") as file:
        file["w"].id.write_direct_chunk((0,), raw, mask)
    with opened(path) as store:
        tracemalloc.start()
        try:
            with pytest.raises(TensorError, match=f"HDF5 cannot read it: a chunk .*{problem}"):
                store.read_box((slice(0, 4096),))
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()
        behind = store.read_box((slice(4096, 8192),))

    assert behind.tobytes() == numbers(8192)[4096:].tobytes()


def test_a_damaged_edge_is_an_error_before_anything_is_written(path):
    """What is beyond the edge cannot be kept if it cannot be read."""
    write(path, numbers(6000), chunks=(4096,), compression=1)
    with h5py.File(path, "r+") as file:
        file["w"].id.write_direct_chunk((4096,), b"\0" * 100)
    before = raw_chunks(path)
    with opened(path, writable=True) as store, pytest.raises(TensorError, match="is damaged"):
        store.prepare_box((slice(4096, 6000),), numbers(1904))()

    assert raw_chunks(path) == before


def test_what_follows_a_stream_is_left_alone_as_hdf5_does(path):
    """Some writers fill up the room of a chunk."""
    write(path, numbers(4096), chunks=(4096,), compression=1)
    with h5py.File(path, "r+") as file:
        file["w"].id.write_direct_chunk((0,), SOUND + b"more")

    assert read(path).tobytes() == by_h5py(path).tobytes() == numbers(4096).tobytes()


@pytest.mark.parametrize("huge", [1 << 40, 0], ids=["side by side", "one at a time"])
@pytest.mark.parametrize("how", FILTERS)
def test_several_threads_read_and_write_the_same_values(path, monkeypatch, huge, how):
    """At once, edges and big-endian entries among them; and the file is that of one thread."""
    monkeypatch.setattr(hdf5_store, "_HUGE", huge)
    values = numbers((300, 500), ">f4")
    write(path, values, chunks=(64, 128), **FILTERS[how])
    alone = path.with_name("alone.h5")
    alone.write_bytes(path.read_bytes())
    chunks = [
        (slice(row, min(row + 64, 300)), slice(column, min(column + 128, 500)))
        for row in range(0, 300, 64)
        for column in range(0, 500, 128)
    ]
    found, new = np.zeros(values.shape, "f4"), native(values) * np.float32(0.61)
    with ThreadPoolExecutor(4) as pool, opened(path) as store:
        for box, part in zip(chunks, pool.map(store.read_box, chunks), strict=True):
            found[box] = part
    with ThreadPoolExecutor(4) as pool, opened(path, writable=True) as store:
        for store_now in pool.map(lambda box: store.prepare_box(box, new[box]), chunks):
            store_now()
        store.flush()
    rewrite(alone, new, chunks)

    assert found.tobytes() == native(values).tobytes()
    assert by_h5py(path).tobytes() == new.tobytes()
    assert path.read_bytes() == alone.read_bytes()


@pytest.mark.parametrize("level", [1, 9])
def test_a_rewritten_file_hardly_grows(path, level):
    """Values of the same entropy find room where the old ones were."""
    values = numbers((512, 1024))
    write(path, values, chunks=(64, 64), compression=level, shuffle=True)
    size = path.stat().st_size
    for factor in (0.61, 0.37):
        values *= np.float32(factor)
        rewrite(path, values)

    assert by_h5py(path).tobytes() == values.tobytes()
    assert path.stat().st_size < 1.03 * size


def test_what_repeats_is_pressed_as_well_as_h5py_does(path):
    """The fast way is not taken where it costs room."""
    values = np.tile(numbers(1000), 100)
    write(path, values, chunks=(len(values),), compression=9)
    before = raw_chunks(path)[(0,)][1]
    rewrite(path, -values)

    assert len(raw_chunks(path)[(0,)][1]) <= 1.01 * len(before)


def test_what_is_written_is_read_even_before_it_is_flushed(path):
    """By its box, or by one that it is in."""
    values = numbers((64, 64))
    write(path, values, chunks=(16, 16), compression=1)
    box = (slice(16, 32), slice(0, 16))
    with opened(path, writable=True) as store:
        store.prepare_box(box, -values[box])()
        assert store.read_box(box).tobytes() == (-values[box]).tobytes()
        assert (
            store.read_box((slice(0, 64), slice(0, 64)))[box].tobytes() == (-values[box]).tobytes()
        )
        store.prepare_box(box, values[box])()
        store.prepare_box(box, 2 * values[box])()
        assert store.read_box(box).tobytes() == (2 * values[box]).tobytes()


@pytest.mark.parametrize("how", FILTERS)
@pytest.mark.parametrize("stored", [True, False])
def test_a_chunk_is_read_at_once_each_time_that_it_is_written(path, how, stored):
    """In one session, as its size changes; HDF5 remembers where the last chunk was."""
    with h5py.File(path, "w") as file:
        file.create_dataset("w", (512,), "f4", chunks=(512,), **FILTERS[how])
        if stored:
            file["w"][...] = 1
    with opened(path, writable=True) as store:
        (box,) = store.boxes()
        for count in (512, 3, 100, 3, 0, 512):
            values = numbers(512)
            values[count:] = 0
            store.prepare_box(box, values)()
            assert store.read_box(box).tobytes() == values.tobytes()


def test_values_may_change_once_they_are_handed_over(path):
    """A caller's buffer is its own again."""
    values = numbers(5000)
    for how in ({"compression": 1}, {"compression": "lzf"}):
        write(path, values, chunks=(4096,), **how)
        with opened(path, writable=True) as store:
            for box in store.boxes():
                mine = -values[box]
                store.prepare_box(box, mine)()
                mine[:] = 0
            store.flush()

        assert by_h5py(path).tobytes() == (-values).tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (5,), (3, 4)], ids=str)
def test_datasets_without_chunks_are_slabs(path, shape, dtype):
    """Compact ones here, scalars among them; an extent has others read by offset."""
    values = numbers(shape, dtype)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    plain = values.view("V2") if dtype == BF16 else values
    with h5py.File(path, "w") as file:
        kind = h5py.h5t.py_create(plain.dtype, logical=True)
        space = h5py.h5s.create_simple(shape) if shape else h5py.h5s.create(h5py.h5s.SCALAR)
        made = h5py.Dataset(h5py.h5d.create(file.id, b"w", kind, space, plist))
        made[...] = plain
        if dtype == BF16:
            made.attrs["dtype"] = "bfloat16"
    with opened(path) as store:
        assert len(list(store.boxes())) == 1
        assert store.shape == shape
    assert read(path).tobytes() == native(values).tobytes()
    rewrite(path, native(-values))

    assert by_h5py(path).tobytes() == native(-values).tobytes()


@pytest.mark.parametrize("shape", [(400_009,), (3, 140_011), (140_011, 3), (70, 70, 70)], ids=str)
@pytest.mark.parametrize("chunks", [None, 1, 64, 1 << 17], ids=str)
def test_boxes_are_neither_large_nor_many(path, shape, chunks):
    """Small chunks are taken together, up to 2**17 entries; larger ones come alone."""
    chunks = chunks and (*(1 for _ in shape[1:]), chunks)
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "w", shape, "f4", chunks=chunks, maxshape=chunks and (None,) * len(shape)
        )
    with opened(path) as store:
        boxes = list(store.boxes())
    sizes = [math.prod(extent(box)) for box in boxes]

    assert sum(sizes) == math.prod(shape)
    assert max(sizes) <= BOX_ENTRIES
    if chunks is None or math.prod(chunks) <= 64:
        assert len(boxes) <= 4 * -(-math.prod(shape) // BOX_ENTRIES)


def test_a_dataset_without_entries_has_no_boxes(path):
    """There is nothing to do."""
    write(path, np.zeros((0, 3), "f4"), chunks=(2, 2), maxshape=(None, 3))
    with opened(path) as store:
        assert list(store.boxes()) == []


def test_room_is_made_for_all_that_may_be_stored(path):
    """The values, and what is stored of chunks beyond the edge; nothing that nobody stored."""
    values = np.random.default_rng(1).integers(-(2**31), 2**31, (65, 65)).astype("i4")
    write(path, np.pad(values, ((0, 63), (0, 63))), chunks=(64, 64), maxshape=(None, None))
    with h5py.File(path, "r+") as file:
        file["w"].resize((65, 65))
        assert room_for(file["w"]) >= file["w"].id.get_storage_size() == 4 * 128 * 128
        boundless = file.create_dataset("x", (1,), "f8", chunks=(2**26,), maxshape=(None,))
        assert room_for(boundless) == 8
