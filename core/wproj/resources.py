"""How many threads share the work, and how much memory they may take."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice

from wproj.errors import RequestError
from wproj.numerics.vectors import Each, Item, Result

# What Python, NumPy, HDF5 and repairs take, and what a thread takes for its tile in float64.
_BASE, _THREAD = 96 << 20, 24 << 20
MIN_MEMORY = 128_000_000


@dataclass(frozen=True, slots=True)
class Resources:
    """How many threads share the work, and how many bytes of memory the process may take.

    The result has the same bytes whatever they are. Beyond the memory come what describes each
    tensor, and the whole tensor for a user-defined constraint.

    Attributes:
        threads: At most so many; None for as many as this process has processors.
        memory: In bytes; fewer threads are used where they would take more.

    Raises:
        RequestError: There is less than one thread, or less memory than `MIN_MEMORY`.
    """

    threads: int | None = None
    memory: int = 256_000_000

    def __post_init__(self) -> None:
        """Refuses what is too little to work with."""
        if self.threads is not None and self.threads < 1:
            raise RequestError(f"at least one thread is needed, not {self.threads}")
        if self.memory < MIN_MEMORY:
            problem = f"{self.memory} bytes of memory are too few"
            raise RequestError(problem, f"the minimum is {MIN_MEMORY // 10**6}MB")

    @property
    def workers(self) -> int:
        """How many threads work."""
        wanted = self.threads or _processors()
        return max(1, min(wanted, (self.memory - _BASE) // _THREAD))

    @property
    def unpacked(self) -> int:
        """The bytes of one unpacked tensor, intermediate result, or all norms; beyond, a file."""
        return max(0, self.memory - _BASE - self.workers * _THREAD) // 5


DEFAULT = Resources()


@contextmanager
def working(resources: Resources) -> Iterator[Each]:
    """Gives a `map` that is in order and shared by threads; they have ended when this ends."""
    if resources.workers == 1:
        yield map
        return
    with ThreadPoolExecutor(resources.workers) as pool:

        def each(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
            return _in_order(pool, 2 * resources.workers, function, items)

        yield each


def _in_order(
    pool: ThreadPoolExecutor,
    ahead: int,
    function: Callable[[Item], Result],
    items: Iterable[Item],
) -> Iterator[Result]:
    """The results in order; at most `ahead` items are begun before they are asked for."""
    rest = iter(items)
    first = list(islice(rest, 2))
    if len(first) < 2:
        yield from map(function, first)
        return
    pending: deque[Future[Result]] = deque()
    try:
        for item in chain(first, rest):
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _processors() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
