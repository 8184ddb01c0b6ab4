"""What the worst files of under 10 MB cost a process of its own: memory, and time of the CPU."""

import io
import json
import os
import struct
import zipfile

import h5py
import harness
import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="wait4 is POSIX's"),
]

MEMORY, SECONDS = harness.BYTES, harness.SECONDS
TENSORS = 100_000


def safetensors(header, data=b""):
    """A file with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def many(count):
    """Tensors of no bytes, as many as fit."""
    fields = b'{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    return b"{" + b",".join(b'"%x":%s' % (n, fields) for n in range(count)) + b"}"


def one(shape):
    """The header of one tensor of this shape."""
    return b'{"w":{"dtype":"U8","shape":[' + shape + b'],"data_offsets":[0,4]}}'


# The bytes of the file, and what is said of it.
FILES = {
    "brackets": lambda: (safetensors(b'{"w":' + b"[" * 9_900_000), "nested too deeply"),
    "lists": lambda: (safetensors(b'{"w":[' + b"[]," * 3_200_000 + b"[]]}"), "not described"),
    "objects": lambda: (safetensors(b'{"w":[' + b"{}," * 3_200_000 + b"{}]}"), "not described"),
    "keys": lambda: (
        safetensors(b"{" + b",".join(b'"%x":{}' % n for n in range(800_000)) + b"}"),
        "unknown dtype",
    ),
    "a shape": lambda: (safetensors(one(b"9," * 4_000_000 + b"9")), "has 4000001 axes"),
    "long numbers": lambda: (
        safetensors(one(b",".join([b"9" * 4000] * 2400))),
        "has the shape [9",
    ),
    "a dtype": lambda: (safetensors(b'{"w":{"dtype":"' + b"x" * 9_900_000 + b'"}}'), "unknown dty"),
    "tensors": lambda: (safetensors(many(TENSORS), b"x"), "1 bytes follow"),
}


@pytest.fixture
def costs(tmp_path):
    """Runs `wproj WORDS` and returns its exit code, what it said, and what it used."""

    def run(*words):
        found = harness.verdict(words, tmp_path)
        return found.code, found.stderr, found.peak, found.seconds

    return run


@pytest.mark.parametrize("case", FILES)
def test_a_hostile_file_is_refused_within_the_budget(costs, tmp_path, case):
    """At most 512 MiB and 10 s."""
    content, problem = FILES[case]()
    (tmp_path / "bad").write_bytes(content)
    code, said, memory, seconds = costs("audit", "bad")

    assert len(content) < 10 << 20
    assert (code, problem in said) == (3, True)
    assert memory < MEMORY
    assert seconds < SECONDS


BOMBS = {
    "values": (b"[" + b"[]," * (5 << 20) + b"[]]", "has more than 2097152 values"),
    "as many values as may be": (b"[" + b"[]," * ((1 << 20) - 2) + b"[]]", "describe a model"),
    "blanks": (b" " * (64 << 20), "has more than 16777216 bytes"),
    "brackets": (b"[" * (1 << 21), "is nested too deeply"),
    "wide characters": (b'["' + "\U0001f600".encode() * ((4 << 20) - 1), "is not JSON"),
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_config_that_inflates_is_set_aside_within_the_budget(costs, tmp_path, case):
    """A few kilobytes in an archive may be as large as memory."""
    config, problem = BOMBS[case]
    with zipfile.ZipFile(tmp_path / "bad", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", config)
        weights = io.BytesIO()
        with h5py.File(weights, "w") as inside:
            inside["layers/dense/vars/0"] = np.ones((2, 3), np.float32)
        file.writestr("model.weights.h5", weights.getvalue())
    code, said, memory, seconds = costs("audit", "bad", "-a", "0")

    assert (tmp_path / "bad").stat().st_size < 1 << 20
    assert code == 0
    assert said.startswith("warning: bad: config.json inside ")
    assert problem in said
    assert memory < MEMORY
    assert seconds < SECONDS


@pytest.mark.parametrize("words", [("ls",), ("ls", "-m", "layers.1.weight"), ("init", "-o", "-")])
def test_a_hundred_thousand_tensors_are_told_within_the_budget(costs, tmp_path, words):
    """Their names are read, listed and compared in a time that grows with their number."""
    (tmp_path / "model").write_bytes(safetensors(many(TENSORS)))
    code, said, memory, seconds = costs(words[0], "model", *words[1:])

    assert code == (2 if "-m" in words else 0), said
    assert memory < MEMORY
    assert seconds < SECONDS
