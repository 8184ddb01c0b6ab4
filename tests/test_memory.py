"""Memory does not grow with the file: whatever its size, it is projected within 256 MiB."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest

pytest.importorskip("resource", reason="this system does not measure processes")

pytestmark = pytest.mark.slow

MEBIBYTE, GIBIBYTE = 2**20, 2**30
LIMIT = 256 * MEBIBYTE

# Starts Python with the given words; tells the peak of its resident memory, and of the part of it
# that is no file's, which Linux tells at every moment. A process of its own, because one that is
# started by a large process begins with the peak of that.
LAUNCHER = """
import resource, subprocess, sys, time
process = subprocess.Popen([sys.executable, *sys.argv[1:]])
anonymous = 0
while process.poll() is None:
    try:
        with open(f"/proc/{process.pid}/status") as file:
            lines = [line.split() for line in file if line.startswith("RssAnon:")]
        anonymous = max([anonymous, *(int(line[1]) for line in lines)])
    except OSError:
        pass
    time.sleep(0.004)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(peak if sys.platform == "darwin" else peak * 1024, anonymous * 1024, file=sys.stderr)
sys.exit(process.returncode)
"""

MATRICES = {f"layers.{i}.weight": (4096, 4096) for i in range(32)}


class Peak(NamedTuple):
    """The most that a process had of resident memory, and of what is no file's; in bytes."""

    resident: int
    anonymous: int

    @property
    def taken(self):
        """What nobody but the process needed: all of it where the system does not tell."""
        return self.anonymous or self.resident


