"""Copying: the same bytes, holes included, room for them, and files that change meanwhile."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from wproj.errors import FileError, WriteError
from wproj.formats import positional
from wproj.formats.atomic import check_room, copy_file, draft
from wproj.formats.base import Extent
from wproj.formats.folders import draft_folder
from wproj.formats.positional import ExtentStore, copy_range, shares_blocks
from wproj.formats.stamps import check_stamps, stamp_of, unchanged

BLOCK = 4096
SIZE = 40 * BLOCK + 123


@pytest.fixture(params=["kernel", "refused", "in parts", "missing"])
def kernel(request, monkeypatch):
    """`copy_file_range` as the system has it, refused, in small parts, or not there at all."""
    original = getattr(os, "copy_file_range", None)

    def refuse(*_arguments):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def some(source, target, count, *offsets):
        return original(source, target, min(count, 1000), *offsets)

    if request.param == "missing":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    elif original is None:
        pytest.skip("Linux only")
    elif request.param != "kernel":
        monkeypatch.setattr(os, "copy_file_range", refuse if request.param == "refused" else some)


@pytest.fixture
def data():
    """Bytes of which none is zero."""
    return np.random.default_rng(0).integers(1, 256, SIZE, np.uint8).tobytes()


@pytest.fixture
def opened(tmp_path):
    """Two files by descriptor: one with given bytes, and an empty one of a given size."""
    descriptors = []

    def files(content, size):
        for name, length in (("source", None), ("target", size)):
            path = tmp_path / name
            path.write_bytes(content if length is None else b"")
            descriptors.append(os.open(path, os.O_RDWR))
            if length is not None:
                os.ftruncate(descriptors[-1], length)
        return descriptors

    yield files
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, SIZE),
        (0, BLOCK),
        (0, 1),
        (SIZE - 1, SIZE),
        (1, SIZE - 1),
        (BLOCK - 1, BLOCK + 1),
        (BLOCK, 3 * BLOCK),
        (BLOCK + 1, 2 * BLOCK),
        (BLOCK + 1, 2 * BLOCK - 1),
        (5, 5),
        (SIZE, SIZE),
    ],
)
def test_a_range_is_copied_and_nothing_else(opened, data, start, stop):
    """Wherever it begins and ends, to the same place; positions of descriptors do not matter."""
    source, target = opened(data, SIZE)
    os.lseek(source, 77, os.SEEK_SET)
    told = []
    copy_range(source, target, start, stop, told.append)

    expected = bytearray(SIZE)
    expected[start:stop] = data[start:stop]
    assert os.pread(target, SIZE + 1, 0) == bytes(expected)
    assert os.pread(source, SIZE + 1, 0) == data
    assert sum(told) == stop - start


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("stride", [BLOCK, 3 * BLOCK, SIZE])
def test_progress_is_told_a_part_after_the_other(opened, data, monkeypatch, stride):
    """No part is larger than one call of the kernel may copy; the bytes are the same."""
    monkeypatch.setattr(positional, "_STRIDE", stride)
    source, target = opened(data, SIZE)
    told = []
    copy_range(source, target, 7, SIZE, told.append)

    assert os.pread(target, SIZE, 0) == bytes(7) + data[7:]
    assert sum(told) == SIZE - 7
    assert 0 < max(told) <= stride


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("start", [0, 10, SIZE - 1, SIZE])
def test_a_source_that_ends_before_the_range_is_an_error(opened, data, start):
    """Zeros in the place of what is missing would be taken for weights."""
    source, target = opened(data, SIZE + 10 * BLOCK)

    with pytest.raises(EOFError, match="became shorter"):
        copy_range(source, target, start, SIZE + 1)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("call", ["pread", "pwrite"])
def test_a_fault_of_the_disk_is_not_hidden(opened, data, monkeypatch, call):
    """The kernel's copy fails of any cause; what reads and writes instead tells of the cause."""

    def fail(*_arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    source, target = opened(data, SIZE)
    monkeypatch.setattr(os, "copy_file_range", fail, raising=False)
    monkeypatch.setattr(os, call, fail)

    with pytest.raises(OSError, match="Input/output error"):
        copy_range(source, target, 0, SIZE)


@pytest.mark.parametrize(
    ("call", "expected", "said"),
    [
        ("pread", FileError, "source: cannot be read: Input"),
        ("pwrite", OSError, "^.Errno 5. Input"),
    ],
)
def test_a_fault_of_the_original_names_it(tmp_path, data, monkeypatch, call, expected, said):
    """One of the copy is left to whoever knows what it is for."""

    def fail(*_arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "source").write_bytes(data)
    monkeypatch.setattr(os, "copy_file_range", fail, raising=False)
    monkeypatch.setattr(os, call, fail)

    with pytest.raises(expected, match=said):
        copy_file(tmp_path / "source", tmp_path / "copy")


@pytest.mark.parametrize("call", ["pread", "pwrite"])
def test_a_fault_of_the_original_is_told_when_entries_are_taken_over(
    opened, data, monkeypatch, call
):
    """It is not the target that has to be looked at."""

    def fail(*_arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    files = dict(zip(("source", "target"), opened(data, SIZE), strict=True))
    of = {k: ExtentStore(Path(k), v, Extent(0, SIZE), np.dtype("u1")) for k, v in files.items()}
    monkeypatch.setattr(os, "copy_file_range", fail, raising=False)
    monkeypatch.setattr(os, call, fail)

    with pytest.raises((FileError, OSError)) as caught:
        of["target"].adopt(of["source"], 0, SIZE)
    assert (caught.type is FileError) == (call == "pread")
    assert "target" not in str(caught.value)


@pytest.mark.usefixtures("kernel")
def test_a_write_of_a_part_is_continued(opened, data, monkeypatch):
    """The system may write less than it was given, and read less than it was asked for."""
    read, write = os.pread, os.pwrite
    monkeypatch.setattr(os, "pread", lambda fd, count, at: read(fd, min(count, 1001), at))
    monkeypatch.setattr(os, "pwrite", lambda fd, part, at: write(fd, part[:999], at))
    source, target = opened(data, SIZE)
    copy_range(source, target, 3, SIZE)

    assert read(target, SIZE, 0) == bytes(3) + data[3:]


# Holes


@pytest.fixture
def sparse(tmp_path):
    """A file that has data in three places, and none in between, before and behind."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        for at in (256, 700, 1000):
            file.seek(at * BLOCK)
            file.write(bytes(range(1, 256)) * 100)
        file.truncate(2000 * BLOCK + 5)
    if not hasattr(os, "SEEK_DATA") or path.stat().st_blocks * 512 > 100 * BLOCK:
        pytest.skip("files have no holes here")
    return path


@pytest.mark.usefixtures("kernel")
def test_holes_stay_holes(sparse, tmp_path):
    """A copy takes no more room than the original, and has its bytes."""
    copy_file(sparse, tmp_path / "copy")
    copy = tmp_path / "copy"

    assert copy.read_bytes() == sparse.read_bytes()
    assert copy.stat().st_blocks <= sparse.stat().st_blocks + 8 * 6


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("blocks", [(0, 256), (10, 20), (255, 257), (256, 700), (300, 2000)])
def test_ranges_that_begin_or_end_in_a_hole_are_copied(sparse, tmp_path, blocks):
    """Up to the last byte, which may be in a hole."""
    start, stop = (n * BLOCK + 5 for n in blocks)
    target = tmp_path / "target"
    with sparse.open("rb") as reader, target.open("w+b") as writer:
        writer.truncate(stop)
        copy_range(reader.fileno(), writer.fileno(), start, stop)

    data = sparse.read_bytes()
    assert target.read_bytes()[start:] == data[start:stop]
    assert not any(target.read_bytes()[:start])


@pytest.mark.usefixtures("kernel")
def test_a_range_that_is_one_hole_takes_no_room(sparse, tmp_path):
    """Not a block is written."""
    target = tmp_path / "target"
    with sparse.open("rb") as reader, target.open("w+b") as writer:
        writer.truncate(2000 * BLOCK + 5)
        copy_range(reader.fileno(), writer.fileno(), 1100 * BLOCK, 2000 * BLOCK + 5)

    assert target.stat().st_blocks == 0


def test_a_hole_at_the_end_is_no_missing_end(sparse, tmp_path):
    """But what is beyond the end of a sparse file is missing."""
    size = sparse.stat().st_size
    target = tmp_path / "target"
    with sparse.open("rb") as reader, target.open("w+b") as writer:
        writer.truncate(2 * size)
        copy_range(reader.fileno(), writer.fileno(), size - 10, size)
        for start in (0, size - 10, size):
            with pytest.raises(EOFError, match="became shorter"):
                copy_range(reader.fileno(), writer.fileno(), start, size + 1)


@pytest.mark.usefixtures("kernel")
def test_without_a_search_for_holes_the_bytes_are_the_same(sparse, tmp_path, monkeypatch):
    """Not every system has one."""
    monkeypatch.delattr(os, "SEEK_DATA")
    copy_file(sparse, tmp_path / "copy")

    assert (tmp_path / "copy").read_bytes() == sparse.read_bytes()


# What a copy leaves out


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    "holes",
    [
        [],
        [Extent(0, SIZE)],
        [Extent(0, 1), Extent(SIZE - 1, 1)],
        [Extent(5 * BLOCK, BLOCK), Extent(BLOCK + 1, 17), Extent(30 * BLOCK - 3, 2000)],
        [Extent(100, 200), Extent(300, 10), Extent(310, 0)],
        [Extent(SIZE, 0)],
    ],
    ids=str,
)
def test_what_somebody_else_writes_is_not_copied(tmp_path, data, holes):
    """Everything between is; in any order, side by side, or none."""
    (tmp_path / "source").write_bytes(data)
    copy_file(tmp_path / "source", tmp_path / "copy", holes)

    expected = bytearray(data)
    for hole in holes:
        expected[hole.offset : hole.offset + hole.nbytes] = bytes(hole.nbytes)
    assert (tmp_path / "copy").read_bytes() == bytes(expected)


def test_a_copy_never_replaces_anything(tmp_path, data):
    """It is a new file, for its owner alone to write."""
    (tmp_path / "source").write_bytes(data)
    (tmp_path / "copy").write_bytes(b"old")

    with pytest.raises(FileExistsError):
        copy_file(tmp_path / "source", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"old"


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("order", ["<", ">"])
def test_entries_are_taken_over_from_the_same_extent(opened, data, order):
    """Entry by entry, as they are stored, and no byte besides."""
    source, target = opened(data, SIZE)
    extent = Extent(13, 4 * 9000)
    dtype = np.dtype(f"{order}f4")
    stores = [ExtentStore(Path("w"), file, extent, dtype) for file in (source, target)]
    stores[1].adopt(stores[0], 1000, 8999)

    assert stores[1].read(1000, 8999).tobytes() == stores[0].read(1000, 8999).tobytes()
    begin, end = 13 + 4 * 1000, 13 + 4 * 8999
    expected = bytes(begin) + data[begin:end] + bytes(SIZE - end)
    assert os.pread(target, SIZE, 0) == expected


# Blocks that files share


def test_asking_for_shared_blocks_leaves_the_file_empty(opened, data):
    """Whatever the answer is here, the source is as it was."""
    source, target = opened(data, 0)
    answer = shares_blocks(source, target)

    assert answer in (True, False)
    assert os.fstat(target).st_size == 0
    assert os.pread(source, SIZE, 0) == data


def test_a_system_that_clones_is_believed_and_the_clone_emptied(opened, data, monkeypatch):
    """As Btrfs and XFS do."""
    fcntl = pytest.importorskip("fcntl")
    source, target = opened(data, 0)

    def clone(descriptor, _request, other):
        os.write(descriptor, os.pread(other, SIZE, 0))

    monkeypatch.setattr(fcntl, "ioctl", clone)

    assert shares_blocks(source, target) is True
    assert os.fstat(target).st_size == 0


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY])
def test_a_system_that_does_not_clone_is_believed(opened, data, monkeypatch, number):
    """It is no fault."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "ioctl", refuse)

    assert shares_blocks(*opened(data, 0)) is False


# Room


@pytest.fixture
def disk(monkeypatch):
    """A disk with so many bytes free, that shares blocks or does not."""

    def have(free, *, sharing=False):
        usage = SimpleNamespace(total=1 << 50, used=0, free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
        monkeypatch.setattr("wproj.formats.atomic.shares_blocks", lambda *_files: sharing)

    return have


@pytest.fixture
def two(tmp_path):
    """Two files of 1000 and 500 bytes, of which 300 and 100 will be written anew."""
    copies = []
    for name, size, hole in (("one", 1000, 300), ("two", 500, 100)):
        path = tmp_path / name
        path.write_bytes(bytes(size))
        copies.append((path, [Extent(50, hole - 10), Extent(hole + 50, 10)]))
    return copies


@pytest.mark.parametrize("free", [1500, 1501, 1 << 40])
def test_where_there_is_room_for_all_nothing_is_said(tmp_path, disk, two, free):
    """And nothing is left behind."""
    disk(free)
    check_room(tmp_path, two)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.parametrize("free", [0, 1, 1499])
def test_too_little_room_is_told_with_both_numbers(tmp_path, disk, two, free):
    """As what it is for the system: a full disk."""
    disk(free)

    with pytest.raises(OSError, match=f"1500 bytes are needed.* {free} left") as caught:
        check_room(tmp_path, two)
    assert caught.value.errno == errno.ENOSPC
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.parametrize(("free", "enough"), [(400, True), (399, False)])
def test_where_blocks_are_shared_only_what_is_written_needs_room(tmp_path, disk, two, free, enough):
    """The rest is the source's own."""
    disk(free, sharing=True)
    if enough:
        check_room(tmp_path, two)
        return
    with pytest.raises(OSError, match="400 bytes are needed"):
        check_room(tmp_path, two)


def test_nothing_to_copy_needs_no_room(tmp_path, disk):
    """A resumed run may have every shard."""
    disk(0)
    check_room(tmp_path, [])


@pytest.mark.parametrize("free", [0, 99])
def test_without_room_no_draft_is_begun(tmp_path, disk, free):
    """Of a file or of a folder: not a byte, not a name."""
    disk(free)
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "member").write_bytes(bytes(100))
    with (
        pytest.raises(WriteError, match=f"100 bytes are needed.* {free} left") as caught,
        draft(folder / "member", tmp_path / "file", overwrite=False),
    ):
        pytest.fail("a draft was begun")
    with (
        pytest.raises(WriteError, match=f"100 bytes are needed.* {free} left"),
        draft_folder(folder, ["member"], tmp_path / "folder", in_place=False, written={}),
    ):
        pytest.fail("a draft was begun")

    assert "the original is unchanged, and no partial file is left" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


# Files that change


CHANGES = {
    "appended": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "cut": lambda path: os.truncate(path, 5),
    "touched": lambda path: os.utime(path, ns=(1, 1)),
    "replaced": lambda path: (
        path.with_name("new").write_bytes(path.read_bytes()),
        os.utime(path.with_name("new"), ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns)),
        path.with_name("new").replace(path),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_stamp_tells_of_every_change(tmp_path, change):
    """Of a replacement of the same size and time, too; among any number of files."""
    paths = [tmp_path / "file", tmp_path / "other"]
    for path in paths:
        path.write_bytes(b"content")
    stamps = {path: stamp_of(path) for path in paths}
    check_stamps(stamps)
    CHANGES[change](paths[1])

    with pytest.raises(FileError, match="other: was changed by another process") as caught:
        check_stamps(stamps)
    assert "run again" in caught.value.hint


@pytest.mark.parametrize("change", ["read", "renamed away and back", "mode", "linked"])
def test_a_stamp_does_not_tell_of_what_leaves_the_bytes_alone(tmp_path, change):
    """Who reads along, or links, or sets a mode, does not spoil the work."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    stamp = stamp_of(path)
    if change == "read":
        path.read_bytes()
    elif change == "mode":
        path.chmod(0o600)
    elif change == "linked":
        (tmp_path / "other").hardlink_to(path)
    else:
        path.rename(tmp_path / "away").rename(path)

    check_stamps({path: stamp})


def test_a_file_that_is_gone_has_no_stamp(tmp_path):
    """A sentence, and exit code 3."""
    with pytest.raises(FileError, match="file: there is no such file"):
        stamp_of(tmp_path / "file")


@pytest.mark.parametrize("moment", ["before", "meanwhile"])
def test_work_on_files_that_change_is_an_error_at_both_ends(tmp_path, moment):
    """When it begins, and when it has ended."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    stamps = {path: stamp_of(path)}
    done = []

    def work():
        with unchanged(stamps):
            done.append("begun")
            os.utime(path, ns=(1, 1))

    if moment == "before":
        os.utime(path, ns=(2, 2))
    with pytest.raises(FileError, match="was changed by another process"):
        work()
    assert done == ["begun"] * (moment == "meanwhile")


def test_a_failure_on_the_way_is_told_first(tmp_path):
    """What went wrong is more than that a file has changed, too."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    stamps = {path: stamp_of(path)}

    def work():
        with unchanged(stamps):
            path.unlink()
            raise LookupError

    with pytest.raises(LookupError):
        work()
