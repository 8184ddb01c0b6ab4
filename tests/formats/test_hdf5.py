"""HDF5: every storage that holds floats is projected, everything else is left as it is."""

import os
import subprocess
import sys

import h5py
import ml_dtypes
import numpy as np
import pytest

import wproj
from wproj.errors import NothingLeftError

SHAPE = (7, 5)


def weights(dtype="f4", shape=SHAPE):
    """Weights whose columns along axis 0 are partly longer than 1, partly shorter."""
    values = np.random.default_rng(11).normal(size=shape)
    return (values * np.linspace(0.02, 3, shape[-1])).astype(dtype)


def compact(file, name, array):
    """A dataset within its object header, which h5py's high-level interface cannot make."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple(array.shape)
    kind = h5py.h5t.py_create(array.dtype, logical=True)
    h5py.h5d.create(file.id, name.encode(), kind, space, plist).write(
        h5py.h5s.ALL, h5py.h5s.ALL, array
    )


def committed(file, name, array):
    """A dataset whose type has a name of its own in the file."""
    file["a type"] = array.dtype
    file.create_dataset(name, data=array, dtype=file["a type"])


def bfloat16(file, name, array, **how):
    """A dataset as Keras writes bfloat16: opaque bytes and an attribute."""
    dataset = file.create_dataset(name, data=array.view("V2"), **how)
    dataset.attrs["dtype"] = "bfloat16"


def plain(**how):
    """A way to make a dataset with these settings."""
    return lambda file, name, array: file.create_dataset(name, data=array, **how)


BF16 = np.dtype(ml_dtypes.bfloat16)
# What is stored, how, and whether its bytes lie in one piece.
STORED = {
    "contiguous": ("f4", plain(), True),
    "half precision": ("f2", plain(), True),
    "double precision": ("f8", plain(), True),
    "big-endian float32": (">f4", plain(), True),
    "big-endian float64": (">f8", plain(), True),
    "big-endian float16": (">f2", plain(), True),
    "bfloat16": (BF16, bfloat16, True),
    "of a committed type": ("f4", committed, True),
    "with a fill value": ("f4", plain(fillvalue=7), True),
    "with a fill value of NaN": ("f4", plain(fillvalue=np.nan), True),
    "with recorded times": ("f4", plain(track_times=True), True),
    "compact": ("f4", compact, False),
    "compact, big-endian": (">f8", compact, False),
    "chunked": ("f4", plain(chunks=(2, 2)), False),
    "chunked by rows": ("f8", plain(chunks=(1, 5)), False),
    "resizable": ("f4", plain(maxshape=(None, None), chunks=(3, 4)), False),
    "gzip": ("f4", plain(chunks=(3, 2), compression="gzip"), False),
    "lzf": ("f2", plain(chunks=(3, 2), compression="lzf"), False),
    "shuffle and gzip": ("f8", plain(chunks=(7, 5), compression=9, shuffle=True), False),
    "fletcher32": ("f4", plain(chunks=(4, 5), fletcher32=True), False),
    "all filters, big-endian": (
        ">f4",
        plain(chunks=(4, 3), compression="gzip", shuffle=True, fletcher32=True),
        False,
    ),
    "bfloat16, gzip": (
        BF16,
        lambda file, name, array: bfloat16(file, name, array, chunks=(2, 5), compression="gzip"),
        False,
    ),
}


def furnish(file):
    """Fills a file with everything that a projection has nothing to do with."""
    file.attrs["title"] = "ünïcode"
    file.attrs["numbers"] = np.arange(3)
    file.attrs["empty"] = h5py.Empty("f4")
    group = file.create_group("ordered", track_order=True)
    for name in ("z", "a", "m"):
        group[name] = weights()
        group[name].attrs.create("note", f"of {name}")
    group.attrs["reference"] = group["z"].ref
    file["references"] = np.array([group["a"].ref, group.ref], h5py.ref_dtype)
    file["texts"] = np.array(["some", "texts"], h5py.string_dtype())
    file["integers"] = np.arange(6).reshape(2, 3)
    file["table"] = np.zeros(2, [("a", "f4"), ("b", "i2")])
    file["other type"] = np.dtype([("x", "f8")])
    file["soft"] = h5py.SoftLink("/ordered/z")
    file["elsewhere"] = h5py.ExternalLink("other.h5", "/w")
    file.create_dataset("pressed", data=weights(), compression="gzip", chunks=(2, 2), shuffle=True)
    file.create_dataset("wrapped", data=weights(), maxshape=(None, 5), fillvalue=3)
    file.create_dataset("none yet", (4, 4), "f4")
    file["nothing"] = h5py.Empty("f8")
    file["scalar"] = np.float32(5)
    file["ordered/loop"] = file["/"]


@pytest.fixture
def hdf5(tmp_path):
    """Writes an HDF5 file by the functions that are given, each of which gets the open file."""

    def write(*makers, name="source.h5", **how):
        path = tmp_path / name
        with h5py.File(path, "w", **how) as file:
            for maker in makers:
                maker(file)
        return path

    return write


def stored_values(path, name):
    """What h5py reads, in native byte order, bfloat16 among it."""
    with h5py.File(path, "r") as file:
        values = np.asarray(file[name][()])
        if file[name].attrs.get("dtype") == "bfloat16":
            values = values.view(ml_dtypes.bfloat16)
    return values.astype(values.dtype.newbyteorder("="))


RULES = {
    "max_norm=1 axis=0": wproj.MaxNorm(1, axis=0),
    "unit_norm axis=1": wproj.UnitNorm(axis=1),
    "non_neg": wproj.NonNeg(),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", STORED)
def test_floats_are_projected_however_they_are_stored(
    hdf5, project, describe_hdf5, case, rule, stray_bytes, extent_of
):
    """The dataset holds what the constraint makes of the array; the rest is described the same."""
    dtype, make, in_one_piece = STORED[case]
    w = weights(dtype)
    source = hdf5(furnish, lambda file: make(file, "w", w))
    target = source.with_name("target.h5")
    (report,) = project(source, target, f"w {rule}")
    native = w.astype(w.dtype.newbyteorder("="))
    expected = RULES[rule](native)

    assert report.status == "changed"
    assert report.dtype == native.dtype.name
    assert stored_values(target, "w").tobytes() == expected.tobytes() != native.tobytes()
    assert describe_hdf5(target, but=["w"]) == describe_hdf5(source, but=["w"])
    if in_one_piece:
        assert stray_bytes(source, target, [extent_of(target, "w")]) == []


@pytest.mark.parametrize("case", [name for name, (_, _, whole) in STORED.items() if whole])
def test_only_contiguous_data_is_patched_by_offset(hdf5, case):
    """The extent of a contiguous dataset is that of its bytes as they lie in the file."""
    dtype, make, _ = STORED[case]
    w = weights(dtype)
    source = hdf5(lambda file: make(file, "w", w))
    (entry,) = wproj.open_checkpoint(source).entries
    raw = source.read_bytes()[entry.extent.offset :][: entry.extent.nbytes]

    assert raw == w.tobytes()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", BF16])
def test_the_result_is_inside_and_near_by_numpy(hdf5, project, assert_norms_at_most, dtype):
    """Measured in float64 without any of our own arithmetic."""
    w = weights(dtype, (40, 9))
    make = bfloat16 if dtype is BF16 else plain()
    source = hdf5(lambda file: make(file, "w", w))
    project(source, source.with_name("out"), "w max_norm=1 axis=0")

    assert_norms_at_most(
        w.astype(w.dtype.newbyteorder("=")), stored_values(source.with_name("out"), "w"), 1, 0
    )


@pytest.mark.parametrize(
    "how",
    [
        {"userblock_size": 512},
        {"userblock_size": 2048},
        {"libver": "latest"},
        {"libver": ("v110", "v110")},
        {"track_order": True},
        {"fs_strategy": "page", "fs_persist": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("pressed", [False, True], ids=["contiguous", "gzip"])
def test_files_of_every_kind_are_projected(
    hdf5, project, describe_hdf5, stray_bytes, extent_of, how, pressed
):
    """User blocks, versions and orders of the file survive."""
    w = weights()
    make = plain(**({"compression": "gzip"} if pressed else {}))
    source = hdf5(furnish, lambda file: make(file, "w", w), **how)
    block = how.get("userblock_size", 0)
    with source.open("r+b") as raw:
        raw.write(b"user" * (block // 4))
    target = source.with_name("target.h5")
    project(source, target, "w max_norm=1 axis=0")

    assert stored_values(target, "w").tobytes() == wproj.MaxNorm(1, axis=0)(w).tobytes()
    assert describe_hdf5(target, but=["w"]) == describe_hdf5(source, but=["w"])
    assert target.read_bytes()[:block] == b"user" * (block // 4)
    if not pressed:
        assert stray_bytes(source, target, [extent_of(target, "w")]) == []


@pytest.mark.parametrize(
    "name",
    [
        "w[0]",
        "a*b",
        "a?",
        "{a,b}",
        "with space",
        "ünï/重み",
        "dots.in.it",
        "kernel:0",
        "re:x",
        "!a",
    ],
)
def test_a_name_with_special_characters_is_taken_by_itself(hdf5, project, name):
    """An exact name is a name before it is a pattern, and takes nothing else."""

    def make(file):
        for other in (name, "w0", "axb", "ab", "a", "b", "x"):
            file[other] = weights()

    source = hdf5(make)
    target = source.with_name("target.h5")
    rule = wproj.Rule(name, wproj.MaxNorm(1, axis=0))
    (report,) = project(source, target, rule)

    assert report.name == name
    assert stored_values(target, name).tobytes() == wproj.MaxNorm(1, axis=0)(weights()).tobytes()


def test_a_scalar_is_one_vector_along_all_axes(hdf5, project):
    """Its one entry is its norm."""
    source = hdf5(lambda file: file.create_dataset("s", data=np.float32(-5)))
    (report,) = project(source, source.with_name("out"), "s max_norm=2 axis=all")

    assert (report.vectors, report.vector_length) == (1, 1)
    assert stored_values(source.with_name("out"), "s") == -2


@pytest.mark.parametrize("axis", ["0", "1", "all"])
@pytest.mark.parametrize("how", [{}, {"chunks": (2, 3), "maxshape": (None, 3)}], ids=str)
def test_a_dataset_of_size_zero_is_nothing_to_do(hdf5, project, how, axis):
    """It is reported, and the file stays as it is; a user block makes its address look valid."""
    source = hdf5(lambda file: file.create_dataset("w", (0, 3), "f4", **how), userblock_size=512)
    (report,) = project(source, source.with_name("out"), f"w max_norm=1 axis={axis}")

    assert report.status == "unchanged"
    assert source.with_name("out").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("block", [0, 512])
@pytest.mark.parametrize("how", [{}, {"chunks": (2, 2)}], ids=str)
def test_a_dataset_that_was_never_written_stays_so(hdf5, project, how, block):
    """Its zeros are inside; no storage is allocated for them."""
    source = hdf5(lambda file: file.create_dataset("w", SHAPE, "f4", **how), userblock_size=block)
    (report,) = project(source, source.with_name("out"), "w max_norm=1 axis=0")

    assert report.status == "unchanged"
    assert source.with_name("out").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("block", [0, 512])
@pytest.mark.parametrize("how", [{}, {"chunks": (2, 2)}], ids=str)
def test_a_fill_value_outside_is_projected(hdf5, project, how, block):
    """What a dataset that was never written reads as is what is stored."""
    source = hdf5(
        lambda file: file.create_dataset("w", SHAPE, "f4", fillvalue=3, **how),
        plain_neighbor,
        userblock_size=block,
    )
    target = source.with_name("out")
    project(source, target, "w max_norm=1 axis=0")
    expected = wproj.MaxNorm(1, axis=0)(np.full(SHAPE, 3, "f4"))

    assert stored_values(target, "w").tobytes() == expected.tobytes()
    assert stored_values(target, "neighbor").tobytes() == weights().tobytes()


def test_what_nobody_wrote_needs_no_room(hdf5, project):
    """A dataset of four terabytes, none of them stored, beside one that is projected."""
    w = weights()

    def make(file):
        file.create_dataset("boundless", (2**40,), "f4", chunks=(1024,), maxshape=(None,))
        file.create_dataset("w", data=w, compression="gzip")

    source = hdf5(make)
    target = source.with_name("out")
    project(source, target, "w max_norm=1 axis=0")

    assert stored_values(target, "w").tobytes() == wproj.MaxNorm(1, axis=0)(w).tobytes()
    assert target.stat().st_size < 1 << 20


def plain_neighbor(file):
    """Something whose bytes would show a write to the wrong place."""
    file["neighbor"] = weights()


def scaled(file):
    """A dataset that its filter stores with two decimals."""
    file.create_dataset("w", data=weights(), chunks=(2, 2), scaleoffset=2)


def virtual(file):
    """A dataset that shows another file's values."""
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[:] = h5py.VirtualSource("other.h5", "w", shape=SHAPE)
    file.create_virtual_dataset("w", layout)


