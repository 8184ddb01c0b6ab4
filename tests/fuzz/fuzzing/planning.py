"""How the executions of a campaign are shared by targets and engines."""

from collections.abc import Collection, Sequence
from pathlib import Path

from fuzzing.table import TARGETS
from fuzzing.work import Work


def split(
    runs: int, seed: int, folder: Path, engines: Sequence[str], only: Collection[str] | None = None
) -> list[Work]:
    """The work of a campaign; the executions of all are `runs` together.

    Raises:
        SystemExit: A target does not exist, or nothing is left.
    """
    names = list(only or TARGETS)
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        raise SystemExit(f"no target {unknown[0]}; choose from {', '.join(TARGETS)}")
    shares = {(e, n): getattr(TARGETS[n], e) for e in engines for n in names}
    shares = {key: share for key, share in shares.items() if share}
    total, left = sum(shares.values()), runs
    works = []
    for (engine, name), share in shares.items():
        part = left * share // total if total else 0
        works.append(Work(engine=engine, target=name, runs=part, seed=seed, folder=folder))
        left, total = left - part, total - share
    return works
