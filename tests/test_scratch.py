"""Values that are in no checkpoint: the same in memory and in a temporary file."""

import errno
import os
import tempfile

import ml_dtypes
import numpy as np
import pytest

from wproj.errors import OutputError
from wproj.scratch import Scratch

DTYPES = [np.dtype(d) for d in ("float16", "float32", "float64", ml_dtypes.bfloat16)]
IN_MEMORY, IN_FILE = 1 << 30, 0


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """An empty folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("room", [IN_MEMORY, IN_FILE])
def test_what_is_written_is_read(dtype, room):
    """From any entry on, in parts of any size, over what was there."""
    rng = np.random.default_rng(0)
    expected = rng.standard_normal(10_001).astype(dtype)
    with Scratch(expected.size, dtype, room) as scratch:
        scratch.write(0, np.zeros(expected.size, dtype))
        for start in rng.permutation(range(0, expected.size, 97)):
            scratch.write(int(start), expected[start : start + 97])

        assert scratch.dtype == dtype
        for start, stop in ((0, expected.size), (1, 2), (500, 9_000), (10_000, 10_001), (7, 7)):
            assert scratch.read(start, stop).tobytes() == expected[start:stop].tobytes()
            assert scratch.read(start, stop).dtype == dtype


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize("room", [IN_MEMORY, IN_FILE])
def test_what_is_read_cannot_be_written_to(room):
    """A reader that computes in place would change the values of everybody else."""
    with Scratch(10, np.dtype(np.float32), room) as scratch:
        scratch.write(0, np.ones(10, np.float32))
        values = scratch.read(0, 10)
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 2
        scratch.write(0, np.full(10, 3, np.float32))

        assert scratch.read(0, 10).tolist() == [3] * 10


@pytest.mark.skipif(os.name == "nt", reason="other systems count blocks")
def test_memory_holds_up_to_the_limit_and_a_file_the_rest(temporary, monkeypatch):
    """The file has all of its room from the beginning, and is gone in the end."""
    made = []
    original = tempfile.TemporaryFile

    def record(*arguments, **options):
        made.append(original(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", record)
    with Scratch(1000, np.dtype(np.float64), 8000):
        assert made == []
    with Scratch(1001, np.dtype(np.float64), 8000):
        (file,) = made
        found = os.fstat(file.fileno())
        assert found.st_size == 8008
        assert found.st_blocks * 512 >= 8008
    assert file.closed
    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize("room", [IN_MEMORY, IN_FILE])
def test_no_entries_take_no_file(monkeypatch, room):
    """Nothing can be mapped of an empty file."""
    monkeypatch.setattr(tempfile, "TemporaryFile", None)
    with Scratch(0, np.dtype(np.float32), room) as scratch:
        scratch.write(0, np.empty(0, np.float32))
        assert scratch.read(0, 0).size == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the call is not there")
def test_a_disk_without_room_is_told_before_anything_is_written(temporary, monkeypatch, number):
    """A mapped file would end the process, without a word, when its page finds no block."""

    def refuse(*_arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OutputError) as caught:
        Scratch(1 << 20, np.dtype(np.float32), 0)

    assert os.strerror(number) in str(caught.value)
    assert str(4 << 20) in str(caught.value)
    assert str(temporary) in str(caught.value)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("size", [1, 1 << 18, (1 << 18) + 1, 700_001])
def test_where_the_system_cannot_reserve_room_zeros_are_written(temporary, monkeypatch, size):
    """To the last byte, and not beyond; a full disk fails there, too."""
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with Scratch(size, np.dtype(np.float32), 0) as scratch:
        assert not scratch.read(0, size).any()
        assert os.fstat(scratch._file.fileno()).st_size == 4 * size
        assert os.fstat(scratch._file.fileno()).st_blocks * 512 >= 4 * size
    assert list(temporary.iterdir()) == []


def test_a_disk_that_fills_up_while_zeros_are_written_is_told(temporary, monkeypatch):
    """As where the system can tell beforehand."""

    def refuse(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(OutputError, match="No space left on device"):
        Scratch(10, np.dtype(np.float32), 0)
    assert list(temporary.iterdir()) == []


def test_a_file_system_that_cannot_reserve_is_no_full_disk(temporary, monkeypatch):
    """NFS and FUSE may refuse `posix_fallocate` as such: zeros do, then."""

    def refuse(*_arguments):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    with Scratch(1000, np.dtype(np.float32), 0) as scratch:
        scratch.write(0, np.ones(1000, np.float32))
        assert scratch.read(0, 1000).all()
    assert list(temporary.iterdir()) == []


def test_a_failure_within_leaves_no_file(temporary):
    """Whatever it is."""
    with pytest.raises(KeyboardInterrupt), Scratch(1000, np.dtype(np.float32), 0):
        raise KeyboardInterrupt

    assert list(temporary.iterdir()) == []
