"""Checkpoints written by hand and by the formats' own libraries, and what to compare them with."""

import json
import struct
from types import SimpleNamespace

import h5py
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

import wproj
from wproj.errors import FileError


def _safetensors(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header, ensure_ascii=False).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.fixture
def write_safetensors(tmp_path):
    """Writes a safetensors file of a header, as JSON or as bytes, and the data behind it."""

    def write(header, data=b"", name="model.safetensors"):
        path = tmp_path / name
        path.write_bytes(_safetensors(header, data))
        return path

    return write


@pytest.fixture
def project():
    """Projects a file as `wproj.project` does, and returns all reports."""

    def run(source, target, *rules, **options):
        return list(wproj.project(source, target, list(rules), **options))

    return run


@pytest.fixture
def stray_bytes():
    """The positions outside `extents` where two files differ, or where one of them ends."""

    def positions(before, after, extents):
        old = np.frombuffer(before.read_bytes(), np.uint8)
        new = np.frombuffer(after.read_bytes(), np.uint8)
        assert old.size == new.size
        different = np.flatnonzero(old != new)
        for start, length in extents:
            different = different[(different < start) | (different >= start + length)]
        return different.tolist()

    return positions


@pytest.fixture
def extent_of():
    """The offset and length of a tensor's bytes, as the checkpoint gives them."""

    def find(path, name):
        (entry,) = [e for e in wproj.open_checkpoint(path).entries if e.name == name]
        assert entry.extent is not None
        return entry.extent.offset, entry.extent.nbytes

    return find


@pytest.fixture
def assert_norms_at_most():
    """Checks with NumPy in float64 that vectors are inside as stored, near, and else untouched."""

    def check(before, after, bound, axis):
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        axes = tuple(range(before.ndim)) if axis is None else axis
        old, new = before.astype(np.float64), after.astype(np.float64)
        norms = np.sqrt(np.square(old).sum(axis=axes, keepdims=True))
        exact = old * np.minimum(1, bound / np.maximum(norms, 1e-300))
        info = ml_dtypes.finfo(before.dtype)
        # Float64 keeps a margin of half that from the bound; see docs/numerics.md.
        units = 8 + np.sqrt(before.size / norms.size) if before.dtype == np.float64 else 4
        near = units * np.abs(exact) * float(info.eps) + float(info.smallest_subnormal)
        inside = np.broadcast_to(norms <= bound, old.shape)

        assert np.sqrt(np.square(new).sum(axis=axes)).max(initial=0) <= bound
        assert (np.abs(new - exact) <= near).all()
        assert np.array_equal(new[inside], old[inside])

    return check


@pytest.fixture
def describe_hdf5():
    """Everything that h5py can say about a file, values of the datasets named `but` left out."""

    def describe(path, but=()):
        with h5py.File(path, "r") as file:
            found = {
                "userblock": file.userblock_size,
                "libver": file.libver,
                "root attributes": _attributes(file),
            }
            _describe_group(file, "", but, found, set())
        return found

    return describe


def _describe_group(group, prefix, but, found, seen):
    address = h5py.h5o.get_info(group.id).addr
    if address in seen:
        found[prefix or "/"] = ("seen before", address)
        return
    seen.add(address)
    found[f"{prefix} order"] = list(group)
    found[f"{prefix} creation order"] = group.id.get_create_plist().get_link_creation_order()
    for name in group:
        path = f"{prefix}/{name}"
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            found[path] = (type(link).__name__, link.path, getattr(link, "filename", None))
            continue
        child = group[name]
        found[f"{path} attributes"] = _attributes(child)
        if isinstance(child, h5py.Group):
            _describe_group(child, path, but, found, seen)
        elif isinstance(child, h5py.Datatype):
            found[path] = ("committed type", str(child.dtype))
        else:
            found[path] = _describe_dataset(child, keep_values=path.removeprefix("/") not in but)


