"""HDF5 files: the tree, the names, and the values that HDF5 has to fetch."""

import io
from functools import cache

import h5py
import numpy as np
from hypothesis import strategies as st

from fuzzing.damage import scrambled
from fuzzing.scratch import file_of
from fuzzing.target import Target
from wproj.auditing import audit
from wproj.formats.hdf5 import open_hdf5
from wproj.resources import Resources

# What is larger is judged by its tree alone, as reading it would be most of the time.
_MOST = 1 << 20


def _run(data: bytes) -> None:
    checkpoint = open_hdf5(file_of(data, "input.h5"))
    if sum(entry.nbytes for entry in checkpoint.entries) <= _MOST:
        list(audit(checkpoint, resources=Resources(threads=1)))


def _made(fill, **options) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w", **options) as file:
        fill(file)
    return stream.getvalue()


def _keras(file: h5py.File) -> None:
    group = file.create_group("layers/dense/vars")
    group.attrs["name"] = "dense"
    group["0"], group["1"] = np.ones((4, 2), np.float32), np.ones(2, np.float32)


def _legacy(file: h5py.File) -> None:
    file.attrs["model_config"] = '{"class_name": "Sequential", "config": []}'
    file.attrs["layer_names"] = np.array([b"dense"])
    file["model_weights/dense/dense/kernel:0"] = np.ones((4, 2), np.float32)


def _chunked(file: h5py.File) -> None:
    values = np.arange(64, dtype=np.float32).reshape(8, 8)
    for name, how in (("gzip", {"compression": "gzip", "shuffle": True}), ("plain", {})):
        file.create_dataset(name, data=values, chunks=(4, 4), **how)
    file.create_dataset("sum", data=values, chunks=(8, 4), fletcher32=True)


def _odd(file: h5py.File) -> None:
    file["soft"], file["outside"] = h5py.SoftLink("/a"), h5py.ExternalLink("other.h5", "/a")
    file["a"] = np.ones(3, ">f8")
    file["alias"] = file["a"]
    file["text"], file["bits"] = "text", np.zeros(2, "V2")
    file["bits"].attrs["dtype"] = "bfloat16"
    file["pair"] = np.zeros(2, [("x", "f4"), ("y", "i4")])
    file["none"] = h5py.Empty("f4")


@cache
def seeds() -> list[bytes]:
    """HDF5 files of the sorts that wproj reads, in the oldest and in the newest format."""
    fills = (_keras, _legacy, _chunked, _odd)
    return [_made(fill, libver=libver) for fill in fills for libver in ("earliest", "latest")]


HDF5 = Target(
    run=_run,
    seeds=seeds,
    inputs=scrambled(st.deferred(lambda: st.sampled_from(seeds()))),
    structured=20,
    native="HDF5",
)
