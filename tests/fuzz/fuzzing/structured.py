"""The engine that knows the formats: hypothesis, which mutates valid inputs."""

import os
import warnings
from collections.abc import Callable
from hashlib import sha256

from hypothesis import HealthCheck, Phase, given, seed, settings

from fuzzing.judging import Finding, limit_memory
from fuzzing.logbook import Logbook, execute, keep
from fuzzing.scratch import folder
from fuzzing.table import TARGETS
from fuzzing.work import Work

# Hypothesis remembers what it has tried, and so takes more time and memory with each example.
_BATCH = 1000


def fuzz(work: Work) -> None:
    """Fuzzes a target until its logbook has as many executions as are wanted.

    In batches, each in a process of its own where the system can fork: of what ends it, the next
    one does not know.
    """
    logbook = Logbook(work.logbook)
    folder()  # Before anything is forked.
    while (count := logbook.count) < work.runs:
        examples = min(_BATCH, work.runs - count)
        status = _apart(lambda: _batch(work, logbook, examples, work.seed + count))  # noqa: B023 # called at once
        if status:
            note_death(work, logbook, status)
        if logbook.count == count:
            raise RuntimeError(f"{work.name} does nothing")


def note_death(work: Work, logbook: Logbook, status: int) -> None:
    """Keeps the input during which a process ended with this status."""
    native = TARGETS[work.target].native
    how = f"signal{-status}" if status < 0 else f"exit{status}"
    trace = f"the process ended with {how}\n"
    if native and status < 0:
        number = sha256(logbook.last).hexdigest()[:8]
        keep(work.deaths, f"{work.name}-{number}", Finding(how, native, trace), logbook.last)
    else:
        keep(work.found, work.name, Finding(how, "process", trace), logbook.last)


def _batch(work: Work, logbook: Logbook, examples: int, number: int) -> None:
    target = TARGETS[work.target]

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs)
    def run(data: bytes) -> None:
        if logbook.count < work.runs:
            execute(target, data, logbook, work.found, work.name)

    run()


def _apart(work: Callable[[], None]) -> int:
    """Does something in a process of its own; the status that it ended with, negative by signal."""
    if not hasattr(os, "fork"):
        work()
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # There are no threads that hold locks.
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        limit_memory()
        work()
        status = 0
    finally:
        os._exit(status)
