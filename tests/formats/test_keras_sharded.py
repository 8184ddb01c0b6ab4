"""Keras weights in shards: one checkpoint of several files, read and written as a whole."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import wproj
from wproj import MaxNorm
from wproj.errors import FileError, OutputError, TargetError

MAP = "m.weights.json"
FIRST, SECOND = "m_00000.weights.h5", "m_00001.weights.h5"


def kernel(rows, columns, seed):
    """Weights whose columns have norms around 1."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(rows, columns)) / np.sqrt(rows)).astype(np.float32)


TENSORS = {
    FIRST: {"layers/dense/vars/0": kernel(8, 5, 1), "layers/dense_1/vars/0": kernel(5, 4, 2)},
    SECOND: {
        "layers/dense_1/vars/1": np.ones(4, np.float32),
        "layers/many/vars/2": kernel(3, 3, 3),
        "layers/many/vars/10": kernel(3, 3, 4),
    },
}
WEIGHT_MAP = {
    "/layers/dense/vars": FIRST,  # A string, as in early versions; else lists.
    "/layers/dense_1/vars": [FIRST, SECOND],
    "/layers/many/vars": [SECOND],
}


@pytest.fixture
def sharded(tmp_path):
    """A map and two shards as Keras 3.10 lays them out, one layer in both; the map's path."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name, tensors in TENSORS.items():
        with h5py.File(folder / name, "w") as file:
            for path, values in tensors.items():
                file[path] = values
    with h5py.File(folder / FIRST, "r+") as file:
        file["layers/dense/vars"].attrs["name"] = "encoder"
        file["layers/dense_1/vars"].attrs["name"] = "dense"
    write_map(folder / MAP, WEIGHT_MAP)
    return folder / MAP


def write_map(path, weight_map):
    """The map as Keras writes it."""
    text = json.dumps({"metadata": {"total_size": 1.0}, "weight_map": weight_map}, indent=4)
    path.write_text(text, encoding="utf-8")


def tensors(folder):
    """All tensors of all shards in a folder, read by h5py."""
    found = {}
    for shard in sorted(folder.glob("*.h5")):
        with h5py.File(shard) as file:
            file.visititems(lambda n, o: found.update({n: o[()]}) if hasattr(o, "shape") else None)
    return found


def files(folder):
    """The files in a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_tensors_of_all_shards_are_one_checkpoint(sharded):
    """In the order of the map, numbers counted as such, a layer's variables from both shards."""
    checkpoint = wproj.open_checkpoint(sharded)

    assert [(entry.name, entry.file) for entry in checkpoint.entries] == [
        ("encoder/0", FIRST),
        ("dense/0", FIRST),
        ("dense/1", SECOND),
        ("layers/many/vars/2", SECOND),
        ("layers/many/vars/10", SECOND),
    ]
    assert (checkpoint.format, checkpoint.layout) == ("keras-sharded", "keras")
    assert {e.name: e.named_by for e in checkpoint.entries}["encoder/0"] == "attribute"


def test_a_folder_with_map_and_shards_is_written(sharded, tmp_path):
    """The map byte for byte, and only the projected tensors changed, whatever shard they are in."""
    target = tmp_path / "out"
    before = files(sharded.parent)

    list(wproj.project(sharded, target, "*dense*/0 max_norm=0.5 axis=0"))

    old, new = tensors(sharded.parent), tensors(target)
    assert files(sharded.parent) == before
    assert (target / MAP).read_bytes() == before[MAP]
    assert old.keys() == new.keys()
    assert {n for n in old if (old[n] != new[n]).any()} == {"layers/dense_1/vars/0"}
    np.testing.assert_array_equal(
        new["layers/dense_1/vars/0"], MaxNorm(0.5)(old["layers/dense_1/vars/0"])
    )
    assert (target / SECOND).read_bytes() == before[SECOND]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source"]


