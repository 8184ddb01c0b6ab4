"""Plans put into effect: nowhere, into a file, into a folder, or into the members of one."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from wproj.constraints.base import Numerics
from wproj.engine import Progress, running
from wproj.errors import FileError, WriteError
from wproj.formats.atomic import Draft, draft
from wproj.formats.base import Extent, TensorEntry
from wproj.formats.folders import draft_folder
from wproj.formats.leftovers import occupied
from wproj.formats.opening import open_checkpoint
from wproj.formats.stamps import check_stamps, unchanged
from wproj.journal import Journal, Run, describe_run, resumed
from wproj.report import TensorReport
from wproj.reporting import located, projected_report, skipped_report
from wproj.resources import Resources
from wproj.selection.assigning import Assignment, Skipped
from wproj.selection.plan import Plan
from wproj.tallying import Measures


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done, and how; see `projecting.project`."""

    plan: Plan
    numerics: Numerics
    resources: Resources
    progress: Progress
    verify: bool
    durable: bool

    @property
    def written(self) -> dict[str, list[Extent]]:
        """The members that will be written to, and the bytes in them that no copy needs."""
        items = self.plan.items
        return self.plan.checkpoint.extents(i.entry for i in items if isinstance(i, Assignment))


def volume(plan: Plan, target: str | os.PathLike[str] | None, *, in_place: bool = False) -> int:
    """How many bytes `apply`, with these arguments, tells its `progress` of.

    They are those of the tensors of the plan, and, if there is a target, those that are copied. Of
    what an interrupted run has finished, the one that goes on with it tells nothing.
    """
    checkpoint, entries = plan.checkpoint, [item.entry for item in plan.assignments]
    projected = sum(entry.nbytes for entry in entries)
    if target is None:
        return projected
    written = checkpoint.extents(entries)
    files = [checkpoint.folder / m for m in checkpoint.members if not in_place or m in written]
    copied = sum(checkpoint.stamps[path].size for path in files or [checkpoint.path])
    holes = sum(extent.nbytes for extents in written.values() for extent in extents)
    return copied - holes + projected


def rehearse(work: Work) -> Iterator[TensorReport]:
    """Reports what would change, and writes nothing."""
    checkpoint = work.plan.checkpoint
    with (
        unchanged(checkpoint.stamps),
        checkpoint.stores() as stores,
        running(work.resources, work.progress) as engine,
    ):
        for item in work.plan.items:
            yield _report(
                work, item, lambda item: engine.rehearse(item, stores(item.entry), work.numerics)
            )


def write_file(
    work: Work, target: Path, *, overwrite: bool, in_place: bool
) -> Iterator[TensorReport]:
    """Writes the result of a single file; in place only if anything changes."""
    source, holes = work.plan.checkpoint.path, work.written.get("", [])
    stamps = work.plan.checkpoint.stamps
    check_stamps(stamps)
    with (
        occupied(target.parent),
        draft(
            source,
            target,
            overwrite=overwrite or in_place,
            holes=holes,
            stamps=stamps,
            durable=work.durable,
            copied=partial(work.progress, source.name),
        ) as copy,
    ):
        yield from _write_items(work, work.plan.items, copy)
        _check_copy(work, copy, target)
        copy.keep = bool(copy.changed) or not in_place


def replace_members(work: Work) -> Iterator[TensorReport]:
    """Writes the result of several files in the place of those that change."""
    checkpoint = work.plan.checkpoint
    check_stamps(checkpoint.stamps)
    with (
        occupied(checkpoint.folder),
        draft_folder(
            checkpoint.folder,
            checkpoint.members,
            checkpoint.folder,
            in_place=True,
            written=work.written,
            stamps=checkpoint.stamps,
            durable=work.durable,
            copied=work.progress,
        ) as copy,
    ):
        for _, items in _by_member(work.plan):
            yield from _write_items(work, items, copy)
        _check_copy(work, copy, checkpoint.folder)
        copy.keep = bool(copy.changed)


def write_folder(work: Work, target: Path, *, resume: bool) -> Iterator[TensorReport]:
    """Writes the result of several files to a new folder.

    With `resume`, goes on with what an interrupted run has left, and leaves what this one has
    finished if it is interrupted.

    Raises:
        TargetError: What was left is of other rules or of another source.
    """
    checkpoint = work.plan.checkpoint
    stamps = {str(path): stamp for path, stamp in checkpoint.stamps.items()}
    rules = [*map(str, work.plan.items), str(work.numerics)]
    run = describe_run(target, rules, stamps)
    check_stamps(checkpoint.stamps)
    with occupied(target.parent):
        journal = resumed(target, run, work.written) if resume else None
        yield from _write_draft(work, target, run, journal, resume=resume)


