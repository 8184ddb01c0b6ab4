"""`make fuzz`: all targets, with both engines, and a table of what came of it.

Exits with 1 if there is a finding; its smallest input and its traceback are kept in .fuzz/findings.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from fuzzing.logbook import Logbook
from fuzzing.work import Work

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".fuzz"
MEMORY = Path("/dev/shm")  # noqa: S108 # a folder of our own is made in it
NO_ATHERIS = (
    "atheris is not installed, which has wheels for Linux on x86-64 alone: "
    "the coverage-guided engine is left out; the other one does all, a tenth as fast"
)


@dataclass(frozen=True)
class Row:
    """What came of a piece of work."""

    work: Work
    executions: int
    seconds: float
    findings: int
    deaths: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a campaign, or one piece of it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--target", action="append", help="only this one; repeat for more")
    parser.add_argument("--engine", choices=("guided", "structured"), help="only this one")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        _do(Work(**{**json.loads(options.work), "folder": options.folder}))
        return 0
    return _campaign(options)


def _campaign(options: argparse.Namespace) -> int:
    from fuzzing.planning import split

    for name in ("findings", "deaths", "logbooks"):
        shutil.rmtree(options.folder / name, ignore_errors=True)
    engines = _engines(options.engine)
    works = split(options.runs, options.seed, options.folder, engines, options.target)
    print(f"{options.runs:,} executions, seed {options.seed}, findings go to {options.folder}")
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="wproj-fuzz-", dir=memory) as scratch,
        ThreadPoolExecutor(options.jobs) as pool,
    ):
        rows = list(pool.map(lambda work: _done(work, scratch), works))
    return _report(rows)


def _engines(only: str | None) -> tuple[str, ...]:
    from fuzzing.guided import available

    wanted = (only,) if only else ("guided", "structured")
    if "guided" in wanted and not available():
        print(NO_ATHERIS)
        return ("structured",)
    return wanted


def _do(work: Work) -> None:
    """A piece of work, in this process."""
    if work.engine == "guided":
        from fuzzing import guided

        guided.fuzz(work)
    else:
        from fuzzing import structured

        structured.fuzz(work)


def _done(work: Work, scratch: str) -> Row:
    """A piece of work in processes of its own: another one where one ended before its time."""
    from fuzzing.structured import note_death

    started, logbook = time.monotonic(), Logbook(work.logbook)
    words = {**asdict(work), "folder": None}
    command = [sys.executable, __file__, "--folder", str(work.folder), "--work", json.dumps(words)]
    environment = {**os.environ, "TMPDIR": scratch, "PYTHONWARNINGS": "error"}
    with (work.logbook.with_suffix(".log")).open("wb") as log:
        while (count := logbook.count) < work.runs:
            status = _status(command, environment, log)
            if status:
                note_death(work, logbook, status)
            if logbook.count == count:
                break
    seconds = time.monotonic() - started
    found, died = (len(list(at.glob(f"{work.name}-*.bin"))) for at in (work.found, work.deaths))
    row = Row(work, logbook.count, seconds, found, died)
    print(_line(row), flush=True)
    return row


def _status(command: Sequence[str], environment: dict[str, str], log: IO[bytes]) -> int:
    """Runs a command, for an hour at most; the status that it ended with, negative by signal."""
    options = {"stdout": log, "stderr": log, "env": environment, "cwd": ROOT}
    try:
        return subprocess.run(command, check=False, timeout=3600, **options).returncode
    except subprocess.TimeoutExpired:
        return -signal.SIGTERM


def _line(row: Row) -> str:
    rate = row.executions / max(row.seconds, 1e-9)
    name, engine = row.work.target, row.work.engine
    numbers = f"{row.executions:>10,} {row.seconds:>8.1f} {rate:>8,.0f} {row.findings:>8}"
    return f"{name:<16} {engine:<10} {numbers} {row.deaths:>8}"


def _report(rows: Sequence[Row]) -> int:
    heads = ("executions", "seconds", "a second", "findings", "deaths")
    print(f"\n{'target':<16} {'engine':<10} {heads[0]:>10} {heads[1]:>8} {heads[2]:>8} ", end="")
    print(f"{heads[3]:>8} {heads[4]:>8}")
    print(*map(_line, rows), sep="\n")
    executions, deaths = (
        sum(getattr(row, key) for row in rows) for key in ("executions", "deaths")
    )
    findings = sum(row.findings for row in rows)
    print(f"\nthe HDF5 library ended its process {deaths:,} times")
    short = any(row.executions < row.work.runs for row in rows)
    if short:
        print("some work could not be done: see the logs in .fuzz/logbooks")
    print(f"fuzz: {executions:,} executions, {findings:,} findings")
    return 1 if findings or short else 0


if __name__ == "__main__":
    sys.exit(main())