def external(file):
    """A dataset whose values are in a raw file beside it."""
    folder = os.path.dirname(file.filename)  # noqa: PTH120 # h5py's text
    raw = os.path.join(folder, "values.raw")  # noqa: PTH118 # a string
    dataset = file.create_dataset("w", SHAPE, "f4", external=[(raw, 0, 140)])
    dataset[...] = weights()


def opaque(tag):
    """A way to make opaque bytes with this value of the attribute `dtype`, or without one."""

    def make(file):
        file["w"] = np.zeros(3, "V2")
        if tag is not None:
            file["w"].attrs["dtype"] = tag

    return make


def value(array):
    """A way to make a dataset of this value."""
    return lambda file: file.create_dataset("w", data=array)


SKIPPED = {
    "scale-offset filter": (scaled, "scale-offset"),
    "external storage": (external, "in another file"),
    "virtual": (virtual, "in other datasets"),
    "variable-length text": (value(np.array(["a"], h5py.string_dtype())), "string"),
    "fixed-length text": (value(np.array([b"abc"])), "string"),
    "compound": (value(np.zeros(2, [("a", "f4")])), "compound"),
    "no dataspace": (value(h5py.Empty("f4")), "no dataspace"),
    "integer": (value(np.arange(3)), "int64: integer"),
    "unsigned": (value(np.arange(3, dtype="u1")), "uint8: integer"),
    "enumeration": (
        value(np.array([1], h5py.enum_dtype({"A": 1}, "i1"))),
        "int8: integer",
    ),
    "boolean": (value(np.array([True, False])), "bool: boolean"),
    "complex": (value(np.zeros(2, "c8")), "complex64: complex"),
    "references": (
        lambda file: file.create_dataset("w", data=[file.ref], dtype=h5py.ref_dtype),
        "not numbers",
    ),
    "ragged": (
        lambda file: file.create_dataset("w", (2,), h5py.vlen_dtype("f4")),
        "not numbers",
    ),
    "opaque without a tag": (opaque(None), "opaque16"),
    "opaque with an unknown tag": (opaque("nonsense"), "opaque16"),
    "opaque with a tag of another size": (opaque("float8_e5m2"), "opaque16"),
    "opaque with a tag that is no dtype": (opaque("__version__"), "opaque16"),
    "opaque with a tag that is no text": (opaque(3), "opaque16"),
}


