"""How time and peak memory grow with the size of a file, and with the number of its tensors.

python benchmarks/growth.py [--scale N] [--rounds N] [--folder DIR] [--write DIR]

Prints its measurements as CSV; --write puts growth.csv and growth.svg into a folder. Of what takes
long there are fewer rounds, down to one: no round begins once those before took half a minute.
"""

import sys
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import median

import options
from commands import Command
from memory import Usage, available, usage
from plot import Panel, draw
from preparing import discard, prepare, shortage
from rows import project
from work import Work

# Tensors of 64 MiB in files of 64 MiB to 16 GiB, which are sparse beyond 2 GiB.
TENSORS = tuple(2**power for power in range(9))
WRITTEN = 32

# About 400 MB in 100,000 vectors, cut into 1 to 100,000 tensors.
VECTORS = 100_000
LENGTH = 1024
COUNTS = tuple(10**power for power in range(6))

# Seconds of rounds after which no further one begins.
ENOUGH = 30

SIZE = "MiB in tensors of 64 MiB, sparse beyond 2048"
NUMBER = "tensors in a file of 400 MB"


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement: seconds (median of all rounds), peaks in bytes (highest of all rounds).

    `rounds` is how many there were.
    """

    against: str
    bytes: int
    tensors: int
    form: str
    seconds: float
    resident: int
    anonymous: int
    rounds: int


def sizes(divisor: int) -> Iterator[Work]:
    """Files of growing size."""
    for count in TENSORS:
        form = "safetensors" if count <= WRITTEN else "sparse"
        yield Work("size.safetensors", count, 4096, 4096, form=form).scaled(divisor)


def counts(divisor: int) -> Iterator[Work]:
    """Files of one size, with more and more tensors."""
    for count in COUNTS:
        yield Work("count.safetensors", count, VECTORS // count, max(4, LENGTH // divisor))


def measured(against: str, work: Work, axis: int, folder: Path, rounds: int) -> Point:
    """One point."""
    prepare([work], folder)
    used = repeated(project(work, axis, "--no-sync"), folder, rounds)
    discard(folder)
    return Point(
        against,
        work.bytes,
        work.count,
        work.form,
        round(median(each.seconds for each in used), 4),
        max(each.resident for each in used),
        max(each.anonymous for each in used),
        len(used),
    )


def repeated(command: Command, folder: Path, rounds: int) -> list[Usage]:
    """A command in several rounds, or fewer where they take long; in one at least."""
    used = [usage(command, folder)]
    while len(used) < rounds and sum(each.seconds for each in used) < ENOUGH:
        used.append(usage(command, folder))
    return used


def points(folder: Path, rounds: int, divisor: int) -> Iterator[Point]:
    """All points; those for which the disk has no room are told of instead."""
    series = [("size", work, 0) for work in sizes(divisor)]
    series += [("tensors", work, 1) for work in counts(divisor)]
    for against, work, axis in series:
        reason = shortage((project(work, axis),), folder)
        if reason:
            print(f"{against} {work.bytes} {work.count}: skipped: {reason}", file=sys.stderr)
            continue
        yield measured(against, work, axis, folder, rounds)


def line(values: tuple[object, ...]) -> str:
    """A line of CSV."""
    return ",".join(map(str, values))


def panels(found: list[Point]) -> list[Panel]:
    """Time above memory, against size on the left and against tensors on the right."""
    size = [point for point in found if point.against == "size"]
    tensors = [point for point in found if point.against == "tensors"]
    mebibytes = [point.bytes / 2**20 for point in size]
    numbers = [float(point.tensors) for point in tensors]
    return [
        Panel(SIZE, "seconds", mebibytes, timed(size), "log"),
        Panel(NUMBER, "seconds", numbers, timed(tensors), "log"),
        Panel(SIZE, "MiB at the peak", mebibytes, peaks(size)),
        Panel(NUMBER, "MiB at the peak", numbers, peaks(tensors)),
    ]


def timed(side: list[Point]) -> dict[str, list[float]]:
    """The curve of seconds."""
    return {"wall time": [point.seconds for point in side]}


def peaks(side: list[Point]) -> dict[str, list[float]]:
    """The curves of memory, in MiB."""
    resident = [point.resident / 2**20 for point in side]
    return {"resident": resident, "anonymous": [point.anonymous / 2**20 for point in side]}


def main() -> None:
    """Runs the command line."""
    given = options.parser(__doc__.partition("\n")[0], "a folder for CSV and SVG").parse_args()
    if not available():
        sys.exit("error: this system does not tell of anonymous pages")
    found, lines = [], [line(tuple(field.name for field in fields(Point)))]
    print(lines[0])
    with options.workplace(given.folder) as folder:
        for point in points(folder, given.rounds, given.scale):
            found.append(point)
            lines.append(line(astuple(point)))
            print(lines[-1], flush=True)
    if given.write:
        (given.write / "growth.csv").write_text("\n".join([*lines, ""]), "utf-8")
        draw(panels(found), given.write / "growth.svg")


if __name__ == "__main__":
    main()
