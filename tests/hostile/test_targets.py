"""Where a result may not go, and what happens to what is there: nothing."""

import errno
import json
import os
import stat

import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,  # Each starts processes of its own, one after the other.
    pytest.mark.skipif(os.name == "nt", reason="links, FIFOs and modes are POSIX's"),
]

WORDS = ("-m", "w", "-c", "max_norm=1", "-a", "0")


@pytest.fixture
def model(write_safetensors):
    """A checkpoint that its rule changes."""
    return write_safetensors("model", {"w": np.full((3, 2), 5, np.float32)})


@pytest.fixture
def furnished(tmp_path, model):
    """A folder with everything that a target might be."""
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "sub").mkdir()
    (tmp_path / "link to model").symlink_to(model)
    (tmp_path / "link to old").symlink_to("old")
    (tmp_path / "link to nothing").symlink_to("nothing")
    (tmp_path / "here").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "hard link").hardlink_to(model)
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


# The options, the exit code, the path and what is said of it, and the hint.
TARGETS = {
    "it exists": (["-o", "old"], 2, "old: exists", "--force replaces it"),
    "it is the source": (["-o", "model"], 2, "model: is the file that is read", "--in-place"),
    "it is the source by another path": (
        ["-o", "sub/../model"],
        2,
        "model: is the file that is read",
        "--in-place",
    ),
    "it is the source by a linked folder": (
        ["-o", "here/model"],
        2,
        "here/model: is the file that is read",
        "--in-place",
    ),
    "it is the source by a hard link": (
        ["-o", "hard link"],
        2,
        "hard link: is the file that is read",
        "--in-place",
    ),
    "it is the source by a symbolic link": (
        ["-o", "link to model"],
        2,
        "link to model: is a symbolic link",
        "name the file that it points to",
    ),
    "it is the source, by force": (
        ["-o", "model", "--force"],
        2,
        "model: is the file that is read",
        "--in-place",
    ),
    "it is the source by a hard link, by force": (
        ["-o", "hard link", "--force"],
        2,
        "hard link: is the file that is read",
        "--in-place",
    ),
    "it is a symbolic link, by force": (
        ["-o", "link to old", "--force"],
        2,
        "link to old: is a symbolic link",
        "name the file that it points to",
    ),
    "it is a symbolic link to nothing, by force": (
        ["-o", "link to nothing", "--force"],
        2,
        "link to nothing: is a symbolic link",
        "name the file",
    ),
    "it is a folder, by force": (
        ["-o", "folder", "--force"],
        2,
        "folder: exists and is not a regular file",
        "choose another name",
    ),
    "it is a FIFO, by force": (
        ["-o", "fifo", "--force"],
        2,
        "fifo: exists and is not a regular file",
        "choose another name",
    ),
    "it is nothing": (["-o", ""], 2, "error: ", None),
    "its folder is missing": (
        ["-o", "missing/out"],
        3,
        "could not write missing/out: there is no directory missing",
        "the original is unchanged",
    ),
    "its folder is a file": (["-o", "old/out"], 3, "could not write old/out: ", "unchanged"),
    "its name is too long": (["-o", "n" * 300], 3, os.strerror(errno.ENAMETOOLONG), "unchanged"),
    "it is not said": ([], 2, "give -o DST, or --in-place", "-n only reports"),
    "it is said twice": (["-o", "out", "--in-place"], 2, "-o and --in-place exclude", None),
    "the source is a FIFO, in place": (["--in-place"], 3, "fifo: is not a regular file", None),
    "the source is a symbolic link, in place": (
        ["--in-place"],
        2,
        "link to model: is a symbolic link",
        "name the file that it points to",
    ),
}
# The same case in other words, tried within this process.
VARIANTS = {
    "it is the source by a linked folder",
    "it is the source, by force",
    "it is the source by a hard link, by force",
    "it is a symbolic link to nothing, by force",
    "it is a FIFO, by force",
    "it is nothing",
    "its folder is a file",
    "its name is too long",
    "it is not said",
    "it is said twice",
    "the source is a FIFO, in place",
}
SOURCES = {
    "the source is a FIFO, in place": "fifo",
    "the source is a symbolic link, in place": "link to model",
}


@pytest.mark.usefixtures("furnished")
@pytest.mark.parametrize("case", TARGETS)
def test_a_target_that_cannot_be_is_refused(
    run_or_call, snapshot, assert_refused, assert_told_in_json, case
):
    """Everything in the folder is as it was, links and modes included."""
    options, code, said, hint = TARGETS[case]
    before = snapshot()
    run = run_or_call(alone=case not in VARIANTS)
    result = run("project", SOURCES.get(case, "model"), *WORDS, *options, "-f", "json")

    assert_refused(result, code, said, hint=hint)
    assert_told_in_json(result)
    assert snapshot() == before