@pytest.mark.parametrize("case", SKIPPED)
def test_what_cannot_be_projected_is_skipped_with_the_reason(hdf5, project, describe_hdf5, case):
    """Among others by a glob; its neighbors are projected."""
    make, reason = SKIPPED[case]
    other = hdf5(lambda file: file.create_dataset("w", data=weights()), name="other.h5")
    source = hdf5(make, plain_neighbor)
    before = {path: path.read_bytes() for path in source.parent.iterdir()}
    target = source.with_name("target.h5")
    reports = {r.name: r for r in project(source, target, "* max_norm=1 axis=0")}

    assert reports["neighbor"].status == "changed"
    assert reports["w"].status == "skipped"
    assert reason in reports["w"].reason
    assert describe_hdf5(target, but=["neighbor"]) == describe_hdf5(source, but=["neighbor"])
    assert other in before
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("case", SKIPPED)
def test_what_cannot_be_projected_is_refused_when_it_is_named(hdf5, case):
    """Being named exactly does not make numbers of it."""
    make, reason = SKIPPED[case]
    hdf5(lambda file: file.create_dataset("w", data=weights()), name="other.h5")

    with pytest.raises(NothingLeftError, match=reason):
        wproj.plan(hdf5(make), "w max_norm=1 axis=0")


