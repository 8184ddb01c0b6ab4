"""The child process that reads HDF5 first: what it dies of is a sentence, and leaves nothing."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import wproj
from wproj.formats import examining

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and limits are POSIX's")
forks = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks on Linux")


@pytest.fixture
def model(tmp_path):
    """A sound file."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["w"] = np.ones((3, 2), np.float32)
    return tmp_path / "m.h5"


def crash(_path):
    """What a bug of the library does."""
    os.kill(os.getpid(), signal.SIGSEGV)


def spin(_path):
    """Computes without end."""
    while True:
        pass


def wait(_path):
    """Waits without end."""
    time.sleep(1000)


def swallow(_path):
    """Takes more memory than there may be."""
    return bytearray(1 << 30)


def vanish(_path):
    """Ends without a word."""
    os._exit(0)


def leave(_path):
    """Dies with a temporary file that holds weights."""
    tempfile.mkstemp("unpacked")
    os.kill(os.getpid(), signal.SIGKILL)


FATES = {
    "a crash": (crash, "crashes the HDF5 library: a child process that opened it first died by SI"),
    "no end": (spin, "takes the HDF5 library more than 1 s to open"),
    "no answer": (wait, "takes the HDF5 library more than 1 s to open"),
    "memory": (swallow, "takes more than 384 MiB of memory to open"),
    "silence": (vanish, "makes its reader end without a word"),
    "a temporary file": (leave, "died by SIGKILL"),
}


@forks
@pytest.mark.parametrize("fate", FATES)
def test_a_child_that_dies_is_a_refusal(model, tmp_path, monkeypatch, call, fate):
    """Exit code 3 and a sentence; the file is not opened again, and nothing stays behind."""
    harm, said = FATES[fate]
    monkeypatch.setattr(examining, "open_checkpoint", harm)
    monkeypatch.setattr(examining, "_SECONDS", 1)
    monkeypatch.setattr(examining, "_PATIENCE", 1.5)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr("wproj.formats.hdf5.open_hdf5", None)
    result = call("ls", model.name)

    assert (result.code, result.stdout) == (3, "")
    assert result.stderr.startswith(f"error: {model.name}: ")
    assert said in result.stderr
    assert "hint: " in result.stderr
    assert list((tmp_path / "temporary").iterdir()) == []


@forks
def test_a_heap_that_sends_hdf5_in_circles_is_given_up(tmp_path, monkeypatch):
    """A text in HDF5's heap has the size 0, so that what follows is taken for the next of them."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for number in range(6):
            file.attrs[f"note{number}"] = f"d{number}"
        file.attrs["model_config"] = "d6"
    raw = (tmp_path / "m.h5").read_bytes()
    text = bytes([3]) + bytes(7) + bytes([2]) + bytes(7) + b"d2"
    assert raw.count(text) == 1
    (tmp_path / "m.h5").write_bytes(raw.replace(text, text[:8] + bytes(8) + text[16:]))
    monkeypatch.setattr(examining, "_SECONDS", 1)

    with pytest.raises(wproj.InputError, match="takes the HDF5 library more than 1 s to open"):
        wproj.open_checkpoint(tmp_path / "m.h5", hdf5="examine")


@forks
def test_a_fault_in_the_child_is_told_as_one(model, monkeypatch):
    """It is a defect of wproj, and not the file's fault."""
    monkeypatch.setattr(examining, "open_checkpoint", lambda _: 1 / 0)

    with pytest.raises(RuntimeError, match="ZeroDivisionError: division by zero"):
        wproj.open_checkpoint(model, hdf5="examine")


@forks
def test_an_interrupted_wait_ends_the_child(model, monkeypatch):
    """Ctrl-C leaves no process behind."""
    children = []
    fork = os.fork

    def remembered():
        children.append(fork())
        return children[-1]

    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fork", remembered)
    monkeypatch.setattr(examining, "open_checkpoint", wait)
    monkeypatch.setattr(examining, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        wproj.open_checkpoint(model, hdf5="examine")

    with pytest.raises(ProcessLookupError):
        os.kill(children[0], 0)


def test_what_the_child_refuses_is_refused_in_its_words(tmp_path):
    """As if it had been read here."""
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    told = []
    for how in ("read", "examine"):
        with pytest.raises(wproj.InputError) as caught:
            wproj.open_checkpoint(tmp_path / "m.h5", hdf5=how)
        told.append((str(caught.value), caught.value.hint))

    assert told[0] == told[1]


def test_what_is_sound_is_opened_alike(model):
    """The entries are the same."""
    read, examined = (wproj.open_checkpoint(model, hdf5=how) for how in ("read", "examine"))

    assert read == examined


@pytest.mark.slow
def test_beside_threads_an_interpreter_is_started(model, monkeypatch):
    """Forking is unsafe there; what it says is the same."""
    monkeypatch.setattr(examining, "_fork", None)
    bad = model.with_name("-c 'exit()' \";exit()\\.h5")  # It has to arrive as it is.
    bad.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        examined = wproj.open_checkpoint(model, hdf5="examine")
        with pytest.raises(wproj.InputError, match="is damaged HDF5: "):
            wproj.open_checkpoint(bad, hdf5="examine")
    finally:
        done.set()
        thread.join()

    assert [entry.name for entry in examined.entries] == ["w"]


def test_safetensors_has_no_child_and_no_hdf5(write_safetensors):
    """Nothing of this is imported for it, whatever the policy."""
    path = write_safetensors("model", {"w": np.ones((2, 2), np.float32)})
    program = (
        "import sys, wproj\n"
        "for how in ('examine', 'refuse'): wproj.open_checkpoint(sys.argv[1], hdf5=how)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    modules = done.stdout.split()

    assert "wproj.formats.safetensors" in modules
    assert not {"h5py", "subprocess", "wproj.formats.examining"} & set(modules)


def test_what_is_refused_does_not_load_the_library(model):
    """The HDF5 library is not even started."""
    program = (
        "import sys, wproj\n"
        "try: wproj.open_checkpoint(sys.argv[1], hdf5='refuse')\n"
        "except wproj.InputError: print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(model)], capture_output=True, text=True, check=True
    )

    assert "wproj.formats.opening" in done.stdout
    assert "h5py" not in done.stdout.split()


def test_the_limits_grow_with_what_there_is_to_read(model, monkeypatch):
    """Neighbors of a file do not count, the files of a folder do."""
    given = []
    monkeypatch.setattr(
        examining, "_fork", lambda *args: (given.append(args[2]), (0, b'["opened", "", null]'))[1]
    )
    monkeypatch.setattr(examining, "_start", examining._fork)
    with model.with_name("large").open("wb") as large:
        large.truncate(1 << 30)
    wproj.open_checkpoint(model, hdf5="examine")
    folder = model.with_name("folder")
    folder.mkdir()
    model.rename(folder / "model.weights.h5")
    model.with_name("large").rename(folder / "large")
    wproj.open_checkpoint(folder, hdf5="examine")

    assert given[0].seconds == 6
    assert given[0].nbytes < 385 << 20
    assert given[1].seconds > 200
    assert Path(folder / "large").stat().st_size < given[1].nbytes < 2 << 30
