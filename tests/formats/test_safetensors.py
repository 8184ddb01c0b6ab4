"""safetensors: every dtype, every odd header, every malformed one."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

import wproj
from wproj.errors import NothingLeftError

# The specification's 22 dtypes: the bits of an entry, and the name that wproj lists.
DTYPES = {
    "BOOL": (8, "bool"),
    "F4": (4, "float4_e2m1fn"),
    "F6_E2M3": (6, "float6_e2m3fn"),
    "F6_E3M2": (6, "float6_e3m2fn"),
    "U8": (8, "uint8"),
    "I8": (8, "int8"),
    "F8_E5M2": (8, "float8_e5m2"),
    "F8_E4M3": (8, "float8_e4m3fn"),
    "F8_E8M0": (8, "float8_e8m0fnu"),
    "F8_E4M3FNUZ": (8, "float8_e4m3fnuz"),
    "F8_E5M2FNUZ": (8, "float8_e5m2fnuz"),
    "I16": (16, "int16"),
    "U16": (16, "uint16"),
    "F16": (16, "float16"),
    "BF16": (16, "bfloat16"),
    "I32": (32, "int32"),
    "U32": (32, "uint32"),
    "F32": (32, "float32"),
    "C64": (64, "complex64"),
    "F64": (64, "float64"),
    "I64": (64, "int64"),
    "U64": (64, "uint64"),
}
FLOATS = {
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
}
FLOAT8 = {
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}
NOT_PROJECTED = sorted(DTYPES.keys() - FLOATS.keys() - FLOAT8.keys())


def tensor(code, shape, start, stop):
    """A tensor as a header describes it."""
    return {"dtype": code, "shape": shape, "data_offsets": [start, stop]}


def weights(dtype, shape=(5, 4)):
    """Weights whose columns along axis 0 are partly longer than 1, partly shorter."""
    values = np.random.default_rng(7).normal(size=shape)
    return (values * np.linspace(0.05, 3, shape[-1])).astype(dtype)


@pytest.fixture
def every_dtype(write_safetensors):
    """A file with a tensor of each of the 22 dtypes, of any bytes, and a kernel to project."""
    header, data = {"__metadata__": {"b": "2", "a": "1"}}, b""
    rng = np.random.default_rng(3)
    for code, (bits, _) in DTYPES.items():
        raw = rng.bytes(bits)
        header[f"of {code}"] = tensor(code, [2, 4], len(data), len(data) + bits)
        data += raw
    kernel = weights(np.float32)
    header["kernel"] = tensor("F32", [5, 4], len(data), len(data) + kernel.nbytes)
    return write_safetensors(header, data + kernel.tobytes())


@pytest.mark.parametrize("code", DTYPES)
def test_each_dtype_of_the_specification_is_listed(every_dtype, code):
    """Name, shape, dtype and size are those of the header."""
    bits, name = DTYPES[code]
    entries = {entry.name: entry for entry in wproj.open_checkpoint(every_dtype).entries}
    entry = entries[f"of {code}"]

    assert (entry.dtype, entry.shape, entry.nbytes) == (name, (2, 4), bits)


def test_every_dtype_passes_through_byte_for_byte(every_dtype, project, stray_bytes, extent_of):
    """Projecting one tensor beside the 22 others changes its bytes, and only those."""
    target = every_dtype.with_name("out")
    project(every_dtype, target, "kernel max_norm=1 axis=0")

    assert stray_bytes(every_dtype, target, [extent_of(target, "kernel")]) == []
    assert target.read_bytes() != every_dtype.read_bytes()


def test_what_the_library_writes_passes_through(tmp_path, project, stray_bytes, extent_of):
    """The same for a file of the format's own library, for each dtype that it can write."""
    names = [name for bits, name in DTYPES.values() if bits >= 8]
    arrays = {
        name: np.ones((3, 2), getattr(ml_dtypes, name) if hasattr(ml_dtypes, name) else name)
        for name in names
    }
    source, target = tmp_path / "library", tmp_path / "out"
    save_file({**arrays, "kernel": weights(np.float32)}, source, metadata={"format": "pt"})
    project(source, target, "kernel max_norm=1 axis=0")
    listed = {entry.name: entry.dtype for entry in wproj.open_checkpoint(target).entries}

    assert listed == {name: name for name in names} | {"kernel": "float32"}
    assert stray_bytes(source, target, [extent_of(target, "kernel")]) == []