def measured(*words):
    """Runs Python; returns the process and the peak of its memory."""
    command = [sys.executable, "-c", LAUNCHER, *map(str, words)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    return run, Peak(*map(int, run.stderr.split()[-2:]))


@pytest.fixture(scope="module")
def block():
    """A matrix of 64 MiB, N(0, 0.05^2); every row and column has a norm of about 3.2."""
    values = np.random.default_rng(0).standard_normal((4096, 4096), np.float32)
    values *= 0.05
    return values


@pytest.fixture
def room(tmp_path):
    """A folder on a disk with so much room; emptied afterwards, whatever happens."""

    def folder(size):
        if shutil.disk_usage(tmp_path).free < size:
            pytest.skip(f"less than {size // GIBIBYTE} GiB of disk are free")
        return tmp_path

    yield folder
    for path in tmp_path.iterdir():
        path.unlink()


def header_of(shapes):
    """The header of a safetensors file of float32 tensors, and the bytes behind it."""
    header, position = {}, 0
    for name, shape in shapes.items():
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text, position


def write_safetensors(path, block, shapes, growth=0.01):
    """A file whose tensors are filled with the block, each time a little larger."""
    header, size = header_of(shapes)
    with path.open("wb") as file:
        file.write(header)
        for number in range(size // block.nbytes):
            file.write((block * np.float32(1 + growth * number)).data)


def write_repeated(path, block, shapes):
    """A file that repeats itself: equal entries are rounded alike, and many vectors repaired."""
    write_safetensors(path, block, shapes, growth=0)


def write_sparse(path, block, shapes):
    """A file whose tensors are holes but for their first rows."""
    header, size = header_of(shapes)
    with path.open("wb") as file:
        file.write(header)
        file.write(np.full(block.shape[1], 3, np.float32).tobytes())
        file.truncate(len(header) + size)


def write_hdf5(path, block, shapes):
    """The same as contiguous datasets, each of the shape of the block."""
    with h5py.File(path, "w") as file:
        for name in shapes:
            assert file.create_dataset(name, data=block).chunks is None


def write_packed(path, block, shapes):
    """The same in compressed chunks of a mebibyte."""
    with h5py.File(path, "w") as file:
        for name, shape in shapes.items():
            how = {"chunks": (256, 1024), "compression": 1, "shuffle": True}
            dataset = file.create_dataset(name, shape, np.float32, **how)
            for start in range(0, shape[0], len(block)):
                dataset[start : start + len(block)] = block * np.float32(1 + start / shape[0])


CASES = {
    "32 tensors": (write_safetensors, MATRICES, "max_norm=2 axis=0"),
    "one tensor": (write_safetensors, {"w": (131072, 4096)}, "max_norm=2 axis=0"),
    "one tensor that repeats itself": (
        write_repeated,
        {"w": (65536, 4096)},
        "max_norm=2 axis=0",
    ),
    "two steps": (write_safetensors, {"w": (65536, 4096)}, "non_neg+max_norm=1 axis=0"),
    "contiguous HDF5": (write_hdf5, MATRICES, "max_norm=2 axis=1"),
    "many vectors": (write_safetensors, {"w": (1 << 24, 8)}, "max_norm=0.1 axis=1"),
    "many vectors across": (write_safetensors, {"w": (2, 1 << 24)}, "max_norm=0.05 axis=0"),
    "packed HDF5": (write_packed, {"w": (32768, 4096)}, "max_norm=2 axis=0"),
}


@pytest.mark.parametrize("case", CASES)
def test_gibibytes_are_projected_in_bounded_memory(block, room, case):
    """What the whole process takes stays below 256 MiB."""
    write, shapes, spec = CASES[case]
    folder = room(8 * GIBIBYTE)
    source, target = folder / "source", folder / "target"
    write(source, block, shapes)
    waiting = () if case == "32 tensors" else ("--no-sync",)  # Once is enough for the disk.
    assert_bounded(source, target, spec, len(shapes), *waiting)


def test_a_tensor_of_eight_gibibytes_is_projected_in_bounded_memory(block, room):
    """Thirty times the memory, in one tensor whose vectors go from its first byte to its last."""
    folder = room(20 * GIBIBYTE)
    source, target = folder / "source", folder / "target"
    write_sparse(source, block, {"w": (524288, 4096)})
    assert_bounded(source, target, "max_norm=2 axis=0", 1, "--no-sync")
    assert target.stat().st_size > 8 * GIBIBYTE


def assert_bounded(source: Path, target: Path, spec: str, count: int, *options: str) -> None:
    """Projects a file; checks what it took, and that all of its tensors have changed."""
    start = time.perf_counter()
    words = ("project", source, "-r", f"* {spec}", "-f", "json", "-o", target, *options)
    run, peak = measured("-m", "wproj_cli", *words)
    seconds = time.perf_counter() - start
    told = f"{peak.anonymous / MEBIBYTE:.0f} of {peak.resident / MEBIBYTE:.0f} MiB anonymous"
    print(f"{spec}: peak {told}, {seconds:.1f} s")  # noqa: T201 # pytest -s

    assert run.returncode == 0, run.stderr
    summary = json.loads(run.stdout)["summary"]
    assert (summary["changed"], summary["violations"]) == (count, 0)
    assert peak.taken < LIMIT


@pytest.mark.parametrize(
    ("shape", "axis"), [((131072, 4096), 0), ((1 << 24, 8), 1)], ids=["long", "short"]
)
@pytest.mark.parametrize("verb", ["audit", "check"])
def test_what_only_reads_takes_no_more(block, room, verb, shape, axis):
    """The same blocks, without a target; of long vectors, and of many."""
    source = room(8 * GIBIBYTE) / "source"
    write_safetensors(source, block, {"w": shape})
    words = ("-a", axis) if verb == "audit" else ("-r", f"* max_norm=1000 axis={axis}")
    run, peak = measured("-m", "wproj_cli", verb, source, *words)

    assert run.returncode == 0, run.stderr
    assert peak.taken < LIMIT


@pytest.mark.parametrize(
    ("memory", "limit", "shape", "spec"),
    [
        ("128MB", 128_000_000, (65536, 4096), "non_neg+max_norm=1"),
        ("128MB", 128_000_000, (2, 1 << 24), "max_norm=0.05"),
        ("200MB", 200_000_000, (65536, 4096), "non_neg+max_norm=1"),
    ],
)
def test_less_memory_is_kept_to(block, room, memory, limit, shape, spec):
    """Whatever `--threads` asks for, libraries included."""
    folder = room(8 * GIBIBYTE)
    write_safetensors(folder / "source", block, {"w": shape})
    words = ("-r", f"* {spec} axis=0", "-o", folder / "target", "--threads", 16, "--no-sync")
    run, peak = measured(
        "-m", "wproj_cli", "project", folder / "source", *words, "--memory", memory
    )

    assert run.returncode == 0, run.stderr
    assert peak.taken < limit


def test_the_measure_sees_what_a_process_takes():
    """A process that holds 300 MiB is measured as such, a small one as small, a mapping as none."""
    small, little = measured("-c", "pass")
    large, much = measured("-c", f"import time; w = b'x' * {300 * MEBIBYTE}; time.sleep(0.1)")

    assert (small.returncode, large.returncode) == (0, 0)
    assert little.taken <= little.resident < 100 * MEBIBYTE
    assert much.resident >= much.taken > 300 * MEBIBYTE > LIMIT
