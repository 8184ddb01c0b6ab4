"""Unzipped `.keras` archives: a folder in, a folder out, only the weights patched."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import wproj
from wproj.errors import FileError, TargetError

SAMPLE = Path(__file__).parents[2] / "sample_weights/digits_cnn.keras"
RULE = "hidden/kernel max_norm=1.5 axis=0"
HIDDEN = "layers/dense/vars/0"


@pytest.fixture
def unzipped(tmp_path):
    """The sample as a folder, with an asset as a layer with a vocabulary has one."""
    folder = tmp_path / "model"
    with zipfile.ZipFile(SAMPLE) as archive:
        archive.extractall(folder)
    (folder / "assets/layers").mkdir(parents=True)
    (folder / "assets/layers/vocabulary.txt").write_text("a\nb\n")
    return folder


def contents(folder):
    """The files below a folder by path."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_folder_says_what_its_archive_says(unzipped):
    """Same names, layers, declared constraints and axes."""
    zipped, folder = wproj.open_checkpoint(SAMPLE), wproj.open_checkpoint(unzipped)

    def told(checkpoint):
        return [
            (e.name, e.path, e.shape, e.dtype, e.layer, e.declared, e.incoming, e.named_by)
            for e in checkpoint.entries
        ]

    assert told(folder) == told(zipped)
    assert (folder.format, folder.layout) == ("keras-folder", "keras")


def test_declared_constraints_are_met_and_nothing_else_changes(unzipped, tmp_path):
    """The result is the archive's, and every other file is copied."""
    out = tmp_path / "out"
    list(wproj.apply(wproj.plan_declared(unzipped), out, wproj.Numerics()))
    list(wproj.apply(wproj.plan_declared(SAMPLE), tmp_path / "out.keras", wproj.Numerics()))

    before, after = contents(unzipped), contents(out)
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {"model.weights.h5"}
    with zipfile.ZipFile(tmp_path / "out.keras") as archive:
        assert archive.read("model.weights.h5") == after["model.weights.h5"]
    again = wproj.apply(wproj.plan_declared(out), None, wproj.Numerics())
    assert {report.status for report in again} == {"unchanged"}


def test_in_place_replaces_the_weights_alone(unzipped):
    """No other file is touched, and nothing is left beside them."""
    before = contents(unzipped)

    list(wproj.project(unzipped, unzipped, RULE, in_place=True))

    after = contents(unzipped)
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} == {"model.weights.h5"}


def test_weights_in_shards_are_found_by_their_map(unzipped, tmp_path):
    """As large models have them: model.weights.json instead of model.weights.h5."""
    (unzipped / "model.weights.h5").rename(unzipped / "model_00000.weights.h5")
    with h5py.File(unzipped / "model_00000.weights.h5") as file:
        groups = []
        file.visititems(lambda n, o: groups.append(n) if n.endswith("vars") and len(o) else None)
    shard = {f"/{group}": ["model_00000.weights.h5"] for group in groups}
    (unzipped / "model.weights.json").write_text(json.dumps({"weight_map": shard}))

    list(wproj.project(unzipped, tmp_path / "out", RULE))

    with h5py.File(tmp_path / "out/model_00000.weights.h5") as file:
        norms = np.sqrt(np.square(file[HIDDEN][()], dtype=np.float64).sum(axis=0))
    assert norms.max() <= 1.5
    assert contents(tmp_path / "out").keys() == contents(unzipped).keys()


def test_a_folder_inside_of_the_source_is_refused(unzipped):
    """It would be a part of itself."""
    for target in (unzipped / "out", unzipped / "assets" / "out"):
        with pytest.raises(TargetError, match="is inside of the folder that is read"):
            list(wproj.project(unzipped, target, RULE))
    with pytest.raises(TargetError, match="never replaces anything"):
        list(wproj.project(unzipped, unzipped, RULE))


def test_a_folder_without_a_config_has_names_from_the_weights(unzipped):
    """And says so."""
    (unzipped / "config.json").unlink()
    checkpoint = wproj.open_checkpoint(unzipped)

    assert "hidden/0" in {entry.name for entry in checkpoint.entries}
    assert any("no config.json" in note for note in checkpoint.notes)


def test_other_folders_are_refused(tmp_path):
    """Without weights there is nothing to project."""
    (tmp_path / "config.json").write_text("{}")

    with pytest.raises(FileError, match=r"is a folder without model\.weights\.h5"):
        wproj.open_checkpoint(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="links and pipes are POSIX's")
@pytest.mark.parametrize("place", ["secret", "assets/secret", "model.weights.h5", "config.json"])
@pytest.mark.parametrize("kind", ["link", "folder link", "dangling link", "pipe"])
def test_links_and_pipes_are_refused_unopened(unzipped, tmp_path, place, kind):
    """They could bring foreign files into the result, or block for ever."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("secret")
    (unzipped / place).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(unzipped / place)
    else:
        ends = {"link": "file", "folder link": ".", "dangling link": "nothing"}
        (unzipped / place).symlink_to(outside / ends[kind])

    with pytest.raises(FileError, match=f"holds {place}, which is "):
        list(wproj.project(unzipped, tmp_path / "out", RULE))

    assert not (tmp_path / "out").exists()


def test_a_draft_that_a_kill_left_behind_is_no_member(unzipped, tmp_path):
    """It is not copied into the next result."""
    shutil.copytree(unzipped, unzipped / ".0123456789abcdef.wproj-tmp")

    list(wproj.project(unzipped, tmp_path / "out", RULE))

    assert {name.split("/")[0] for name in contents(tmp_path / "out")} == {
        "assets",
        "config.json",
        "metadata.json",
        "model.weights.h5",
    }
