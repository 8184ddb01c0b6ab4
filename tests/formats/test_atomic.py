"""A target is replaced whole or not at all, and nothing but a regular file ever is."""

import dataclasses
import errno
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import wproj
from wproj.errors import FileError, TargetError, WriteError
from wproj.formats.atomic import check_target, draft

pytestmark = pytest.mark.skipif(os.name == "nt", reason="modes, links and FIFOs are POSIX's")

RULE = "w max_norm=1 axis=0"


@pytest.fixture
def source(tmp_path):
    """A checkpoint with one tensor that its rule changes."""
    path = tmp_path / "source"
    save_file({"w": np.full((3, 2), 5, np.float32)}, path)
    path.chmod(0o644)
    return path


@pytest.fixture
def umask():
    """Sets the umask for a test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.fixture
def leftovers(tmp_path):
    """The names in the folder of the test."""
    return lambda: sorted(path.name for path in tmp_path.iterdir())


def mode_of(path):
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("mode", "mask", "expected"),
    [
        (0o644, 0o022, 0o644),
        (0o664, 0o022, 0o644),
        (0o664, 0o002, 0o664),
        (0o666, 0o077, 0o600),
        (0o600, 0o000, 0o600),
        (0o444, 0o022, 0o444),
        (0o400, 0o077, 0o400),
        (0o755, 0o027, 0o750),
    ],
)
def test_a_new_file_has_the_mode_of_the_source_under_the_umask(
    source, project, umask, mode, mask, expected
):
    """What the user keeps private stays so."""
    source.chmod(mode)
    umask(mask)
    target = source.with_name("target")
    project(source, target, RULE)

    assert oct(mode_of(target)) == oct(expected)
    assert oct(mode_of(source)) == oct(mode)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_a_replaced_file_leaves_its_mode(source, project, umask, mode):
    """Whatever the source's mode is, and the umask."""
    umask(0o077)
    target = source.with_name("target")
    target.write_bytes(b"old")
    target.chmod(mode)
    project(source, target, RULE, overwrite=True)

    assert oct(mode_of(target)) == oct(mode)
    assert target.stat().st_size == source.stat().st_size


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_a_file_projected_in_place_keeps_its_mode(source, project, umask, mode):
    """It is replaced by a file of the same mode."""
    source.chmod(mode)
    umask(0o077)
    before = source.read_bytes()
    project(source, source, RULE, in_place=True)

    assert oct(mode_of(source)) == oct(mode)
    assert source.read_bytes() != before


def test_a_file_in_place_is_left_alone_if_nothing_changes(source, project):
    """It is the same file as before, with its times."""
    project(source, source, RULE, in_place=True)
    before = source.stat()
    (report,) = project(source, source, RULE, in_place=True)
    after = source.stat()

    assert report.status == "unchanged"
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_replacing_in_place_leaves_other_hard_links_with_the_old_file(source, project, tmp_path):
    """The other name keeps what it had."""
    other = tmp_path / "other"
    other.hardlink_to(source)
    before = source.read_bytes()
    project(source, source, RULE, in_place=True)

    assert other.read_bytes() == before != source.read_bytes()


def test_the_target_appears_with_the_last_report(source, tmp_path):
    """Before that there is no file of its name."""
    target = tmp_path / "target"
    reports = wproj.project(source, target, RULE)
    next(reports)

    assert not target.exists()
    assert list(reports) == []
    assert target.exists()


def test_an_iteration_that_ends_early_writes_nothing(source, tmp_path, leftovers):
    """Who does not take the last report gets no file."""
    reports = wproj.project(source, tmp_path / "target", RULE)
    next(reports)
    assert len(leftovers()) == 2
    reports.close()

    assert leftovers() == ["source"]


def test_a_draft_is_beside_its_target(source, tmp_path):
    """In one folder, hence on one file system, where a rename is atomic."""
    with draft(source, tmp_path / "target", overwrite=False) as made:
        assert made.path.parent == tmp_path
        assert made.path.name.endswith(".wproj-tmp")
        assert made.path.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    "failure", [RuntimeError, KeyboardInterrupt, SystemExit, MemoryError, wproj.InputError]
)
def test_no_failure_leaves_a_draft_behind(source, tmp_path, leftovers, failure):
    """Whatever is raised comes through, and the target is not made."""

    def fail(made):
        made.keep = True
        raise failure("stop")

    with pytest.raises(failure), draft(source, tmp_path / "target", overwrite=False) as made:
        fail(made)

    assert leftovers() == ["source"]


