"""What counts as a finding: whatever leaves a parser but a refusal, and what takes too long."""

import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wproj.errors import WprojError

# Of processor time, so that a busy machine makes no findings. A parser in C is not interrupted by
# the first: the second then ends its process.
SECONDS, FATAL_SECONDS = 2.0, 10.0
MEMORY = 512 << 20


class TooLongError(BaseException):
    """One input took more than `SECONDS`; no `except Exception` of a parser swallows it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a parser did that it must not do.

    Attributes:
        kind: The class of the exception.
        place: Where in wproj it was raised, as `file.py:line`.
        trace: The traceback.
    """

    kind: str
    place: str
    trace: str


def judge(run: Callable[[bytes], None], data: bytes) -> Finding | None:
    """What is wrong with how a parser takes an input; None if it accepts or refuses it."""
    try:
        with _limited():
            run(data)
    except WprojError:
        return None
    except (Exception, TooLongError) as error:  # noqa: BLE001 # all of these are findings
        return _found(error)
    return None


def limit_memory(extra: int = MEMORY) -> None:
    """Lets this process take so much more memory than it has, where the system can do that."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + extra
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    except (ImportError, OSError):
        pass


def _found(error: BaseException) -> Finding:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "wproj" in Path(frame.filename).parts] or frames
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
    trace = "".join(traceback.format_exception(error, limit=-40))
    return Finding(type(error).__name__, place, trace)


@contextmanager
def _limited() -> Iterator[None]:
    if not hasattr(signal, "setitimer"):  # Windows: hangs show as tests that do not end.
        yield
        return
    before = signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_VIRTUAL, FATAL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGPROF, before)


def _too_long(_number: int, _frame: object) -> None:
    raise TooLongError(f"took more than {SECONDS:g} s")