@pytest.mark.parametrize("code", FLOATS)
def test_each_float_dtype_is_projected(
    write_safetensors, project, assert_norms_at_most, stray_bytes, code
):
    """The stored result is inside, near, and what the constraint makes of the array."""
    w = weights(FLOATS[code])
    source = write_safetensors({"w": tensor(code, [5, 4], 0, w.nbytes)}, w.tobytes())
    target = source.with_name("out")
    (report,) = project(source, target, "w max_norm=1 axis=0")
    result = load_file(target)["w"]

    assert report.status == "changed"
    assert result.tobytes() == wproj.MaxNorm(1, axis=0)(w).tobytes()
    assert stray_bytes(source, target, [(source.stat().st_size - w.nbytes, w.nbytes)]) == []
    assert_norms_at_most(w, result, 1, 0)


@pytest.mark.parametrize("code", FLOAT8)
def test_float8_is_projected_when_it_is_named_exactly(write_safetensors, project, code):
    """A float8 tensor without scales beside it is data like any other."""
    w = weights(FLOAT8[code])
    source = write_safetensors({"w": tensor(code, [5, 4], 0, w.nbytes)}, w.tobytes())
    target = source.with_name("out")
    project(source, target, "w max_norm=1 axis=0")
    result = np.frombuffer(target.read_bytes()[-w.nbytes :], FLOAT8[code]).reshape(w.shape)

    assert result.tobytes() == wproj.MaxNorm(1, axis=0)(w).tobytes()
    assert np.sqrt(np.square(result.astype(np.float64)).sum(axis=0)).max() <= 1


@pytest.mark.parametrize("code", FLOAT8)
def test_float8_is_left_out_of_a_glob(write_safetensors, code):
    """A pattern that is not the exact name leaves a float8 tensor alone, and says why."""
    w = weights(FLOAT8[code])
    source = write_safetensors({"w": tensor(code, [5, 4], 0, w.nbytes)}, w.tobytes())

    with pytest.raises(NothingLeftError, match="usually quantized; name it exactly"):
        wproj.plan(source, "w* max_norm=1 axis=0")


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("mlp.weight", "mlp.weight_scale_inv"),
        ("mlp.weight", "mlp.weight_scale"),
        ("mlp.weight", "mlp.scale"),
        ("mlp.weight", "mlp.scale_weight"),
        ("mlp/kernel", "mlp/kernel_scale"),
        ("w", "w.scale"),
    ],
)
def test_float8_with_a_scale_beside_it_is_never_projected(write_safetensors, name, scale):
    """Raw norms of scaled values mean nothing, however exactly the tensor is named."""
    header = {name: tensor("F8_E4M3", [4], 0, 4), scale: tensor("F32", [], 4, 8)}
    source = write_safetensors(header, bytes(8))

    with pytest.raises(NothingLeftError, match=f"scaled by {scale}"):
        wproj.plan(source, f"{name} max_norm=1 axis=0")


@pytest.mark.parametrize("code", NOT_PROJECTED)
def test_what_is_not_a_float_is_never_projected(every_dtype, code):
    """Integers, booleans, complex and packed entries are left alone, even when named exactly."""
    with pytest.raises(NothingLeftError, match=DTYPES[code][1]):
        wproj.plan(every_dtype, f"'of {code}' max_norm=1 axis=0")