def test_projecting_the_result_again_changes_no_byte(sharded, tmp_path):
    """The second folder is the first."""
    rule = "* max_norm=0.5 axis=0"
    list(wproj.project(sharded, tmp_path / "once", rule, exclude=["*/1"]))
    list(wproj.project(tmp_path / "once" / MAP, tmp_path / "twice", rule, exclude=["*/1"]))

    assert files(tmp_path / "once") == files(tmp_path / "twice")


def test_in_place_replaces_the_shards_that_changed(sharded):
    """The others, and the map, are not even touched."""
    folder = sharded.parent
    before, times = files(folder), {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}

    list(wproj.project(sharded, sharded, "dense/0 max_norm=0.5 axis=0", in_place=True))

    after = files(folder)
    assert {name for name in before if before[name] != after[name]} == {FIRST}
    assert after.keys() == before.keys()
    unchanged = {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != FIRST}
    assert unchanged == {name: time for name, time in times.items() if name != FIRST}


def test_modes_are_kept(sharded, tmp_path):
    """A read-only shard is read-only in the result, too."""
    (sharded.parent / FIRST).chmod(0o444)

    list(wproj.project(sharded, tmp_path / "out", "dense/0 max_norm=0.5 axis=0"))

    assert stat.S_IMODE((tmp_path / "out" / FIRST).stat().st_mode) == 0o444