@pytest.mark.parametrize("case", ["references", "ragged"])
def test_what_is_no_text_is_not_called_text(hdf5, case):
    """A dtype's name in a listing is what it is."""
    (entry,) = wproj.open_checkpoint(hdf5(SKIPPED[case][0])).entries

    assert entry.dtype != "string"


@pytest.mark.skipif(np.dtype("longdouble").itemsize <= 8, reason="no wide long double here")
def test_long_doubles_are_skipped(hdf5):
    """Floats of more than 64 bits do not fit into the arithmetic."""
    with pytest.raises(NothingLeftError, match=np.dtype("longdouble").name):
        wproj.plan(hdf5(value(np.ones(3, "longdouble"))), "w max_norm=1 axis=0")


def test_a_name_that_is_not_text_is_noted(hdf5):
    """HDF5 takes any bytes for a name; the other tensors are listed all the same."""

    def make(file):
        file["w"] = weights()
        file[b"a\xff"] = weights()

    checkpoint = wproj.open_checkpoint(hdf5(make))

    assert [entry.name for entry in checkpoint.entries] == ["w"]
    assert checkpoint.notes == ("b'a\\xff' is not UTF-8 and is not followed",)


def test_links_to_elsewhere_are_noted_and_not_followed(hdf5, project, describe_hdf5):
    """Soft and external links are no names of tensors, and what they name is not written."""
    other = hdf5(plain_neighbor, name="other.h5")

    def make(file):
        file["w"] = weights()
        file["by name"] = h5py.SoftLink("/w")
        file["nowhere"] = h5py.SoftLink("/missing")
        file["outside"] = h5py.ExternalLink("other.h5", "/neighbor")

    source = hdf5(make)
    before = other.read_bytes()
    checkpoint = wproj.open_checkpoint(source)
    target = source.with_name("target.h5")
    project(checkpoint, target, "* max_norm=1 axis=0")

    assert [entry.name for entry in checkpoint.entries] == ["w"]
    assert sorted(note.split(" and ")[0] for note in checkpoint.notes) == [
        "by name is a soft link",
        "nowhere is a soft link",
        "outside is an external link",
    ]
    assert describe_hdf5(target, but=["w"]) == describe_hdf5(source, but=["w"])
    assert other.read_bytes() == before
    for name in ("by name", "outside"):
        with pytest.raises(wproj.RequestError, match="matches no tensor"):
            wproj.plan(source, wproj.Rule(name, wproj.NonNeg()))


