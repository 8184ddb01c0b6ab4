"""Where the time of one thread goes: the reasons beside the goals that are missed.

Prints the table of docs/performance.md. A profiler watches, which makes Python's own share larger.

python benchmarks/profiling.py [--scale N] [--folder DIR]
"""

import argparse
import pstats
from collections.abc import Mapping
from pathlib import Path

import options
from commands import PROGRAMS, Command, files, running, spelled
from preparing import discard, prepare
from rows import audit, unsynced
from work import BF16, F16, MANY, SMALL, W, Work

# By the functions in which time is spent themselves, the calls of others left out.
KINDS: Mapping[str, tuple[str, ...]] = {
    "reading": ("posix.pread",),
    "writing": ("posix.pwrite", "posix.copy_file_range"),
    "converting": ("'astype' of", "dtypes.py:_odd", "dtypes.py:nearest"),
    "arithmetic": ("norms.py:", "scaling.py:", "changes.py:", "'reduce' of", "array_equal"),
    "repairing": ("repairing.py:", "aiming.py:", "'argsort' of", "'cumsum' of", "_axis"),
}
START, REST = "starting", "the rest"
RUNS: Mapping[str, Command] = {
    "W, axis 0": unsynced(W, 0, "--threads", "1")[0],
    "W in bf16, axis 0": unsynced(BF16, 0, "--threads", "1")[0],
    "W in f16, axis 0": unsynced(F16, 0, "--threads", "1")[0],
    "4096 tensors of 512 KiB": unsynced(MANY, 0, "--threads", "1")[0],
    "`audit` of W, axis 0": (*audit(W, 0)[0], "--threads", "1"),
}


def profiled(command: Command, folder: Path) -> dict[str, float]:
    """Seconds by what they are spent on."""
    stats = folder / "profile"
    words = spelled(command, folder)[1:]
    with running(
        [PROGRAMS["python"], "-m", "cProfile", "-o", str(stats), "-m", "wproj_cli", *words]
    ):
        pass
    (folder / "out").unlink(missing_ok=True)
    return kinds(pstats.Stats(str(stats)))


def kinds(stats: pstats.Stats) -> dict[str, float]:
    """The seconds of a profile by their kind."""
    found = dict.fromkeys((*KINDS, REST), 0.0)
    for (file, _line, function), (_calls, _primitive, own, *_others) in stats.stats.items():  # type: ignore[attr-defined] # pstats leaves it out
        said = f"{Path(file).name}:{function}"
        found[
            next((kind for kind, parts in KINDS.items() if any(p in said for p in parts)), REST)
        ] += own
    return found


def line(name: str, seconds: Mapping[str, float], start: float) -> str:
    """One line: the seconds in all, and the share of each kind."""
    total = sum(seconds.values())
    shares = {START: start, **seconds, REST: max(0.0, seconds[REST] - start)}
    return (
        f"| {name} | {total:.1f} s | "
        + " | ".join(f"{s / total:.0%}" for s in shares.values())
        + " |"
    )


def on(work: Work, command: Command) -> Command:
    """The command with another file."""
    return tuple(work if isinstance(word, Work) else word for word in command)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=options.divisor, default=1, metavar="N")
    parser.add_argument("--folder", type=Path, metavar="DIR")
    given = parser.parse_args()
    with options.workplace(given.folder) as folder:
        prepare([SMALL], folder)
        print(f"| work | in all | {' | '.join([START, *KINDS, REST])} |")
        print("|---" * (len(KINDS) + 4) + "|")
        for name, command in RUNS.items():
            (work,) = files([command])
            smaller = on(work.scaled(given.scale), command)
            prepare(files([smaller]), folder)
            start = sum(profiled(on(SMALL, command), folder).values())
            print(line(name, profiled(smaller, folder), start), flush=True)
            discard(folder, [SMALL])


if __name__ == "__main__":
    main()