@pytest.mark.parametrize(
    ("weight_map", "problem"),
    [
        ({"/layers/dense/vars": "gone.weights.h5"}, r"names the shard gone\.weights\.h5.*missing"),
        ({"/layers/dense/vars": "../other/x.h5"}, "not the name of a file beside it"),
        ({"/layers/dense/vars": ".."}, "not the name of a file beside it"),
        ({"/layers/dense/vars": "/etc/passwd"}, "not the name of a file beside it"),
        ({"/layers/dense/vars": "C:\\x.h5"}, "not the name of a file beside it"),
        ({"/layers/dense/vars": "a\\x.h5"}, "not the name of a file beside it"),
        ({"/layers/dense/vars": "x\0.h5"}, "not the name of a file beside it"),
        ({"/layers/dense/vars": ""}, "not the name of a file beside it"),
        ({"/layers/dense/vars": 3}, "not the name of a file beside it"),
        ({"/layers/dense/vars": []}, "to no file"),
        ({"/layers/dense/vars": "notes.txt"}, r"names the shard notes\.txt, which cannot be read"),
        ({"/layers/dense/vars": "folder"}, "names the shard folder, which cannot be read"),
        ({"/layers/dense/vars": SECOND}, "which does not hold it"),
        ({"/layers/dense_9/vars": FIRST}, "which does not hold it"),
        ({"/layers/dense/vars": [FIRST, SECOND]}, "which does not hold it"),
        ({}, "without the weight_map"),
        ([], "without the weight_map"),
        (None, "without the weight_map"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(sharded, tmp_path, weight_map, problem):
    """Nothing outside its folder is opened, and nothing is written."""
    folder = sharded.parent
    (folder / "notes.txt").write_text("no checkpoint")
    (folder / "folder").mkdir()
    write_map(sharded, weight_map)

    with pytest.raises(FileError, match=problem):
        list(wproj.project(sharded, tmp_path / "out", "* non_neg"))

    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_a_pipe_for_a_shard_is_refused_without_waiting(sharded):
    """Nobody writes into it."""
    (sharded.parent / SECOND).unlink()
    os.mkfifo(sharded.parent / SECOND)

    with pytest.raises(FileError, match="is not a regular file"):
        wproj.open_checkpoint(sharded)


@pytest.mark.parametrize(
    "text", ["{", '{"weight_map": ', "{" * 100_000, '{"weight_map": {"a": NaN}', '{"a": 1}']
)
def test_a_damaged_map_is_refused(sharded, text):
    """Whatever is wrong with its JSON."""
    sharded.write_text(text)

    with pytest.raises(FileError, match=r"is not JSON|without the weight_map"):
        wproj.open_checkpoint(sharded)


def test_a_tensor_in_two_shards_is_refused(sharded):
    """Which of them Keras would load is a matter of luck."""
    with h5py.File(sharded.parent / SECOND, "r+") as file:
        file["layers/dense_1/vars/0"] = kernel(5, 4, 9)

    with pytest.raises(FileError, match=f"vars/0 is in two shards, {FIRST} and {SECOND}"):
        wproj.open_checkpoint(sharded)


def test_tensors_outside_the_map_are_pointed_out(sharded, tmp_path):
    """Keras would not load them; they stay as they are."""
    with h5py.File(sharded.parent / SECOND, "r+") as file:
        file["layers/stale/vars/0"] = kernel(5, 4, 9)
    checkpoint = wproj.open_checkpoint(sharded)

    list(wproj.project(sharded, tmp_path / "out", "* max_norm=0.1 axis=0", exclude=["*/1"]))

    stray = f"{SECOND} holds 1 tensor that the map does not name: layers/stale/vars/0"
    assert checkpoint.notes == (stray,)
    np.testing.assert_array_equal(tensors(tmp_path / "out")["layers/stale/vars/0"], kernel(5, 4, 9))


def test_a_folder_never_replaces_anything(sharded, tmp_path):
    """Neither a file nor a folder nor a link, with --force or without it."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "folder", "link"):
        for overwrite in (False, True):
            with pytest.raises(TargetError, match="never replaces anything"):
                list(wproj.project(sharded, tmp_path / name, "* non_neg", overwrite=overwrite))
    with pytest.raises(TargetError, match="is written as a folder"):
        list(wproj.project(sharded, tmp_path / "out.weights.json", "* non_neg"))
    with pytest.raises(OutputError, match="there is no directory"):
        list(wproj.project(sharded, tmp_path / "no" / "out", "* non_neg"))

    assert (tmp_path / "file").read_text() == "mine"
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_target_that_appears_meanwhile_is_kept(sharded, tmp_path):
    """The folder that somebody else made wins."""
    target = tmp_path / "out"
    reports = wproj.project(sharded, target, "* max_norm=0.1 axis=0", exclude=["*/1"])
    next(reports)
    target.mkdir()
    (target / "mine").touch()

    with pytest.raises(TargetError, match="exists"):
        list(reports)

    assert [p.name for p in target.iterdir()] == ["mine"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source"]


def test_a_linked_shard_is_never_replaced_in_place(sharded, tmp_path):
    """As in a cache whose files are links; a folder elsewhere is fine."""
    real = sharded.parent / "blob"
    shutil.move(sharded.parent / FIRST, real)
    (sharded.parent / FIRST).symlink_to(real)
    before, rule = real.read_bytes(), "dense/0 max_norm=0.5 axis=0"

    with pytest.raises(TargetError, match="is a symbolic link"):
        list(wproj.project(sharded, sharded, rule, in_place=True))
    list(wproj.project(sharded, tmp_path / "out", rule))

    assert real.read_bytes() == before
    assert not (tmp_path / "out" / FIRST).is_symlink()
    assert sorted(p.name for p in sharded.parent.iterdir()) == sorted(["blob", MAP, FIRST, SECOND])


def test_non_finite_values_leave_nothing_behind(sharded, tmp_path):
    """The tensor in the last shard spoils the whole."""
    with h5py.File(sharded.parent / SECOND, "r+") as file:
        file["layers/many/vars/10"][1, 1] = np.nan

    with pytest.raises(wproj.InputError, match="layers/many/vars/10"):
        list(wproj.project(sharded, tmp_path / "out", "* max_norm=0.5 axis=0", exclude=["*/1"]))

    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_an_interrupted_folder_is_removed(sharded, tmp_path, number):
    """A signal in the middle of the shards: nothing under the final name, no draft."""
    program = Path(__file__).with_name("interrupted.py")
    run = subprocess.run(
        [sys.executable, program, str(sharded), str(tmp_path / "out"), str(int(number))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == 128 + number, run.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]
