"""safetensors files, and anything that has to be told apart by its content."""

import json
import struct
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from fuzzing.damage import TEXTS, as_json, mutated, scrambled
from fuzzing.rendering import render_listing
from fuzzing.scratch import file_of
from fuzzing.target import Target
from wproj.formats.opening import open_checkpoint
from wproj.formats.safetensors import _DTYPES, open_safetensors

_SIZES = {code: bits for code, (_, bits) in _DTYPES.items()}


def _run(data: bytes) -> None:
    open_safetensors(file_of(data))


def _run_content(data: bytes) -> None:
    render_listing(open_checkpoint(file_of(data)), len(data))


def packed(header: bytes, values: bytes = b"") -> bytes:
    """A safetensors file of a header and the values behind it."""
    return struct.pack("<Q", len(header)) + header + values


@st.composite
def _headers(draw: DrawFn) -> tuple[dict[str, Any], int]:
    """A valid header, and how many bytes of values belong to it."""
    header: dict[str, Any] = {}
    end = 0
    names = st.one_of(
        st.sampled_from(("w", "model.layers.0.weight", *TEXTS[:8])), st.text(max_size=3)
    )
    for name in draw(st.lists(names, max_size=4, unique=True)):
        code = draw(st.sampled_from(("F32", "F16", "BF16", "F8_E4M3", "F4", "I64", "BOOL")))
        shape = draw(st.lists(st.sampled_from((0, 1, 2, 2, 4)), max_size=3))
        bits = _SIZES[code]
        for size in shape:
            bits *= size
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [end, end + bits // 8]}
        end += bits // 8
    if draw(st.booleans()):
        header["__metadata__"] = draw(st.sampled_from(({"format": "pt"}, {}, {"a": "b"})))
    return header, end


@st.composite
def _files(draw: DrawFn) -> bytes:
    header, end = draw(_headers())
    text = draw(as_json(mutated(st.just(header))))
    length = len(text) + draw(st.sampled_from((0, 0, 0, 0, 1, -1, 8, 2**31, 2**62)))
    values = bytes(max(0, end + draw(st.sampled_from((0, 0, 0, 0, 1, -1, 8)))))
    padding = b" " * draw(st.sampled_from((0, 0, 1, 7)))
    return struct.pack("<Q", max(0, length + len(padding))) + text + padding + values


def _seeds() -> list[bytes]:
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    headers = ({}, {"w": tensor}, {"w": tensor, "__metadata__": {"format": "pt"}})
    return [packed(json.dumps(header).encode(), bytes(8 * ("w" in header))) for header in headers]


def _contents() -> SearchStrategy[bytes]:
    heads = (
        b"",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"\x80\x04",
        b"version https://git-lfs",
        b'{"a": 1}',
    )
    heads = (*heads, b'{"weight_map": {"a": "b"}}', b"\x89HDF\r\n\x1a\n", b" {", b"\n" * 9)
    tails = st.one_of(st.binary(max_size=64), st.sampled_from(_seeds()), _files())
    return st.builds(bytes.__add__, st.sampled_from(heads), tails)


_WORDS = ('"dtype"', '"shape"', '"data_offsets"', '"__metadata__"', '"F32"', '"BF16"', '"F4"')

SAFETENSORS = Target(
    run=_run,
    seeds=_seeds,
    inputs=st.one_of(_files(), scrambled(_files())),
    words=_WORDS,
    guided=110,
    structured=10,
)
CONTENT = Target(
    run=_run_content,
    seeds=lambda: [*_seeds(), b'{"weight_map": {"a": "b.safetensors"}}', b"PK\x05\x06" + bytes(18)],
    inputs=_contents(),
    words=(*_WORDS, '"weight_map"', "PK\\x03\\x04", "\\x89HDF\\x0d\\x0a\\x1a\\x0a"),
    guided=50,
    structured=6,
    native="HDF5",
)