def _attributes(item):
    creation = getattr(item.id, "get_create_plist", None)
    order = creation().get_attr_creation_order() if creation else None
    return order, [(name, _values(item.attrs[name], item.file)) for name in item.attrs]


def _values(value, file):
    """Values as something to compare: bytes, the names that references lead to, texts."""
    if isinstance(value, h5py.Empty):
        return ("empty", str(value.dtype))
    if isinstance(value, h5py.Reference):
        return ("reference", file[value].name)
    array = np.asarray(value)
    if array.dtype.kind == "O":
        return [
            _values(item, file) if isinstance(item, h5py.Reference) else repr(item)
            for item in array.reshape(-1)
        ]
    return (str(array.dtype), array.shape, array.tobytes())


def _describe_dataset(dataset, *, keep_values):
    plist = dataset.id.get_create_plist()
    kind = dataset.id.get_type()
    return {
        "shape": dataset.shape,
        "maxshape": dataset.maxshape,
        "dtype": str(dataset.dtype),
        "type": (kind.get_class(), kind.get_size(), kind.committed()),
        "layout": plist.get_layout(),
        "chunks": dataset.chunks,
        "filters": [plist.get_filter(i) for i in range(plist.get_nfilters())],
        "fill": None if dataset.dtype.hasobject else _values(dataset.fillvalue, dataset.file),
        "external": dataset.external,
        "values": _values(dataset[()], dataset.file) if keep_values else None,
    }


def _read_safetensors(path, name):
    return load_file(path)[name]


_CODES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}


def _write_safetensors(path, arrays):
    header, data = {}, b""
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        offsets = [len(data), len(data) + len(raw)]
        code = _CODES[array.dtype.name]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": offsets}
        data += raw
    path.write_bytes(_safetensors(header, data))


def _read_hdf5(path, name):
    with h5py.File(path, "r") as file:
        dataset = file[name]
        values = np.asarray(dataset[()])
        if dataset.attrs.get("dtype") == "bfloat16":
            values = values.view(ml_dtypes.bfloat16)
        return values.astype(values.dtype.newbyteorder("="))


def _hdf5_writer(order="=", **how):
    def write(path, arrays):
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                settings = how if array.ndim else {}
                tagged = array.dtype.name == "bfloat16"
                data = array.view("V2") if tagged else array.astype(array.dtype.newbyteorder(order))
                dataset = file.create_dataset(name, data=data, **settings)
                if tagged:
                    dataset.attrs["dtype"] = "bfloat16"

    return write


_FORMATS = {
    "safetensors": (_write_safetensors, _read_safetensors),
    "hdf5 contiguous": (_hdf5_writer(), _read_hdf5),
    "hdf5 gzip": (_hdf5_writer(chunks=True, compression="gzip", compression_opts=1), _read_hdf5),
    "hdf5 big-endian": (_hdf5_writer(">"), _read_hdf5),
}


@pytest.fixture(params=_FORMATS)
def container(request, tmp_path):
    """A format: `write(arrays, name)` makes a file of it, `read(path, name)` is its own reader."""
    writer, reader = _FORMATS[request.param]

    def write(arrays, name="source"):
        path = tmp_path / name
        writer(path, arrays)
        return path

    return SimpleNamespace(name=request.param, write=write, read=reader)


@pytest.fixture
def containers(tmp_path):
    """Every format, as `container` has it, by name."""
    made = {}
    for label, (writer, reader) in _FORMATS.items():
        made[label] = SimpleNamespace(
            path=tmp_path / label.replace(" ", "-"), write=writer, read=reader
        )
    return made


@pytest.fixture
def refuses():
    """Checks that a file is refused with an error that names it and what is wrong."""

    def check(path, problem):
        with pytest.raises(FileError) as caught:
            wproj.open_checkpoint(path)

        assert str(path) in str(caught.value)
        assert problem in str(caught.value)

    return check
