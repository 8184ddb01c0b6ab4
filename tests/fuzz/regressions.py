"""What fuzzing has found, as small inputs made here; `test_fuzz.py` replays them.

A name says what the parser did not take; beside it stand the target and the input.
"""

import io
import json
import zipfile
from collections.abc import Callable

Maker = Callable[[], bytes]


def _json(value: object) -> Maker:
    return lambda: json.dumps(value).encode()


def _shard(declared: bytes) -> bytes:
    """A line of a journal, with what a layer declares."""
    return b'{"member": "a", "sha256": "", "tensors": [{"declared": {"a": %s' % declared


def _vast() -> bytes:
    """A safetensors file of one tensor, whose size takes seconds to tell."""
    shape = b",".join([b"9" * 4300] * 400)
    header = b'{"w": {"dtype": "F32", "shape": [%s], "data_offsets": [0, 4]}}' % shape
    return len(header).to_bytes(8, "little") + header


def _archive(method: int = zipfile.ZIP_STORED, name: str = "a") -> bytearray:
    """An archive with a config of many zeros, and weights that are none."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("config.json", bytes(4096))
        archive.writestr("model.weights.h5", b"")
        archive.writestr(name, b"")
    return bytearray(stream.getvalue())


def _shortened() -> bytes:
    """An archive that lacks a piece of its first member, so that this begins before the file."""
    data = _archive()
    del data[60:200]
    return bytes(data)


def _huge() -> bytes:
    """An archive whose config is said to be larger than memory, and stored as it is."""
    data = _archive()
    at = data.index(b"PK\x01\x02")
    data[at + 20 : at + 28] = (2**32 - 2).to_bytes(4, "little") * 2
    return bytes(data)


def _misnamed() -> bytes:
    """An archive with a name that is said to be UTF-8."""
    name = "\u00e9"
    return bytes(_archive(name=name)).replace(name.encode(), b"\xff\xff")


def _corrupted(method: int) -> bytes:
    """An archive in whose first member bytes were overwritten."""
    data = _archive(method)
    at = 30 + len("config.json") + 4
    data[at : at + 5] = b"\xff" * 5
    return bytes(data)


REGRESSIONS: dict[str, tuple[str, Maker]] = {
    "a constraint whose config is a number": (
        "constraint-json",
        _json({"class_name": "MaxNorm", "config": 5}),
    ),
    "a constraint whose config is a text": (
        "constraint-json",
        _json({"class_name": "MaxNorm", "config": "ab"}),
    ),
    "a constraint that is a number": ("constraint-json", _json(5)),
    "a constraint that is a list": ("constraint-json", _json(["max_norm"])),
    "a regular expression with a set that may once be nested": ("glob", lambda: b"re:[[a]"),
    "a regular expression with too many repetitions": ("glob", lambda: b"re:a{4294967296}"),
    "a regular expression that is nested too deeply": ("glob", lambda: b"re:" + b"(" * 3000),
    "a parameter that is nested too deeply": (
        "rule",
        lambda: b"x min_max_norm=0..1 rate=" + b"[" * 5000,
    ),
    "an index that names a file too long for the system": (
        "weight-map",
        _json({"weight_map": {"w": "x" * 256 + ".safetensors"}}),
    ),
    "a map that names a file too long for the system": (
        "weight-map",
        _json({"weight_map": {"w": "\u20ac" * 86}}),
    ),
    "a journal that is nested too deeply": (
        "journal",
        lambda: b'{"target": "", "rules": "", "source": ""}\n' + _shard(b"[" * 3000),
    ),
    "a tensor with many sizes of thousands of digits": ("safetensors", _vast),
    "a layer with units that cannot be multiplied and written": (
        "keras-names",
        lambda: b'{"class_name": "GRU", "config": {"units": %s}}' % (b"9" * 4300),
    ),
    "an archive with a member that begins before its file": ("archive", _shortened),
    "an archive with a name that is not the UTF-8 it claims": ("archive", _misnamed),
    "an archive with a member that claims gigabytes": ("archive", _huge),
    "an archive with a damaged LZMA stream": ("archive", lambda: _corrupted(zipfile.ZIP_LZMA)),
    "an archive with a damaged bzip2 stream": ("archive", lambda: _corrupted(zipfile.ZIP_BZIP2)),
    "a value that is not UTF-8, put into a recipe": ("setting", lambda: b"layout=\x8c"),
}

# Inputs with a value at `%s`, which may be nested so deeply that it can be read but not shown, or
# read once but not a second time from somewhat higher up on the stack.
NESTED: dict[str, tuple[str, bytes]] = {
    "a constraint": ("constraint-json", b'{"class_name": "MaxNorm", "config": {"max_value": %s}}'),
    "a parameter": ("rule", b"x min_max_norm rate=%s"),
    "a recipe": ("recipe", b"version = 1\nexclude = %s"),
    "a value for a recipe": ("setting", b"rule.conv.config.a=%s"),
    "a config": ("keras-names", b'{"class_name": "Dense", "config": {"kernel_constraint": %s}}'),
}