@pytest.mark.parametrize("name", ["a/w", "b/same", "/a/w", "/b/same", "b/*", "a"])
def test_a_tensor_with_two_names_is_projected_once_by_either(hdf5, project, name):
    """Hard links are names of one dataset."""

    def make(file):
        file["a/w"] = weights()
        file["b/same"] = file["a/w"]

    source = hdf5(make)
    target = source.with_name("target.h5")
    (report,) = project(source, target, wproj.Rule(name, wproj.MaxNorm(1, axis=0)))

    assert report.status == "changed"
    for either in ("a/w", "b/same"):
        assert (
            stored_values(target, either).tobytes() == wproj.MaxNorm(1, axis=0)(weights()).tobytes()
        )


@pytest.mark.parametrize("name", ["g/w", "again/w", "deep/down/w", "deep/down", "*n/w"])
def test_a_tensor_in_a_group_with_several_names_is_projected_once_by_any(hdf5, project, name):
    """Names of a group are names of what is in it."""

    def make(file):
        file["g/w"] = weights()
        file["again"] = file["g"]
        file["deep/down"] = file["g"]

    source = hdf5(make)
    target = source.with_name("target.h5")
    (report,) = project(source, target, wproj.Rule(name, wproj.MaxNorm(1, axis=0)))
    (entry,) = wproj.open_checkpoint(source).entries

    assert report.status == "changed"
    assert {entry.path, *entry.aliases} == {"g/w", "again/w", "deep/down/w"}
    assert stored_values(target, "g/w").tobytes() == wproj.MaxNorm(1, axis=0)(weights()).tobytes()


def test_groups_in_a_circle_are_walked_once(hdf5):
    """A group that holds itself, or its parent, ends."""

    def make(file):
        file["g/w"] = weights()
        file["g/self"] = file["g"]
        file["g/deep/root"] = file["/"]
        file["again"] = file["g"]

    assert [e.path for e in wproj.open_checkpoint(hdf5(make)).entries] in (["g/w"], ["again/w"])


