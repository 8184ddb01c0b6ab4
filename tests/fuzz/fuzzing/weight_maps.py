"""Indexes of Hugging Face folders and maps of Keras' shards, beside the files that they name."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from fuzzing import hdf5_files, safetensors_files
from fuzzing.damage import documents
from fuzzing.rendering import render_listing
from fuzzing.scratch import folder
from fuzzing.target import Target
from wproj.formats.opening import open_checkpoint

_FILES = ("a.safetensors", "b.safetensors", "x.weights.h5", "missing.safetensors", "pytorch.bin")
_NAMES = ("w", "layers/dense/vars", "/layers/dense/vars", "missing")


@cache
def _shards() -> Path:
    """A folder of shards, which is not written to again."""
    made = folder() / "shards"
    made.mkdir(exist_ok=True)
    for name in _FILES[:2]:
        (made / name).write_bytes(safetensors_files.SAFETENSORS.seeds()[1])
    (made / _FILES[2]).write_bytes(hdf5_files.seeds()[0])
    return made


def _run(data: bytes) -> None:
    path = _shards() / "model.safetensors.index.json"
    path.write_bytes(data)
    render_listing(open_checkpoint(path), len(data))


def _maps() -> SearchStrategy[Any]:
    names = st.sampled_from(_NAMES)
    files = st.one_of(st.sampled_from(_FILES), st.lists(st.sampled_from(_FILES), max_size=3))
    return st.fixed_dictionaries(
        {"weight_map": st.dictionaries(names, files, max_size=3)},
        optional={"metadata": st.fixed_dictionaries({"total_size": st.sampled_from((8, 16, "x"))})},
    )


def _seeds() -> list[bytes]:
    maps = ({"w": "a.safetensors"}, {"/layers/dense/vars": ["x.weights.h5"]})
    found = ({"metadata": {"total_size": 8}, "weight_map": weight_map} for weight_map in maps)
    return [json.dumps(one).encode() for one in found]


WEIGHT_MAP = Target(
    run=_run,
    seeds=_seeds,
    inputs=documents(_maps()),
    words=('"weight_map"', '"metadata"', '"total_size"', *(f'"{name}"' for name in _FILES)),
    guided=40,
    structured=6,
)
