"""What an interrupted run has finished: the shards of its draft, with digests and reports.

A line of JSON for the run, then one for each finished shard, in a file beside the draft.
"""

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from wproj.errors import TargetError, WriteError
from wproj.formats.atomic import reason
from wproj.formats.leftovers import DRAFT, JOURNAL, journal_of
from wproj.formats.stamps import Stamp
from wproj.formats.syncing import sync
from wproj.report import TensorReport


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is about: the name of its target, and a digest of its rules and its source."""

    target: str
    rules: str
    source: str


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """A finished shard: its SHA-256, and what there is to say of its tensors."""

    member: str
    sha256: str
    tensors: list[TensorReport]


def describe_run(target: Path, rules: Sequence[str], source: Mapping[str, Stamp]) -> Run:
    """What tells a run from others: `rules` in any words, and the state of each file read."""
    return Run(
        target=target.name,
        rules=_digest(msgspec.json.encode(rules)),
        source=_digest(msgspec.json.encode(sorted(source.items()))),
    )


class Journal:
    """The journal of a draft; as long as it is open, nobody else can go on with the draft."""

    def __init__(self, draft: Path, run: Run, *, shards: Collection[str] = ()) -> None:
        """Begins the journal of a draft, or goes on with it; only `shards` can be finished.

        Raises:
            OSError: It cannot be written, or another process has it open.
        """
        self.draft = draft
        self._path = journal_of(draft)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            _lock(self._descriptor)
        except OSError:
            os.close(self._descriptor)
            raise
        found, finished = _read(self._path)
        self.done = {s.member: s for s in finished if s.member in shards and _is_whole(draft, s)}
        self._pool = ThreadPoolExecutor(1)
        self._pending: list[Future[None]] = []
        self._end = b"\n"  # Of a line that was cut off.
        if found is None:
            self._end = b""
            self._write(msgspec.json.encode(run))

    def record(self, member: str, tensors: list[TensorReport], *, durable: bool) -> None:
        """A member of the draft is finished; its digest is taken while the next one is written."""
        self._pending.append(self._pool.submit(self._record, member, tensors, durable))

    def settle(self) -> None:
        """Waits until everything is noted.

        Raises:
            OSError: It cannot be.
        """
        for future in self._pending:
            future.result()

    def close(self, *, leave: bool) -> None:
        """Lets others go on with the draft, if it is left for them; else the journal goes, too."""
        self._pool.shutdown()
        if not (leave and self.draft.exists()):
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _record(self, member: str, tensors: list[TensorReport], durable: bool) -> None:  # noqa: FBT001 # submitted
        path = self.draft / member
        if durable:
            sync(path)
        shard = Shard(member=member, sha256=_file_digest(path), tensors=tensors)
        self._write(msgspec.json.encode(shard))

    def _write(self, line: bytes) -> None:
        data, self._end = self._end + line + b"\n", b""
        while data:
            data = data[os.write(self._descriptor, data) :]
        os.fsync(self._descriptor)


def resumed(target: Path, run: Run, shards: Collection[str]) -> Journal | None:
    """The journal of the interrupted run for `target`, with what of `shards` is finished.

    A shard that is not what the journal says counts as not finished. None if there is no such run.

    Raises:
        TargetError: It was a run of other rules or of another source, or it still goes on.
    """
    other = None
    for path in sorted(target.parent.glob(f".*{JOURNAL}")):
        draft = path.with_name(path.name.removesuffix(JOURNAL) + DRAFT)
        found, _ = _read(path)
        if found is None or found.target != run.target or not draft.is_dir():
            continue
        with _idle(draft, target):
            journal = Journal(draft, run, shards=shards if found == run else ())
        if found == run:
            return journal
        journal.close(leave=True)
        other = draft, "of other rules" if found.source == run.source else "of another source"
    if other is None:
        return None
    draft, what = other
    problem = f"the interrupted run whose draft is {draft} was {what}"
    raise TargetError(str(target), problem, "remove that draft, or run without --resume")


def _read(path: Path) -> tuple[Run | None, list[Shard]]:
    """The lines of a journal; without those that are damaged, or were cut off."""
    run: Run | None = None
    shards: list[Shard] = []
    with suppress(OSError):
        for line in path.read_bytes().split(b"\n"):
            with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                if run is None:
                    run = msgspec.json.decode(line, type=Run)
                else:
                    shards.append(msgspec.json.decode(line, type=Shard))
    return run, shards


@contextmanager
def _idle(draft: Path, target: Path) -> Iterator[None]:
    """Tells that another process has the journal open."""
    try:
        yield
    except BlockingIOError as error:
        problem = f"another process is writing {draft}"
        raise TargetError(str(target), problem, "wait until it has ended") from error
    except OSError as error:
        raise WriteError(str(target), f"its journal: {reason(error)}", str(draft)) from error


def _lock(descriptor: int) -> None:
    """Keeps others from going on with the draft until the descriptor is closed, where it can.

    Raises:
        BlockingIOError: Another process has it.
    """
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError):
        pass  # Windows has other locks, and some network drives none.


def _is_whole(draft: Path, shard: Shard) -> bool:
    path = draft / shard.member
    plain = path.is_file() and not path.is_symlink()
    return plain and _file_digest(path) == shard.sha256


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