def test_force_replaces_a_file(call, furnished, model):
    """A regular one, keeping its mode; the source stays."""
    (furnished / "old").chmod(0o640)
    before = model.read_bytes()
    result = call("project", "model", *WORDS, "-o", "old", "--force")

    assert result.code == 0
    assert stat.S_IMODE((furnished / "old").stat().st_mode) == 0o640
    assert (furnished / "old").stat().st_size == model.stat().st_size
    assert model.read_bytes() == before != (furnished / "old").read_bytes()


def test_in_place_replaces_the_source(call, furnished, model):
    """And leaves its other hard link with what it was."""
    before = model.read_bytes()
    result = call("project", "model", *WORDS, "--in-place")

    assert result.code == 0
    assert (furnished / "hard link").read_bytes() == before != model.read_bytes()


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("option", ["-n", "--check"])
def test_a_rehearsal_writes_nothing(call, snapshot, option):
    """Not even where a target is named."""
    before = snapshot()
    result = call("project", "model", *WORDS, option, "-o", "out")

    assert result.code == (1 if option == "--check" else 0)
    assert snapshot() == before


@pytest.mark.parametrize("options", [["-o", "locked/out"], ["--in-place"]], ids=str)
def test_a_folder_that_may_not_be_written_is_told(
    run, tmp_path, model, snapshot, assert_refused, without_privileges, options
):
    """With the system's reason; the file in it is as it was."""
    (tmp_path / "locked").mkdir()
    model.rename(tmp_path / "locked/model")
    (tmp_path / "locked").chmod(0o555)
    before = snapshot()
    result = run("project", "locked/model", *WORDS, *options, before=without_privileges)
    after = snapshot()
    (tmp_path / "locked").chmod(0o755)

    assert_refused(result, 3, "could not write locked/", os.strerror(errno.EACCES))
    assert after == before


@pytest.mark.usefixtures("furnished")
@pytest.mark.parametrize(
    ("path", "verb"),
    [
        ("model", "ls"),
        ("hard link", "ls"),
        ("here/model", "audit"),
        ("model", "project"),
        ("model", "project without a match"),
        ("model", "ls without a match"),
    ],
)
def test_a_report_does_not_replace_a_checkpoint(call, snapshot, assert_refused, path, verb):
    """Whether the command succeeds or fails: what is read is never written."""
    words = {
        "ls": ["ls", "model"],
        "audit": ["audit", "model"],
        "project": ["project", "model", *WORDS, "-n"],
        "project without a match": ["project", "model", "-m", "nothing", "-c", "non_neg", "-n"],
        "ls without a match": ["ls", "model", "-m", "nothing"],
    }[verb]
    before = snapshot()
    result = call(*words, "--report", f"json={path}")

    assert_refused(result, 2, path, "would replace a checkpoint")
    assert snapshot() == before


def test_a_report_does_not_replace_a_file_that_could_not_be_read(
    call, tmp_path, snapshot, assert_refused
):
    """A damaged checkpoint may be all that is left of it."""
    (tmp_path / "damaged").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    before = snapshot()
    result = call("ls", "damaged", "--report", "json=damaged")

    assert_refused(result, 2, "json=damaged", "would replace a checkpoint")
    assert snapshot() == before


@pytest.mark.usefixtures("furnished")
@pytest.mark.parametrize("path", ["fifo", "folder", "link to old", "link to nothing"])
def test_a_report_replaces_regular_files_only(call, snapshot, path):
    """As root, a rename onto /dev/stdout or /dev/null would be the end of the device."""
    before = snapshot()
    result = call("ls", "model", "--report", f"json={path}")

    assert "Traceback" not in result.stderr
    assert {name: mode for name, (mode, _) in snapshot().items()} == {
        name: mode for name, (mode, _) in before.items()
    }


@pytest.mark.usefixtures("furnished")
def test_a_report_that_cannot_be_written_is_told(call, snapshot, assert_refused):
    """With its path and the reason, and exit code 3."""
    before = snapshot()
    result = call("ls", "model", "--report", "json=missing/report.json")

    assert_refused(result, 3, "could not write missing/report.json", "No such file or directory")
    assert snapshot() == before


@pytest.mark.usefixtures("furnished")
def test_a_report_replaces_an_older_one(call, tmp_path):
    """Whole, and beside the one on standard output."""
    result = call("ls", "model", "--report", "json=old", "-f", "json")

    assert result.code == 0
    assert json.loads((tmp_path / "old").read_text()) == json.loads(result.stdout)
    assert [path.name for path in tmp_path.iterdir() if "wproj-tmp" in path.name] == []
