"""HDF5 from strangers is first read by a child process with limits, and given up if that dies.

The HDF5 library is C that was not made for hostile files: crafted ones make it crash, run on, or
take all memory. `examine` has a child open the checkpoint just as the caller is going to; the
caller opens what the child came through, and nothing else. This is no sandbox: it contains
accidents and crashes, not code that a file manages to run.

Linux forks, which takes milliseconds. Where other threads run, or on other systems, which cannot
fork or not safely, a new interpreter is started, which takes some tenths of a second. Memory is not
limited on Windows and macOS, and processor time not on Windows.
"""

import faulthandler
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from wproj.errors import FileError, InputError, WprojError, printable
from wproj.formats.opening import open_checkpoint

if sys.platform != "win32":
    import resource

# For files up to 10 MB the verdict takes less than 512 MiB and 10 s, with what the program has and
# does besides. Larger files may have more to tell.
_SECONDS, _BYTES = 6, 384 << 20
_BYTES_PER_SECOND = 4 << 20
_MOST_SECONDS, _MOST_BYTES = 600, 8 << 30

_PROGRAM = """
import sys
path, folder, seconds, nbytes, *sys.path = sys.argv[1:]
from wproj.formats.examining import serve
serve(path, folder, int(seconds), int(nbytes), 1)
"""
_PATIENCE = 5  # How many times as long it may take with all the waiting for disks and others.
_MOST_SAID = 1 << 16
_HINT = "get it from somebody whom you trust; --no-hdf5 refuses HDF5 altogether"


@dataclass(frozen=True, slots=True)
class _Limits:
    """What a child may take: seconds of processor time, and bytes beside those of the program."""

    seconds: int
    nbytes: int


def examine(path: Path, size: int) -> None:
    """Returns if a child process could open the checkpoint at `path`, of `size` bytes in all.

    Raises:
        InputError: It could not, or it crashed, or it took too much.
    """
    limits = _Limits(
        min(_SECONDS + size // _BYTES_PER_SECOND, _MOST_SECONDS),
        min(_BYTES + size, _MOST_BYTES),
    )
    run = _fork if sys.platform == "linux" and threading.active_count() == 1 else _start
    with _folder() as folder:
        code, said = run(path, folder, limits)
    if code is None or code == -getattr(signal, "SIGXCPU", 0):
        problem = f"takes the HDF5 library more than {limits.seconds} s to open"
        raise FileError(str(path), problem, _HINT)
    if code:
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        problem = f"crashes the HDF5 library: a child process that opened it first died {how}"
        raise FileError(str(path), problem, _HINT)
    _judge(path, said, limits)


@contextmanager
def _folder() -> Iterator[str]:
    """Where the child unpacks archives, so that nothing is left if it dies."""
    try:
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    except OSError:  # There is no room for temporary files, and then none for the child's.
        yield ""
        return
    with folder as name:
        yield name


def _judge(path: Path, said: bytes, limits: _Limits) -> None:
    """Raises what the child says that it met with."""
    try:
        kind, message, hint = json.loads(said)
    except ValueError as error:
        raise FileError(str(path), "makes its reader end without a word", _HINT) from error
    if kind == "memory":
        problem = f"takes more than {limits.nbytes >> 20} MiB of memory to open"
        raise FileError(str(path), problem, _HINT)
    if kind == "refused":
        raise InputError(printable(message), hint and printable(hint))
    if kind == "fault":
        raise RuntimeError(message)


def _fork(path: Path, folder: str, limits: _Limits) -> tuple[int | None, bytes]:
    """The exit code of a child that is a fork, None if it took too long; and what it said."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python warns of the threads that NumPy's linear algebra keeps, and JAX of its own, where
        # user code has imported it. They are idle, and the child uses neither.
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        try:
            serve(str(path), folder, limits.seconds, limits.nbytes, writer)
        finally:
            os._exit(os.EX_SOFTWARE)
    os.close(writer)
    said = None
    try:
        said = _read(reader, time.monotonic() + _PATIENCE * limits.seconds)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)  # That of one that has ended is lost.
        _, status = os.waitpid(child, 0)
    return (None if said is None else os.waitstatus_to_exitcode(status)), said or b""


def _read(reader: int, deadline: float) -> bytes | None:
    """What comes out of a pipe until it ends; None if that takes too long."""
    said = b""
    while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(reader, _MOST_SAID)
        if not part or len(said) > _MOST_SAID:
            return said
        said += part
    return None


def _start(path: Path, folder: str, limits: _Limits) -> tuple[int | None, bytes]:
    """The same of a child that is a new interpreter, which finds modules where this one does."""
    words = [str(path), folder, str(limits.seconds), str(limits.nbytes), *map(str, sys.path)]
    try:
        done = subprocess.run(  # noqa: S603 # this interpreter, no shell, and a constant program
            [sys.executable, "-I", "-c", _PROGRAM, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE * limits.seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, b""
    except OSError as error:
        problem = f"cannot be examined, as Python cannot be started: {error.strerror}"
        raise FileError(str(path), problem) from error
    return done.returncode, done.stdout


def serve(path: str, folder: str, seconds: int, nbytes: int, writer: int) -> None:
    """Opens the checkpoint at `path` within limits, writes what it met with, ends the process."""
    answer = os.dup(writer)
    with suppress(OSError):  # Where there is no such device, the C library is heard on crashes.
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        os.dup2(1, 2)
    faulthandler.disable()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    tempfile.tempdir = folder or None
    _limit(seconds, nbytes)
    os.write(answer, json.dumps(_open(Path(path))).encode()[:_MOST_SAID])
    os._exit(0)


def _open(path: Path) -> tuple[str, str, str | None]:
    """What opening the checkpoint meets with: a kind, a message and a hint."""
    try:
        open_checkpoint(path)
    except MemoryError:
        return "memory", "", None
    except WprojError as error:
        return "refused", str(error)[: _MOST_SAID // 16], error.hint
    except Exception as error:  # noqa: BLE001 # the caller's to tell of
        return "fault", f"{type(error).__name__}: {error}"[: _MOST_SAID // 16], None
    return "opened", "", None


def _limit(seconds: int, nbytes: int) -> None:
    """Sets the limits, as far as the system has them."""
    if sys.platform == "win32":
        return
    now = _size()
    wanted = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, seconds)]
    if now is not None:
        wanted.append((resource.RLIMIT_AS, now + nbytes))
    for limit, value in wanted:
        hard = resource.getrlimit(limit)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(limit, (most, hard))


def _size() -> int | None:
    """The bytes of this process's address space; None where that is not told."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