def _write_draft(
    work: Work, target: Path, run: Run, journal: Journal | None, *, resume: bool
) -> Iterator[TensorReport]:
    """Writes a draft of the folder, or goes on with that of the journal, and gives it its name."""
    checkpoint = work.plan.checkpoint
    try:
        with draft_folder(
            checkpoint.folder,
            checkpoint.members,
            target,
            in_place=False,
            written=work.written,
            begun=(journal.draft, journal.done) if journal else None,
            stamps=checkpoint.stamps,
            durable=work.durable,
            copied=work.progress,
        ) as copy:
            journal = journal or Journal(copy.path, run)
            copy.leave = resume and bool(journal.done)
            yield from _write_members(work, copy, journal, leave=resume)
            _check_copy(work, copy, target)
            journal.settle()
            copy.keep = True
    finally:
        if journal is not None:
            journal.close(leave=resume)


def _write_members(
    work: Work, copy: Draft, journal: Journal, *, leave: bool
) -> Iterator[TensorReport]:
    """Writes all members but those that another run has finished, and notes them.

    From the first one that is finished, the draft is left for another run if `leave` is set.
    """
    noted = work.written if len(work.written) > 1 else ()
    for member, items in _by_member(work.plan):
        if member in journal.done:
            yield from journal.done[member].tensors
            continue
        if member not in noted:
            yield from _write_items(work, items, copy)
            continue
        reports = []
        for report in _write_items(work, items, copy):
            reports.append(report)
            yield report
        journal.record(member, reports, durable=work.durable)
        copy.leave = leave


def _by_member(plan: Plan) -> list[tuple[str, list[Assignment | Skipped]]]:
    """The items of each member, in the order of the plan; where they are apart, of no member."""
    groups = [(f or "", list(i)) for f, i in groupby(plan.items, key=lambda i: i.entry.file)]
    count = Counter(member for member, _ in groups)
    return [(member if count[member] == 1 else "", items) for member, items in groups]


def _write_items(
    work: Work, items: Sequence[Assignment | Skipped], copy: Draft
) -> Iterator[TensorReport]:
    checkpoint = work.plan.checkpoint
    with (
        checkpoint.stores() as before,
        checkpoint.stores(copy.path, writable=True) as after,
        running(work.resources, work.progress) as engine,
    ):

        def project(item: Assignment) -> Measures:
            entry = item.entry
            blank = any(checkpoint.extents([entry]).values())
            return engine.project(
                item, before(entry), after(entry), work.numerics, blank=blank, verify=work.verify
            )

        for item in items:
            report = _report(work, item, project)
            if report.status == "changed":
                copy.changed.update(checkpoint.extents([item.entry]))
            yield report


def _report(
    work: Work, item: Assignment | Skipped, project: Callable[[Assignment], Measures]
) -> TensorReport:
    if isinstance(item, Skipped):
        return skipped_report(item.entry, item.rule, item.reason)
    with located(work.plan.checkpoint.path, item.entry):
        measures = project(item)
    return projected_report(item, measures)


def _check_copy(work: Work, copy: Draft, target: Path) -> None:
    """Opens the finished copy afresh: it has to hold the same tensors, if with other values.

    Raises:
        WriteError: It does not.
        FileError: The original has changed in the meantime.
    """
    checkpoint = work.plan.checkpoint
    check_stamps(checkpoint.stamps)
    try:
        again = open_checkpoint(checkpoint.within(copy.path))
    except FileError as error:
        raise WriteError(str(target), f"the copy is damaged: {error}") from error
    if not _is_alike(again.entries, checkpoint.entries):
        raise WriteError(str(target), "the copy does not hold the tensors of the original")


def _is_alike(found: Sequence[TensorEntry], expected: Sequence[TensorEntry]) -> bool:
    """Whether these are the same tensors, in the same order."""
    return len(found) == len(expected) and all(
        (f.path, f.shape, f.dtype, f.nbytes) == (e.path, e.shape, e.dtype, e.nbytes)
        for f, e in zip(found, expected, strict=True)
    )