def test_a_draft_that_is_not_kept_is_removed(source, tmp_path, leftovers):
    """Keeping it is a decision, not the default."""
    with draft(source, tmp_path / "target", overwrite=True):
        pass

    assert leftovers() == ["source"]


def test_an_error_of_the_system_names_the_target(source, tmp_path, leftovers):
    """What a write reports, with its reason, and that nothing is lost."""
    with (
        pytest.raises(WriteError, match="target: No space left on device") as caught,
        draft(source, tmp_path / "target", overwrite=False),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert "the original is unchanged" in caught.value.hint
    assert leftovers() == ["source"]


@pytest.mark.parametrize(
    ("call", "number"),
    [("fsync", errno.EIO), ("link", errno.ENOSPC), ("link", errno.EROFS), ("open", errno.EMFILE)],
)
def test_a_call_that_fails_at_the_end_leaves_no_target(
    source, tmp_path, leftovers, monkeypatch, call, number
):
    """Neither the target nor the draft is there."""

    def fail(*_arguments, **_options):
        raise OSError(number, os.strerror(number))

    def finish(made):
        made.keep = True
        monkeypatch.setattr(os, call, fail)

    with (
        pytest.raises(WriteError, match="target"),
        draft(source, tmp_path / "target", overwrite=False) as made,
    ):
        finish(made)

    monkeypatch.undo()
    assert leftovers() == ["source"]


def test_the_draft_is_on_the_disk_before_it_gets_its_name(source, tmp_path, monkeypatch):
    """A crash after the rename must not find a file without its content."""
    target = tmp_path / "target"
    seen = []
    sync = os.fsync

    def watch(descriptor):
        seen.append((target.exists(), stat.S_ISREG(os.fstat(descriptor).st_mode)))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    with draft(source, target, overwrite=False) as made:
        made.keep = True

    assert seen[0] == (False, True)
    assert seen[-1] == (True, False)


def test_a_target_that_appears_meanwhile_is_not_replaced(source, tmp_path, leftovers):
    """Who comes second has to say that it wants to overwrite."""
    target = tmp_path / "target"
    reports = wproj.project(source, target, RULE)
    next(reports)
    target.write_bytes(b"somebody else's")

    with pytest.raises(TargetError, match="exists"):
        list(reports)
    assert target.read_bytes() == b"somebody else's"
    assert leftovers() == ["source", "target"]


def test_a_target_that_appears_meanwhile_is_replaced_if_so_asked(source, tmp_path, leftovers):
    """Overwriting holds until the end."""
    target = tmp_path / "target"
    reports = wproj.project(source, target, RULE, overwrite=True)
    next(reports)
    target.write_bytes(b"somebody else's")

    assert list(reports) == []
    assert target.stat().st_size == source.stat().st_size
    assert leftovers() == ["source", "target"]


def test_a_file_system_without_hard_links_will_do(source, project, tmp_path, monkeypatch):
    """FAT has none; the target is made all the same."""

    def refuse(*_arguments, **_options):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    project(source, tmp_path / "target", RULE)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_a_target_that_appears_is_not_replaced_without_hard_links_either(
    source, tmp_path, monkeypatch
):
    """Where the name cannot be taken atomically, a target that is there is still seen."""

    def refuse(*_arguments, **_options):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    target = tmp_path / "target"
    monkeypatch.setattr(os, "link", refuse)
    reports = wproj.project(source, target, RULE)
    next(reports)
    target.write_bytes(b"somebody else's")

    with pytest.raises(TargetError, match="exists"):
        list(reports)
    assert target.read_bytes() == b"somebody else's"


@pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="Linux only")
def test_without_the_copy_of_the_kernel_the_bytes_are_the_same(
    source, project, tmp_path, monkeypatch
):
    """Between some file systems, `copy_file_range` is refused."""
    project(source, tmp_path / "one", RULE)

    def refuse(*_arguments):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    project(source, tmp_path / "two", RULE)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_source_that_becomes_shorter_is_an_error(source, tmp_path, leftovers):
    """Between planning and writing; nothing is left."""
    reports = wproj.project(source, tmp_path / "target", RULE)
    source.write_bytes(source.read_bytes()[:-8])

    with pytest.raises(FileError, match="was changed by another process") as caught:
        list(reports)
    assert str(source) in str(caught.value)
    assert leftovers() == ["source"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.mkdir(),
        os.mkfifo,
        lambda path: path.symlink_to("source"),
        lambda path: path.symlink_to("elsewhere"),
        lambda path: path.symlink_to("/dev/null"),
    ],
    ids=["folder", "FIFO", "link to the source", "link to nothing", "link to a device"],
)
def test_what_is_not_a_regular_file_is_never_replaced(
    source, tmp_path, leftovers, make, overwrite, in_place
):
    """Not even when overwriting is allowed; it is what it was."""
    target = tmp_path / "target"
    make(target)
    before = target.lstat()

    with pytest.raises(TargetError, match=r"target: (is a symbolic link|.*not a regular file)"):
        wproj.project(source, target, RULE, overwrite=overwrite, in_place=in_place)
    assert target.lstat() == before
    assert leftovers() == ["source", "target"]