def test_entries_come_in_the_order_of_the_tree_and_of_numbers(hdf5):
    """`vars/10` comes behind `vars/2`."""

    def make(file):
        for number in (10, 2, 0, 1):
            file[f"layers/dense/vars/{number}"] = np.zeros(1, "f4")

    assert [e.path[-2:] for e in wproj.open_checkpoint(hdf5(make)).entries] == [
        "/0",
        "/1",
        "/2",
        "10",
    ]


def legacy(file):
    """The skeleton of a model that Keras 2 saved."""
    file.attrs["model_config"] = "{}"
    file["model_weights/conv1/conv1/kernel:0"] = weights()
    file["model_weights/conv1/conv1/bias:0"] = weights()[0]
    file["model_weights/top/scope/kernel:0"] = weights()
    file["optimizer_weights/Adam/m/kernel:0"] = weights()


def test_a_legacy_keras_file_has_the_names_that_people_use(hdf5):
    """Either the name or the path of a tensor selects it."""
    checkpoint = wproj.open_checkpoint(hdf5(legacy))
    names = {entry.path: entry.name for entry in checkpoint.entries}

    assert checkpoint.layout == "keras"
    assert names["model_weights/conv1/conv1/kernel:0"] == "conv1/kernel"
    assert names["model_weights/top/scope/kernel:0"] == "top/scope/kernel"
    for pattern in ("conv1/kernel", "model_weights/conv1/conv1/kernel:0"):
        plan = wproj.plan(checkpoint, f"{pattern} max_norm=1 axis=0")
        assert [item.entry.name for item in plan.items] == ["conv1/kernel"]


@pytest.mark.parametrize(
    ("path", "layout"),
    [("layers/dense/vars/0", "keras"), ("vars/0", "keras"), ("dense/kernel", "unknown")],
)
def test_the_layout_is_told_by_what_keras_writes(hdf5, path, layout):
    """The names of Keras 3 files are enough; others say nothing."""
    file = hdf5(lambda file: file.create_dataset(path, data=weights()))

    assert wproj.open_checkpoint(file).layout == layout


def test_bytes_behind_the_end_survive_a_patch(hdf5, project):
    """A signature that somebody appended to a file with contiguous data is kept."""
    source = hdf5(lambda file: file.create_dataset("w", data=weights()))
    with source.open("ab") as raw:
        raw.write(b"signature")
    target = source.with_name("out")
    project(source, target, "w max_norm=1 axis=0")

    assert target.read_bytes().endswith(b"signature")


@pytest.mark.parametrize("kept", [1, 8, 100, 800, 2000, -100, -1])
def test_a_truncated_file_is_refused(hdf5, refuses, kept):
    """Wherever it was cut; the error names the file."""
    path = hdf5(furnish)
    path.write_bytes(path.read_bytes()[:kept])

    refuses(path, "too few" if 0 < kept < 8 else "HDF5")


def test_a_damaged_chunk_is_refused_with_file_and_tensor(hdf5, project):
    """A checksum that does not fit is an error, and nothing is written."""
    w = np.random.default_rng(5).normal(size=(64, 64)).astype("f4")
    source = hdf5(lambda file: file.create_dataset("w", data=w, chunks=(64, 64), fletcher32=True))
    raw = bytearray(source.read_bytes())
    raw[-100] ^= 0xFF
    source.write_bytes(raw)
    target = source.with_name("out")

    with pytest.raises(wproj.InputError, match="HDF5 cannot read it") as caught:
        project(source, target, "w max_norm=1 axis=0")
    assert str(source) in str(caught.value)
    assert ": w: " in str(caught.value)
    assert not target.exists()


@pytest.mark.skipif(
    os.environ.get("HDF5_USE_FILE_LOCKING", "TRUE") != "TRUE", reason="locks are turned off"
)
def test_a_file_that_another_process_writes_is_refused(hdf5):
    """The cause is named, and the way around it."""
    path = hdf5(furnish)
    program = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        writer.stdout.readline()
        with pytest.raises(wproj.InputError, match="being written by another process") as caught:
            wproj.open_checkpoint(path)
        writer.communicate(b"\n")

    assert str(path) in str(caught.value)
    assert "HDF5_USE_FILE_LOCKING" in caught.value.hint
