"""What an interrupted run has finished: the shards of its draft, with digests and reports.

A line of JSON for the run, then one for each finished shard, each on the disk before the next
begins. The journal lies in the draft, so that it goes where the draft goes.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from wproj.errors import TargetError
from wproj.formats.atomic import DRAFT, Stamp
from wproj.formats.syncing import sync
from wproj.report import TensorReport

_NAME = f"journal{DRAFT}"


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
    """The journal of a draft that is being written; nobody else can take it over meanwhile."""

    def __init__(self, draft: Path, run: Run, done: Sequence[Shard] = ()) -> None:
        self._draft = draft
        self._path = draft / _NAME
        fresh = not self._path.exists()
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        _lock(self._descriptor)
        self._pool = ThreadPoolExecutor(1)
        self._pending: list[Future[None]] = []
        self.done = {shard.member: shard for shard in done}
        if fresh:
            self._append(run)

    def record(self, member: str, tensors: list[TensorReport], *, durable: bool) -> None:
        """A member of the draft is finished; its digest is taken while the next one is written."""
        self._pending.append(self._pool.submit(self._record, member, tensors, durable))

    def close(self) -> None:
        """Lets others take the draft over."""
        self._pool.shutdown()
        os.close(self._descriptor)

    def remove(self) -> None:
        """Ends the journal of a complete draft."""
        for future in self._pending:
            future.result()
        self._path.unlink()

    def _record(self, member: str, tensors: list[TensorReport], durable: bool) -> None:  # noqa: FBT001 # submitted
        path = self._draft / member
        if durable:
            sync(path)
        self._append(Shard(member=member, sha256=_file_digest(path), tensors=tensors))

    def _append(self, line: msgspec.Struct) -> None:
        os.write(self._descriptor, msgspec.json.encode(line) + b"\n")
        os.fsync(self._descriptor)


def find_draft(target: Path, run: Run) -> tuple[Path, list[Shard]] | None:
    """The draft of an interrupted run for `target`, and what of it is finished; None if none is.

    A shard that is not what the journal says counts as not finished.

    Raises:
        TargetError: The run was one of other rules or of another source, or still goes on.
    """
    other = None
    for draft in sorted(target.parent.glob(f".*{DRAFT}")):
        found, shards = _read(draft / _NAME)
        if found is None or found.target != run.target:
            continue
        if found == run:
            _check_idle(draft, target)
            return draft, [shard for shard in shards if _is_whole(draft, shard)]
        other = draft, "of other rules" if found.source == run.source else "of another source"
    if other is None:
        return None
    draft, what = other
    problem = f"the interrupted run whose draft is {draft} was {what}"
    raise TargetError(str(target), problem, "remove that draft, or run without --resume")


def _read(path: Path) -> tuple[Run | None, list[Shard]]:
    """The lines of a journal; a last one that was cut off is left out."""
    run: Run | None = None
    shards: list[Shard] = []
    with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        for line in path.read_bytes().split(b"\n")[:-1]:
            if run is None:
                run = msgspec.json.decode(line, type=Run)
            else:
                shards.append(msgspec.json.decode(line, type=Shard))
    return run, shards


def _check_idle(draft: Path, target: Path) -> None:
    descriptor = os.open(draft / _NAME, os.O_WRONLY)
    try:
        _lock(descriptor)
    except OSError as error:
        problem = f"another process is writing {draft}"
        raise TargetError(str(target), problem, "wait until it has ended") from error
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Keeps others from taking the draft over, until the descriptor is closed."""
    with suppress(ImportError):  # Windows has other locks.
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_whole(draft: Path, shard: Shard) -> bool:
    path = draft / shard.member
    plain = path.is_file() and not path.is_symlink()
    return plain and _file_digest(path) == shard.sha256


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
