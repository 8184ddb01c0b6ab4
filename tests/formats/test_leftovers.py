"""What killed runs left goes with the next run; what is in use, of use, or not wproj's stays."""

import errno
import json
import os
import time
import zipfile

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

import wproj
from wproj.formats.leftovers import draft_name, journal_of, occupied

fcntl = pytest.importorskip("fcntl", reason="locks and links are POSIX's")

RULE = "w max_norm=1 axis=0"
DAY = 86_400


@pytest.fixture
def source(tmp_path):
    """A checkpoint with one tensor that its rule changes."""
    path = tmp_path / "source"
    save_file({"w": np.full((3, 2), 5, np.float32)}, path)
    return path


@pytest.fixture
def names(tmp_path):
    """The names in the folder of the test."""
    return lambda: sorted(path.name for path in tmp_path.iterdir())


@pytest.fixture
def left(tmp_path):
    """A draft that a run for `out` left: a file, or a folder with or without a journal."""

    def make(kind, *, name=None):
        draft = tmp_path / (name or draft_name())
        if kind == "file":
            draft.write_bytes(b"half")
            return draft
        if kind != "journal alone":
            draft.mkdir()
            (draft / "shard").write_bytes(b"half")
        if kind != "folder":
            run = json.dumps({"target": "out", "rules": "", "source": ""})
            shards = json.dumps({"member": "shard", "sha256": "", "tensors": []})
            lines = {"resumable": [run, shards, ""], "cut off": [run, shards[:9]]}
            journal_of(draft).write_text("\n".join(lines.get(kind, [run, ""])))
        return draft

    return make


def age(path, seconds):
    """Has a file or a folder, and all in it, be untouched for so long."""
    then = time.time() - seconds
    for each in (*path.rglob("*"), path, journal_of(path)):
        if each.exists():
            os.utime(each, (then, then))


@pytest.mark.parametrize("kind", ["file", "folder", "journal alone", "begun", "cut off"])
@pytest.mark.parametrize("way", ["new", "in place"])
def test_what_a_killed_run_left_goes_with_the_next(source, project, left, names, kind, way):
    """Drafts, and journals without a finished shard."""
    left(kind)
    target = source if way == "in place" else source.with_name("target")
    project(source, target, RULE, in_place=way == "in place")

    assert names() == sorted({"source", target.name})


def test_what_a_killed_run_left_goes_even_if_the_next_one_fails(source, left, names):
    """Room is needed then, perhaps."""
    left("file")
    reports = wproj.project(source, source.with_name("target"), RULE)
    next(reports)
    reports.close()

    assert names() == ["source"]


def test_what_can_be_resumed_stays_until_its_target_is_there(source, project, left, names):
    """Then nobody can."""
    draft = left("resumable")
    project(source, source.with_name("one"), RULE)
    assert names() == sorted([draft.name, journal_of(draft).name, "one", "source"])
    project(source, source.with_name("out"), RULE)

    assert names() == ["one", "out", "source"]


def test_a_draft_in_use_stays(source, project, names):
    """Of two runs at once, the second one leaves the first alone, and both come to their end."""
    first = wproj.project(source, source.with_name("one"), RULE)
    next(first)
    before = names()
    project(source, source.with_name("two"), RULE)
    assert names() == sorted([*before, "two"])
    list(first)

    assert names() == ["one", "source", "two"]


def test_leftovers_stay_as_long_as_another_run_is_under_way(source, project, left, names):
    """Whose they are cannot be told; they go with the first run that is alone."""
    with occupied(source.parent):
        draft = left("file")
        project(source, source.with_name("one"), RULE)
        assert draft.exists()

    assert names() == ["one", "source"]


OTHERS = {
    "a link": lambda path: path.symlink_to("source"),
    "a link to a folder": lambda path: path.symlink_to(".", target_is_directory=True),
    "a FIFO": os.mkfifo,
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_neither_file_nor_folder_stays(source, project, tmp_path, names, what):
    """Nothing is ever removed through a link."""
    name = draft_name()
    OTHERS[what](tmp_path / name)
    project(source, source.with_name("target"), RULE)

    assert names() == sorted([name, "source", "target"])


@pytest.mark.parametrize(
    "name", ["draft.wproj-tmp", ".wproj-tmp", ".0123456789abcdef.wproj-tmp.bak", ".abc.wproj-tmp"]
)
def test_what_only_looks_like_a_draft_stays(source, project, left, names, name):
    """However old it is."""
    age(left("file", name=name), 2 * DAY)
    project(source, source.with_name("target"), RULE)

    assert names() == sorted([name, "source", "target"])


@pytest.mark.parametrize("kind", ["file", "folder", "begun"])
def test_drafts_of_other_machines_go_after_a_day(source, project, left, names, kind):
    """On a drive that machines share, one need not see the locks of the other."""
    draft = left(kind, name=".ffffffff0123456789abcdef.wproj-tmp")
    project(source, source.with_name("one"), RULE)
    assert draft.exists()
    age(draft, DAY + 60)
    if kind == "folder":
        (draft / "shard").touch()
        project(source, source.with_name("two"), RULE)
        assert draft.exists()
        age(draft, DAY + 60)
    project(source, source.with_name("three"), RULE)

    assert not [name for name in names() if name.startswith(".")]


def test_without_locks_drafts_go_after_a_day(source, project, left, names, monkeypatch):
    """Some network drives have none."""

    def refuse(*_arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    draft = left("file")
    project(source, source.with_name("one"), RULE)
    assert draft.exists()
    age(draft, DAY + 60)
    project(source, source.with_name("two"), RULE)

    assert names() == ["one", "source", "two"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root gives files away")
def test_drafts_of_other_users_stay(source, project, left, names):
    """Who they are knows best."""
    draft = left("file")
    os.chown(draft, 12345, 12345)
    project(source, source.with_name("target"), RULE)

    assert names() == sorted([draft.name, "source", "target"])


def test_a_lock_that_somebody_else_keeps_is_not_waited_for_long(
    source, project, left, names, monkeypatch
):
    """As with `flock DIR wproj ...`; leftovers stay then."""
    monkeypatch.setattr("wproj.formats.leftovers._PATIENCE", 0.05)
    draft = left("file")
    descriptor = os.open(source.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    project(source, source.with_name("target"), RULE)
    os.close(descriptor)

    assert names() == sorted([draft.name, "source", "target"])


def test_drafts_in_the_folder_of_a_model_go_with_the_next_run_in_place(tmp_path, project):
    """There they are beside its shards."""
    model = tmp_path / "model"
    model.mkdir()
    save_file({"w": np.full((3, 2), 5, np.float32)}, model / "model.safetensors")
    (model / "config.json").write_text("{}")
    (model / draft_name()).mkdir()
    project(model, model, RULE, in_place=True)

    assert sorted(path.name for path in model.iterdir()) == ["config.json", "model.safetensors"]


def test_weights_that_were_unpacked_go_with_the_next_archive(tmp_path, monkeypatch):
    """Where temporary files go."""
    inside, path = tmp_path / "inside", tmp_path / "m.keras"
    with h5py.File(inside, "w") as file:
        file["layers/w/vars/0"] = np.ones((3, 2), np.float32)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(inside, "model.weights.h5")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary" / draft_name()).write_bytes(b"half")
    wproj.open_checkpoint(path)

    assert list((tmp_path / "temporary").iterdir()) == []
