"""What is told of progress adds up to what was announced, in every format and way to write."""

import importlib.util
from collections import Counter
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import wproj

_spec = importlib.util.spec_from_file_location(
    "fault_models", Path(__file__).with_name("faults") / "models.py"
)
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)

ROWS = 60
NBYTES = ROWS * 40 * 4


@pytest.fixture(params=models.FORMATS)
def source(request, tmp_path):
    """A checkpoint with two tensors of NBYTES, `w0` and `w1`, of which every column is outside."""
    models.FORMATS[request.param](tmp_path / "source", models.matrices(ROWS))
    return tmp_path / "source"


def applied(source, target, rule, **how):
    """What was told of each name, and what was announced."""
    plan, told = wproj.plan(source, rule), Counter()

    def tell(name, nbytes):
        assert nbytes >= 0
        told[name] += nbytes

    announced = wproj.volume(plan, target, **how)
    for _ in wproj.apply(plan, target, wproj.Numerics(), progress=tell, durable=False, **how):
        pass
    return told, announced


def size_of(path):
    """The bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files if each.is_file())


@pytest.mark.parametrize("pattern", ["*", "*w0*"])
@pytest.mark.parametrize("way", ["new", "in place", "nowhere"])
def test_what_is_told_is_what_was_announced(source, tmp_path, pattern, way):
    """Tensors by their names, and what is copied by the name of its file."""
    target = {"new": tmp_path / "out", "in place": source, "nowhere": None}[way]
    whole, rule = size_of(source), f"{pattern} max_norm=1 axis=0"
    how = {"in_place": True} if way == "in place" else {}
    told, announced = applied(source, target, rule, **how)
    tensors = {name: told[name] for name in told if "w" in name}

    assert sum(told.values()) == announced
    assert set(tensors.values()) >= {NBYTES}
    if way == "nowhere":
        assert announced == NBYTES * (2 if pattern == "*" else 1)
    elif way == "new":
        assert announced >= whole


def test_files_that_stay_are_told_of_when_they_are_copied(tmp_path):
    """A shard without a match, and what is no shard; in place they are left alone."""
    models.write_folder(tmp_path / "source", models.matrices(ROWS))
    told, _ = applied(tmp_path / "source", tmp_path / "out", "w0 max_norm=1 axis=0")
    left, _ = applied(
        tmp_path / "source", tmp_path / "source", "w0 max_norm=1 axis=0", in_place=True
    )

    assert told["w1.safetensors"] == size_of(tmp_path / "source/w1.safetensors")
    assert told["config.json"] == 2
    assert told["w0"] == NBYTES
    assert {"w1.safetensors", "config.json"}.isdisjoint(left)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    ("dtype", "scale"), [(ml_dtypes.bfloat16, 1), (np.float64, 1), (np.float64, 1e-200)]
)
def test_what_is_read_or_written_again_is_told_once(tmp_path, dtype, axis, scale):
    """Of many tiles: vectors are repaired in narrow dtypes, tiny ones measured twice in wide."""
    values = np.random.default_rng(0).standard_normal((3000, 700)) * scale
    w = values.astype(dtype)
    save_file({"w": w}, tmp_path / "source")
    told, _ = applied(tmp_path / "source", tmp_path / "out", f"w max_norm={scale} axis={axis}")
    plan, seen = wproj.audit_plan(str(tmp_path / "source"), (), (), (axis,), None), Counter()
    reports = list(wproj.measure(plan, progress=lambda name, nbytes: seen.update({name: nbytes})))

    assert told["w"] == w.nbytes
    assert seen == {"w": w.nbytes}
    assert len(reports) == 1
