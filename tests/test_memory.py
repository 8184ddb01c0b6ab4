"""Memory does not grow with the file: two gibibytes are projected within 512 MiB."""

import json
import shutil
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

pytest.importorskip("resource", reason="this system does not measure processes")

pytestmark = pytest.mark.slow

MEBIBYTE = 2**20
LIMIT = 512 * MEBIBYTE
SIZE = 2**31

# Starts Python with the given words and tells the peak of its memory. A process of its own,
# because one that is started by a large process begins with the peak of that.
LAUNCHER = """
import resource, subprocess, sys
code = subprocess.call([sys.executable, *sys.argv[1:]])
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(peak if sys.platform == "darwin" else peak * 1024, file=sys.stderr)
sys.exit(code)
"""

MATRICES = {f"layers.{i}.weight": (4096, 4096) for i in range(32)}


def measured(*words):
    """Runs Python; returns the process and the peak of its resident memory in bytes."""
    command = [sys.executable, "-c", LAUNCHER, *map(str, words)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return run, int(run.stderr.split()[-1])


@pytest.fixture(scope="module")
def block():
    """A matrix of 64 MiB, N(0, 0.05^2); every row and column has a norm of about 3.2."""
    values = np.random.default_rng(0).standard_normal((4096, 4096), np.float32)
    values *= 0.05
    return values


@pytest.fixture
def folder(tmp_path):
    """A folder on a disk with room for two files; emptied afterwards, whatever happens."""
    if shutil.disk_usage(tmp_path).free < 8 * 2**30:
        pytest.skip("less than 8 GiB of disk are free")
    yield tmp_path
    for path in tmp_path.iterdir():
        path.unlink()


def write_safetensors(path, block, shapes):
    """A file whose tensors are filled with the block, over and over."""
    header, position = {}, 0
    for name, shape in shapes.items():
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in range(position // block.nbytes):
            file.write(block.data)


def write_hdf5(path, block, shapes):
    """The same as contiguous datasets, each of the shape of the block."""
    with h5py.File(path, "w") as file:
        for name in shapes:
            assert file.create_dataset(name, data=block).chunks is None


@pytest.mark.parametrize(
    ("name", "write", "shapes", "axis"),
    [
        ("matrices.safetensors", write_safetensors, MATRICES, 0),
        ("one.safetensors", write_safetensors, {"w": (131072, 4096)}, 0),
        ("contiguous.h5", write_hdf5, MATRICES, 1),
    ],
    ids=["32 tensors", "one tensor", "contiguous HDF5"],
)
def test_two_gibibytes_are_projected_in_bounded_memory(block, folder, name, write, shapes, axis):
    """The peak resident memory of the whole process stays below 512 MiB."""
    source, target = folder / name, folder / f"out-{name}"
    write(source, block, shapes)
    start = time.perf_counter()
    rule = ("-r", f"* max_norm=2 axis={axis}", "-f", "json")
    run, peak = measured("-m", "wproj_cli", "project", source, *rule, "-o", target)
    seconds = time.perf_counter() - start
    print(f"{name}: peak {peak / MEBIBYTE:.0f} MiB, {seconds:.1f} s")  # noqa: T201 # pytest -s

    assert run.returncode == 0, run.stderr
    summary = json.loads(run.stdout)["summary"]
    assert (summary["changed"], summary["violations"]) == (len(shapes), 0)
    assert target.stat().st_size == source.stat().st_size > SIZE
    assert peak < LIMIT


def test_the_measure_sees_what_a_process_takes():
    """A process that holds 600 MiB is measured as such, and a small one as small."""
    small, little = measured("-c", "pass")
    large, much = measured("-c", f"bytes = b'x' * {600 * MEBIBYTE}")

    assert (small.returncode, large.returncode) == (0, 0)
    assert little < 100 * MEBIBYTE
    assert much > 600 * MEBIBYTE > LIMIT