@pytest.fixture
def device(tmp_path):
    """A device that may be lost: one of our own for root, whom nothing would stop in /dev."""
    if os.geteuid():
        return Path("/dev/null")
    path = tmp_path / "device"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except OSError as error:
        pytest.skip(f"no device can be made here: {error}")
    return path


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_device_is_never_replaced(source, device, overwrite):
    """A rename would put a file in its place."""
    with pytest.raises(TargetError, match="not a regular file"):
        wproj.project(source, device, RULE, overwrite=overwrite)

    assert stat.S_ISCHR(device.lstat().st_mode)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["source", "hard", "sub/../source", "folder/source"])
def test_the_source_is_refused_as_its_own_target(source, tmp_path, name, overwrite):
    """By whatever name; only `in_place` replaces it."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "hard").hardlink_to(source)
    (tmp_path / "folder").symlink_to(tmp_path, target_is_directory=True)
    before = source.read_bytes()

    with pytest.raises(TargetError, match="is the file that is read"):
        wproj.project(source, tmp_path / name, RULE, overwrite=overwrite)
    assert source.read_bytes() == before


def test_a_source_that_is_a_link_is_read(source, project, tmp_path):
    """As in the cache of Hugging Face; the link and what it leads to stay."""
    link = tmp_path / "link"
    link.symlink_to("source")
    before = source.read_bytes()
    project(link, tmp_path / "target", RULE)

    assert link.is_symlink()
    assert source.read_bytes() == before != (tmp_path / "target").read_bytes()


def test_a_target_that_the_link_leads_to_is_the_source(source, tmp_path):
    """The file behind a link is the file that is read."""
    link = tmp_path / "link"
    link.symlink_to("source")

    with pytest.raises(TargetError, match="is the file that is read"):
        wproj.project(link, source, RULE, overwrite=True)


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "重" * 85], ids=["ASCII", "two", "three"])
def test_the_longest_names_that_a_system_allows_will_do(source, project, tmp_path, name):
    """The name of the draft is not longer than that of the target may be."""
    project(source, tmp_path / name, RULE)

    assert (tmp_path / name).stat().st_size == source.stat().st_size


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("missing/target", "there is no directory"),
        ("source/target", "Not a directory"),
        ("a" * 256, "File name too long"),
    ],
)
def test_a_place_that_cannot_be_is_an_error_of_writing(source, tmp_path, target, problem):
    """Before any work is done, with the reason."""
    with pytest.raises(WriteError, match=problem):
        check_target(source, tmp_path / target, overwrite=False, in_place=False)


def test_an_existing_target_needs_consent(source, tmp_path):
    """The hint says how it is given."""
    (tmp_path / "target").write_bytes(b"old")

    with pytest.raises(TargetError, match="target: exists") as caught:
        check_target(source, tmp_path / "target", overwrite=False, in_place=False)
    assert "--force" in caught.value.hint
    check_target(source, tmp_path / "target", overwrite=True, in_place=False)


def test_a_copy_that_lost_a_tensor_never_becomes_the_target(source, tmp_path, monkeypatch):
    """The finished copy is opened afresh, and held against the original."""
    target = tmp_path / "target"
    emptied = dataclasses.replace(wproj.open_checkpoint(source), entries=())
    reports = wproj.project(source, target, RULE)
    monkeypatch.setattr("wproj.writing.open_checkpoint", lambda _path: emptied)

    with pytest.raises(WriteError, match="does not hold the tensors"):
        list(reports)
    assert not target.exists()
    assert not list(tmp_path.glob(".*.wproj-tmp"))