ONE = tensor("F32", [3, 2], 0, 24)
ODD = {
    "white space before": (b" \t\n\r" + json.dumps({"w": ONE}).encode(), b""),
    "white space to a page before": (b" " * 4000 + json.dumps({"w": ONE}).encode(), b""),
    "white space behind": (json.dumps({"w": ONE}).encode() + b" \t\n\r" * 5, b""),
    "names not in the order of the bytes": (
        {"z": tensor("U8", [3], 24, 27), "w": ONE, "a": tensor("U8", [0], 27, 27)},
        b"abc",
    ),
    "a tensor of size zero": ({"w": ONE, "none": tensor("F32", [2, 0], 24, 24)}, b""),
    "two tensors of size zero in one place": (
        {"n1": tensor("F32", [0], 0, 0), "w": ONE, "n2": tensor("I64", [0, 9], 0, 0)},
        b"",
    ),
    "a scalar": ({"w": ONE, "s": tensor("F64", [], 24, 32)}, bytes(8)),
    "an unknown field": ({"w": {**ONE, "comment": "?"}}, b""),
    "metadata of null": ({"__metadata__": None, "w": ONE}, b""),
    "empty metadata": ({"__metadata__": {}, "w": ONE}, b""),
    "metadata of the Hugging Face kind": ({"__metadata__": {"format": "pt"}, "w": ONE}, b""),
    "an escaped name": (json.dumps({"w": ONE}).encode().replace(b'"w"', b'"\\u0077"'), b""),
    "an empty name": ({"w": ONE, "": tensor("U8", [1], 24, 25)}, b"x"),
    "a name with control characters": (
        {"w": ONE, "\x1b[2J\0\n../../x": tensor("U8", [1], 24, 25)},
        b"x",
    ),
    "a BOOL that is 2": ({"w": ONE, "flag": tensor("BOOL", [1], 24, 25)}, b"\x02"),
    "NaN beside": ({"w": ONE, "nan": tensor("F32", [1], 24, 28)}, b"\xff\xff\xff\xff"),
    "the signature of HDF5 where a user block would end": (
        (json.dumps({"w": ONE, "u": tensor("U8", [600], 24, 624)}).encode()).ljust(480),
        b"\x89HDF\r\n\x1a\n" + bytes(592),
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_header_that_is_valid_survives(
    write_safetensors, project, stray_bytes, extent_of, case
):
    """Header, padding, metadata and neighbors stay as they are; the library reads the result."""
    header, behind = ODD[case]
    w = np.array([[3, 0.1], [4, 0.1], [0, 0.1]], np.float32)
    source = write_safetensors(header, w.tobytes() + behind)
    target = source.with_name("out")
    with safe_open(source, framework="numpy") as judge:
        names = sorted(judge.keys())
    project(source, target, "w max_norm=1 axis=0")
    with safe_open(target, framework="numpy") as judge:
        result = judge.get_tensor("w")

    assert sorted(e.name for e in wproj.open_checkpoint(source).entries) == names
    assert stray_bytes(source, target, [extent_of(target, "w")]) == []
    assert result.tobytes() == wproj.MaxNorm(1, axis=0)(w).tobytes() != w.tobytes()


def test_data_that_is_not_aligned_is_projected(write_safetensors, project, stray_bytes):
    """Float64 values at an odd offset are read and written like any others."""
    w = weights(np.float64)
    header = {"odd": tensor("U8", [3], 0, 3), "w": tensor("F64", [5, 4], 3, 3 + w.nbytes)}
    text = json.dumps(header).encode()
    source = write_safetensors(text + b" " * (len(text) % 2), b"abc" + w.tobytes())
    target = source.with_name("out")
    project(source, target, "w max_norm=1 axis=0")
    offset = source.stat().st_size - w.nbytes

    assert offset % 8
    assert target.read_bytes()[offset:] == wproj.MaxNorm(1, axis=0)(w).tobytes()
    assert stray_bytes(source, target, [(offset, w.nbytes)]) == []


def test_a_scalar_is_one_vector_along_all_axes(write_safetensors, project):
    """The one entry of a scalar is the vector when the axis is `all`."""
    source = write_safetensors({"s": tensor("F32", [], 0, 4)}, struct.pack("<f", -3))
    (report,) = project(source, source.with_name("out"), "s max_norm=2 axis=all")

    assert (report.vectors, report.vector_length, report.status) == (1, 1, "changed")
    assert source.with_name("out").read_bytes()[-4:] == struct.pack("<f", -2)


@pytest.mark.parametrize("axis", ["0", "1", "all"])
def test_a_tensor_of_size_zero_is_nothing_to_do(write_safetensors, project, axis):
    """It is planned and counted, and the file is copied as it is."""
    source = write_safetensors({"w": tensor("F32", [0, 3], 0, 0)})
    (report,) = project(source, source.with_name("out"), f"w max_norm=1 axis={axis}")

    assert report.status == "unchanged"
    assert source.with_name("out").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("header", [b"{}", b"\t\n{}\r ", b"{}\r \t\n", b'{"__metadata__":{}}'])
def test_a_file_without_tensors_is_valid(write_safetensors, header):
    """It has no entries, and a rule for it matches nothing."""
    path = write_safetensors(header)

    assert wproj.open_checkpoint(path).entries == ()
    assert list(wproj.audit(path)) == []
    with pytest.raises(wproj.RequestError, match="matches no tensor"):
        wproj.plan(path, "* non_neg")


@pytest.mark.parametrize(
    ("metadata", "layout"),
    [({"format": "pt"}, "torch"), ({"format": "mlx"}, "unknown"), ({}, "unknown")],
)
def test_the_layout_is_what_the_metadata_says(write_safetensors, metadata, layout):
    """Only `format: pt` stands for PyTorch's layout."""
    path = write_safetensors({"__metadata__": metadata, "w": ONE}, bytes(24))

    assert wproj.open_checkpoint(path).layout == layout


def test_entries_come_in_the_order_of_their_bytes(write_safetensors):
    """Whatever the order of the header is."""
    header = {f"t{i}": tensor("U8", [1], i, i + 1) for i in (2, 0, 3, 1)}
    path = write_safetensors(header, b"0123")

    assert [e.name for e in wproj.open_checkpoint(path).entries] == ["t0", "t1", "t2", "t3"]


def one(**fields):
    """A header with one tensor `w` of four bytes, some of its fields replaced."""
    described = {**tensor("F32", [1], 0, 4), **fields}
    return {"w": {key: value for key, value in described.items() if value is not ...}}


def two(first, second):
    """A header with tensors `a` and `b` of bytes at these offsets."""
    return {
        name: tensor("U8", [max(stop - start, 0)], start, stop)
        for name, (start, stop) in (("a", first), ("b", second))
    }


TEXT = json.dumps(one())
ESCAPED_TWICE = "a tensor twice, once escaped"
MALFORMED = {
    # The header as JSON.
    "not UTF-8": (b'{"\xff":1}', "not JSON"),
    "half an object": (b"{", "not JSON"),
    "something behind the object": (b"{}x", "not JSON"),
    "padding of NUL": (b"{}\0\0", "not JSON"),
    "a NaN literal": (TEXT.replace("[1]", "NaN").encode(), "NaN"),
    "an Infinity literal": (TEXT.replace("[1]", "[Infinity]").encode(), "Infinity"),
    "a lone surrogate in a name": (TEXT.replace('"w"', '"\\ud800"').encode(), "safetensors"),
    "deep nesting": (b'{"w":' + b"[" * 200 + b"]" * 200 + b"}", "'w' is not described"),
    "very deep nesting": (b'{"w":' * 100_000 + b"1" + b"}" * 100_000, "not JSON"),
    "a number of 5000 digits": (TEXT.replace("[1]", f"[{'9' * 5000}]").encode(), "safetensors"),
    # Names that appear twice.
    "a tensor twice": (
        f'{{"w":{json.dumps(ONE)},"w":{json.dumps(tensor("F32", [1], 0, 4))}}}'.encode(),
        "has 'w' twice",
    ),
    ESCAPED_TWICE: (
        f'{{"w":{json.dumps(ONE)},"\\u0077":{json.dumps(tensor("F32", [1], 0, 4))}}}'.encode(),
        "has 'w' twice",
    ),
    "a field twice": (
        TEXT.replace('"shape"', '"dtype": "F32", "shape"').encode(),
        "has 'dtype' twice",
    ),
    "metadata twice": (
        f'{{"__metadata__":{{}},"__metadata__":{{}},{TEXT[1:]}'.encode(),
        "has '__metadata__' twice",
    ),
    # Metadata.
    "metadata with a number": (
        {"__metadata__": {"a": 1}, **one()},
        "__metadata__ does not map strings",
    ),
    "metadata with an object": (
        {"__metadata__": {"a": {}}, **one()},
        "__metadata__ does not map strings",
    ),
    "metadata that is a list": (
        {"__metadata__": ["a"], **one()},
        "__metadata__ does not map strings",
    ),
    "metadata that is a string": (
        {"__metadata__": "a", **one()},
        "__metadata__ does not map strings",
    ),
    # A tensor's description.
    "a tensor that is null": ({"w": None}, "'w' is not described by an object"),
    "a tensor that is a list": ({"w": []}, "'w' is not described by an object"),
    "no dtype": (one(dtype=...), "'w' has the unknown dtype None"),
    "no shape": (one(shape=...), "'w' has the shape None"),
    "no offsets": (one(data_offsets=...), "'w' has the data_offsets None"),
    "one offset": (one(data_offsets=[0]), "'w' has the data_offsets [0]"),
    "three offsets": (one(data_offsets=[0, 4, 4]), "'w' has the data_offsets"),
    "an unknown dtype": (one(dtype="F128"), "'w' has the unknown dtype 'F128'"),
    "a dtype in lower case": (one(dtype="f32"), "'w' has the unknown dtype 'f32'"),
    "a dtype that is a number": (one(dtype=32), "'w' has the unknown dtype 32"),
    "a negative dimension": (one(shape=[-1]), "'w' has the shape [-1]"),
    "a dimension with a point": (one(shape=[1.0]), "'w' has the shape [1.0]"),
    "a dimension in quotes": (one(shape=["1"]), "'w' has the shape ['1']"),
    "a dimension of null": (one(shape=[None]), "'w' has the shape [None]"),
    "a dimension of true": (one(shape=[True]), "'w' has the shape [True]"),
    "a shape that is a number": (one(shape=1), "'w' has the shape 1"),
    "a negative offset": (one(data_offsets=[-4, 0]), "'w' has the data_offsets [-4, 0]"),
    "an end before the beginning": (one(data_offsets=[4, 0]), "'w' has the data_offsets [4, 0]"),
    # Shapes and sizes that do not fit together.
    "too few bytes for the shape": (one(shape=[2, 2]), "does not take 4 bytes"),
    "too many bytes for the shape": (one(shape=[], dtype="U8"), "does not take 4 bytes"),
    "a dimension of 2**64": (one(shape=[2**64]), "'w' has the shape [18446744073709551616]"),
    "a shape that overflows": (one(shape=[2, 2**64 - 2]), "'w' has the shape [2, 184467440737"),
    "a size that overflows": (one(shape=[2, 2**63 - 1]), "'w' has the shape [2, 922337203685"),
    "half a byte": ({"w": tensor("F4", [1, 3], 0, 2)}, "does not take 2 bytes"),
}
# Shapes of no entries that no array can have; the library accepts them.
ABSURD = [[0, 2**64 - 1], [0, 2**64 - 1, 2**64 - 1], [0, 2**62, 2**62], [2**62, 0, 2**62]]
UNCOVERED = {
    "a hole at the start": (two((1, 2), (2, 4)), 4, "hole of 1 bytes after the header"),
    "a hole in the middle": (two((0, 1), (2, 4)), 4, "hole of 1 bytes after tensor 'a'"),
    "a partial overlap": (two((0, 3), (2, 4)), 4, "'b' overlaps tensor 'a'"),
    "two tensors in one place": (two((0, 4), (0, 4)), 4, "overlaps"),
    "ten tensors in one place": ({f"w{i}": tensor("U8", [4], 0, 4) for i in range(10)}, 4, "over"),
    "a tensor of size zero within another": (two((0, 4), (2, 2)), 4, "'b' overlaps tensor 'a'"),
    "a tensor behind the end": (two((0, 2), (2, 4)), 3, "'b' ends 1 bytes behind the end"),
    "bytes behind the last tensor": (two((0, 2), (2, 4)), 9, "5 bytes follow tensor 'b'"),
    "bytes without a tensor": ({}, 3, "3 bytes follow the header"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_header_is_refused(write_safetensors, refuses, case):
    """The error names the file and what is wrong with its header."""
    header, problem = MALFORMED[case]

    refuses(write_safetensors(header, bytes(4)), problem)


@pytest.mark.parametrize("case", UNCOVERED)
def test_tensors_that_do_not_cover_the_data_are_refused(write_safetensors, refuses, case):
    """Holes, overlaps and leftovers are named with the tensor that they are at."""
    header, size, problem = UNCOVERED[case]

    refuses(write_safetensors(header, bytes(size)), problem)


@pytest.mark.parametrize(
    ("length", "problem"),
    [
        (0xFFFFFFFF0000003C, "more than the 100000000 allowed"),
        (100_000_001, "more than the 100000000 allowed"),
        (2**64 - 1, "more than the 100000000 allowed"),
        (100_000_000, "the header claims 100000000 bytes, the file has 2"),
        (1000, "the header claims 1000 bytes, the file has 2"),
        (3, "the header claims 3 bytes, the file has 2"),
    ],
)
def test_a_header_of_impossible_length_is_refused(tmp_path, refuses, length, problem):
    """Before a single byte of it is read."""
    path = tmp_path / "model"
    path.write_bytes(struct.pack("<Q", length) + b"{}")

    refuses(path, problem)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\x02\0\0\0\0\0\0", "has only 7 bytes"),
        (struct.pack("<Q", 60), "has only 8 bytes"),
        (struct.pack("<Q", 0) + b"{}", "not JSON"),
        (struct.pack("<Q", 2) + b"[]", "neither a safetensors nor an HDF5 file"),
        (struct.pack("<Q", 4) + b"null", "neither a safetensors nor an HDF5 file"),
        (struct.pack("<Q", 3) + b'"a"', "neither a safetensors nor an HDF5 file"),
        (struct.pack("<Q", 5) + b"\xef\xbb\xbf{}", "neither a safetensors nor an HDF5 file"),
        (struct.pack("<Q", 1) + b"\xff", "neither a safetensors nor an HDF5 file"),
    ],
)
def test_what_does_not_begin_like_safetensors_is_refused(tmp_path, refuses, content, problem):
    """Whatever its name says."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)

    refuses(path, problem)


def test_the_library_refuses_nothing_that_is_accepted(write_safetensors):
    """Each header in the table of odd ones is one that the format's own library opens."""
    for header, behind in ODD.values():
        path = write_safetensors(header, bytes(24) + behind)
        with safe_open(path, framework="numpy") as judge:
            assert "w" in judge.keys()  # noqa: SIM118 # not a mapping


@pytest.mark.parametrize("shape", ABSURD, ids=str)
def test_a_shape_that_no_array_can_have_is_refused(write_safetensors, refuses, shape):
    """Though its tensor has no bytes."""
    refuses(write_safetensors(one(shape=shape, data_offsets=[0, 0])), "tensor 'w' has the shape")


@pytest.mark.parametrize("case", sorted(MALFORMED.keys() - {"a tensor twice", ESCAPED_TWICE}))
def test_the_library_refuses_what_is_refused(write_safetensors, case):
    """But for duplicate names, the table holds no rule of our own."""
    path = write_safetensors(MALFORMED[case][0], bytes(4))

    with pytest.raises(SafetensorError), safe_open(path, framework="numpy") as judge:
        judge.keys()
