"""Every call of the system fails once, in every format: nothing is lost, and nothing is left."""

import errno
import importlib.util
import mmap
import os
import re
import signal
import sys
from functools import cache
from pathlib import Path

import pytest
import typer.main

from wproj_cli.main import main

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the calls are POSIX's")

_spec = importlib.util.spec_from_file_location(
    "fault_models", Path(__file__).with_name("models.py")
)
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)

# Each format, and each way to write; `make faults` tries all of them with each other, but only with
# kills, races and full disks.
CASES = [
    ("safetensors", "new"),
    ("hdf5", "force"),
    ("gzip", "in place"),
    ("keras", "in place"),
    ("deflated", "new"),
    ("folder", "new"),
    ("folder", "in place"),
    ("folder", "resume"),
]

# The verbs that only read, and what they are given.
READING = {
    "audit": ["source", "-a", "0"],
    "check": ["source", *models.RULE],
    "diff": ["source", "source"],
}

# What fails, and how.
DOORS = {
    "pread": errno.EIO,
    "pwrite": errno.ENOSPC,
    "copy_file_range": errno.EIO,
    "posix_fallocate": errno.ENOSPC,
    "ftruncate": errno.EIO,
    "fsync": errno.EIO,
    "open": errno.EACCES,
    "mkdir": errno.EACCES,
    "link": errno.EACCES,
    "replace": errno.EACCES,
    "rename": errno.EACCES,
    "chmod": errno.EPERM,
}


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the program in the folder of a case; its code, and what it said in `said`.

    Typer takes most of the time to build its parser, so that is kept.
    """
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr("typer.main.get_command", cache(typer.main.get_command))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(words):
        code = main([*words, "--threads", "1"])
        call.said = capsys.readouterr().err
        return code

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def case(tmp_path, monkeypatch, run):
    """Lays out a case, and goes there."""
    monkeypatch.chdir(tmp_path)
    return lambda form, way: _Here(tmp_path / "place", form, way, run, rows=48)


class _Here(models.Case):
    """A case whose folder is the current one, however often it is laid out."""

    def reset(self):
        super().reset()
        os.chdir(self.place)


def failing(number):
    """What fails with the error of this number."""

    def fail(_real, *_arguments, **_options):
        raise OSError(number, os.strerror(number))

    return fail


def half_read(real, descriptor, count, offset):
    """A read that gives half of what it was asked for."""
    return real(descriptor, max(1, count // 2), offset)


def half_written(real, descriptor, data, offset):
    """A write that takes half of what it was given."""
    return real(descriptor, data[: max(1, len(data) // 2)], offset)


def runs(made, run, door, instead):
    """Runs a case once for each call of a function of `os`, which does something else that time.

    Yields the exit codes. There is one more run, in which everything goes well. The calls of a
    child that is a fork count, too: it shares the memory of the count, and is waited for.
    """
    real, number, counted = getattr(os, door), 0, mmap.mmap(-1, 8)

    def count(calls):
        counted[:] = calls.to_bytes(8)
        return calls

    def made_so_far():
        return int.from_bytes(counted[:])

    def call(*arguments, **options):
        if count(made_so_far() + 1) == number:
            return instead(real, *arguments, **options)
        return real(*arguments, **options)

    while made_so_far() >= number:
        made.reset()
        count(0)
        number += 1
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, door, call)
            waiting = door == "fsync" or made.words[0] != "project"
            code = run([*made.words, *([] if waiting else ["--no-sync"])])
        yield code


def objections(made, code, said):
    """What is wrong after a run."""
    found = [*made.problems(), *models.leftovers(made.place)]
    if "Traceback" in said or "internal fault" in said:
        found.append("told as a defect")
    if "the HDF5 library" in said:  # That it crashes, or takes too long, which it does not.
        found.append("the file is blamed")
    if code == 0 and not made.is_done():
        found.append("not done")
    if code != 0 and (code != 3 or not said.startswith("error: ")):
        found.append(f"exit code {code}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("form", "way"), CASES)
def test_whatever_call_fails_nothing_is_lost_and_nothing_is_left(case, run, form, way):
    """Exit code 3 and a sentence, or, where there is another way, the result."""
    made, found, failed = case(form, way), {}, set()
    for door in filter(lambda door: hasattr(os, door), DOORS):
        for number, code in enumerate(runs(made, run, door, failing(DOORS[door]))):
            problems = objections(made, code, run.said)
            if way == "resume" and code:  # Finished shards are left on purpose.
                problems = [p for p in problems if not models.DRAFT.search(p)]
            if problems:
                found[door, number] = problems, run.said
            failed |= {door} if code else set()
        assert code == 0, run.said

    assert found == {}
    assert {"pread", "open"} <= failed


@pytest.mark.parametrize("form", ["safetensors", "hdf5", "keras", "folder"])
@pytest.mark.parametrize("verb", READING)
def test_what_cannot_be_read_is_named(case, run, form, verb):
    """Whichever read fails, it is told as one, and of the file that was being read."""
    made = case(form, "new")
    made.words = [verb, *READING[verb]]
    told = [(code, run.said) for code in runs(made, run, "pread", failing(errno.EIO))][:-1]

    assert told
    for code, said in told:
        assert code == 3
        assert re.match(r"error: source(/w\d\.safetensors)?: .*cannot be read", said), said


@pytest.mark.parametrize("form", ["safetensors", "hdf5", "keras", "folder"])
def test_what_cannot_be_read_again_is_told_of_the_target(case, run, form):
    """A fault of the original names it; one of what was written is one of writing."""
    made = case(form, "new")
    told = [run.said for code in runs(made, run, "pread", failing(errno.EIO)) if code]
    ours = [said for said in told if said.startswith("error: could not write out: ")]
    others = [said for said in told if said not in ours]

    assert any("what was written cannot be read again" in said for said in ours)
    assert others
    for said in others:
        assert re.match(r"error: source(/w\d\.safetensors)?: .*cannot be read", said), said


def test_a_folder_that_is_replaced_in_part_is_told_so(case, run):
    """Its files are replaced one after the other; that the original is unchanged would be a lie."""
    made = case("folder", "in place")
    told = [(code, run.said) for code in runs(made, run, "replace", failing(errno.EACCES))]

    assert [code for code, _ in told] == [3, 3, 0]
    assert "the original is unchanged" in told[0][1]
    assert "w1.safetensors: Permission denied" in told[1][1]
    assert "replaced already, each as a whole: w0.safetensors; run again" in told[1][1]


@pytest.mark.slow
@pytest.mark.parametrize("form", models.FORMATS)
@pytest.mark.parametrize(("door", "instead"), [("pread", half_read), ("pwrite", half_written)])
def test_calls_that_do_half_of_the_work_are_gone_on_with(case, run, form, door, instead):
    """As the system may do at any time; the result is the same."""
    made = case(form, "new")
    for code in runs(made, run, door, instead):
        assert code == 0, run.said
        assert made.is_done()
