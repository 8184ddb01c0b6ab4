"""Laws of every parser: it accepts an input or refuses it, soon, whatever the input is.

`make fuzz` holds a million inputs against them; here are a few, those that have failed once, and
what makes sure that a failure would show.
"""

import os
import signal
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import strategies as st

from fuzzing.judging import MEMORY, TooLongError, judge
from fuzzing.logbook import Logbook, execute
from fuzzing.planning import split
from fuzzing.structured import fuzz, note_death
from fuzzing.table import TARGETS
from fuzzing.target import Target
from fuzzing.work import Work
from regressions import NESTED, REGRESSIONS
from run import Row, _report
from wproj.errors import FileError

EXAMPLES = 30
# Where a stack of a thousand ends that takes one, two or three places for a level.
DEPTHS = (*range(280, 340), *range(400, 510), *range(860, 1005))


@pytest.fixture
def work(tmp_path):
    """A small piece of work on a target."""

    def make(target, runs=EXAMPLES, engine="structured"):
        return Work(engine=engine, target=target, runs=runs, seed=6, folder=tmp_path)

    return make


@pytest.fixture
def target(monkeypatch):
    """A target of this test, called `own`, that does what it is told with an input."""

    def make(run, native=None):
        made = Target(run=run, seeds=lambda: [b"a"], inputs=st.binary(max_size=4), native=native)
        monkeypatch.setitem(TARGETS, "own", made)
        return made

    return make


def traces(work):
    """What findings say."""
    return [path.read_text(encoding="utf-8") for path in sorted(work.found.glob("*.txt"))]


@pytest.mark.parametrize("name", REGRESSIONS)
def test_what_was_found_once_is_refused_or_accepted(name):
    """The input that once led to a traceback, or to no end, now leads to neither."""
    target, make = REGRESSIONS[name]
    data = make()

    tracemalloc.start()
    try:
        finding = judge(TARGETS[target].run, data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert finding is None, finding.trace
    assert peak < MEMORY


@pytest.mark.parametrize("name", NESTED)
def test_nesting_of_any_depth_is_refused_or_accepted(name):
    """Where the stack ends depends on who calls: so every depth is tried around there."""
    target, template = NESTED[name]

    for depth in DEPTHS:
        finding = judge(TARGETS[target].run, template % (b"[" * depth + b"]" * depth))

        assert finding is None, finding.trace


@pytest.mark.parametrize("name", TARGETS)
def test_the_inputs_to_begin_with_are_accepted(name):
    """Seeds are valid: mutations of what is refused at once would find nothing."""
    for seed in TARGETS[name].seeds():
        refused = None
        try:
            TARGETS[name].run(seed)
        except FileError as error:
            refused = error

        assert refused is None or name in ("content", "archive"), refused


@pytest.mark.parametrize("name", TARGETS)
def test_valid_inputs_with_mutations_are_refused_or_accepted(work, name):
    """No exception but a refusal leaves a parser, within two seconds and 512 MiB."""
    piece = work(name)

    fuzz(piece)

    assert Logbook(piece.logbook).count == EXAMPLES
    assert traces(piece) == []


def test_an_exception_that_is_no_refusal_is_a_finding(work, target):
    """Its smallest input is kept, with the traceback; the campaign goes on."""

    def run(data):
        if len(data) > 1:
            raise KeyError(data)

    target(run)
    piece = work("own")

    fuzz(piece)

    assert Logbook(piece.logbook).count == EXAMPLES
    (trace,) = traces(piece)
    assert "KeyError at test_fuzz.py" in trace
    (kept,) = piece.found.glob("*.bin")
    assert len(kept.read_bytes()) > 1


def test_a_refusal_is_no_finding():
    """Any `WprojError` is what a parser is to say."""

    def run(_data):
        raise FileError("a", "is damaged")

    assert judge(run, b"") is None


@pytest.mark.parametrize("error", [RecursionError, MemoryError, UnicodeError, OSError])
def test_exhaustion_is_a_finding(error):
    """What a stack or a memory that ran out raises is not a refusal, either."""

    def run(_data):
        raise error

    assert judge(run, b"").kind == error.__name__


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_what_takes_too_long_is_a_finding(monkeypatch):
    """Even if the parser catches every `Exception`."""
    monkeypatch.setattr("fuzzing.judging.SECONDS", 0.05)

    def run(data):
        while True:
            with suppress(Exception):
                sum(data)

    assert judge(run, bytes(999)).kind == TooLongError.__name__


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize(("native", "findings", "deaths"), [(None, 1, 0), ("HDF5", 0, 1)])
def test_the_death_of_a_process_is_seen(work, target, native, findings, deaths):
    """It is a finding, or counted apart where a library is known to do so; what is left is done."""
    own = target(lambda data: os.kill(os.getpid(), signal.SIGKILL) if data else None, native)
    piece = work("own", runs=3)
    logbook = Logbook(piece.logbook)
    execute(own, b"", logbook, piece.found, piece.name)

    fuzz(piece)

    assert logbook.count == 3
    assert len(traces(piece)) == findings
    assert min(len(list(piece.deaths.glob("*.bin"))), 1) == deaths


def test_an_orderly_end_before_its_time_is_a_finding(work):
    """Of a target with a library that may die, too: an exit code is not a signal."""
    piece = work("hdf5")

    note_death(piece, Logbook(piece.logbook), 1)

    assert "exit1" in traces(piece)[0]


@pytest.mark.parametrize("runs", [1, 999, 1_000_000])
def test_the_shares_are_the_whole(tmp_path, runs):
    """Executions are neither lost nor done twice."""
    works = split(runs, 0, tmp_path, ("guided", "structured"))

    assert sum(work.runs for work in works) == runs
    assert {work.target for work in works} == set(TARGETS)


@pytest.mark.parametrize(("found", "code"), [(0, 0), (2, 1)])
def test_the_last_line_has_the_counts(work, capsys, found, code):
    """Deaths of a library are told on a line of their own, and are no findings."""
    rows = [Row(work("size", 500), 500, 1.5, found, 0), Row(work("hdf5", 500), 500, 1.5, 0, 3)]

    assert _report(rows) == code

    *_, deaths, last = capsys.readouterr().out.splitlines()
    assert deaths == "the HDF5 library ended its process 3 times"
    assert last == f"fuzz: 1,000 executions, {found} findings"


@pytest.mark.slow
def test_the_program_does_what_it_says(tmp_path):
    """Two pieces of work in two processes each, and exit code 0."""
    program = Path(__file__).with_name("run.py")
    words = ["--runs", 60, "--engine", "structured", "--target", "size", "--target", "axes"]
    command = [sys.executable, program, *words, "--folder", tmp_path / "fuzz"]

    run = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, check=False
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1] == "fuzz: 60 executions, 0 findings"
