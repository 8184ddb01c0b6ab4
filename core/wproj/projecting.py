"""The job `project`: apply a plan to a checkpoint, write the result, report."""

import math
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from wproj.constraints.base import Constraint, NonFinite, Numerics, NumericsMode
from wproj.errors import FileError, WriteError
from wproj.formats.atomic import Draft, check_target, draft
from wproj.formats.base import Checkpoint, Layout, Store, Stores, TensorEntry
from wproj.formats.folders import check_folder, draft_folder
from wproj.formats.opening import Source, open_checkpoint
from wproj.measuring import measure_tensor
from wproj.report import TensorReport
from wproj.reporting import located, projected_report, skipped_report
from wproj.selection.assigning import Assignment, Skipped
from wproj.selection.declared import declared_plan
from wproj.selection.plan import Plan, make_plan
from wproj.selection.rules import Rule, parse_rule
from wproj.streaming import Scratch, keep_freed_memory, project_tensor


def plan(
    source: Source,
    rules: Rule | str | Sequence[Rule | str],
    *,
    exclude: Sequence[str] = (),
    layout: Layout | None = None,
    allow_unmatched: bool = False,
) -> Plan:
    """What `rules` would do to the tensors of `source`; no value is read.

    Rules may be given by their text, for example `"conv*/kernel max_norm=2 axis=0,1,2"`. See
    `make_plan` for the arguments.

    Raises:
        RequestError: A rule matches nothing, or does not fit what it matches.
        InputError: The file cannot be read.
    """
    checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source)
    given = [rules] if isinstance(rules, Rule | str) else rules
    return make_plan(
        checkpoint,
        [parse_rule(rule) if isinstance(rule, str) else rule for rule in given],
        exclude=exclude,
        layout=layout,
        allow_unmatched=allow_unmatched,
    )


def plan_declared(
    source: Source,
    *,
    config: str | os.PathLike[str] | None = None,
    custom: Mapping[str, type[Constraint]] | None = None,
    exclude: Sequence[str] = (),
) -> Plan:
    """What the constraints that a Keras model declares would do to its weights.

    Each is applied along its declared axis. `config` is the path of the model's config, for
    weights without one; `custom` has the classes of constraints that are not Keras' own, by the
    name that they are registered under.

    Raises:
        RequestError: There is no config, or it declares no constraint.
        InputError: A file cannot be read.
    """
    checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source, config)
    return declared_plan(checkpoint, custom=custom, exclude=exclude)


def project(
    source: Source,
    target: str | os.PathLike[str] | None,
    rules: Rule | str | Sequence[Rule | str],
    *,
    exclude: Sequence[str] = (),
    layout: Layout | None = None,
    numerics: NumericsMode = "exact",
    epsilon: float = 1e-7,
    nonfinite: NonFinite = "error",
    overwrite: bool = False,
    in_place: bool = False,
) -> Iterator[TensorReport]:
    """Projects the tensors of `source` that `rules` match, and writes the result to `target`.

    Yields a report for each matched tensor, in the order of the file. The target appears, whole,
    when the last report has been taken; if the iteration ends before, or fails, nothing is
    written. Everything but the projected tensors' values is the same in both files.

    Args:
        source: The checkpoint.
        target: Where the result goes; None only reports what would change.
        rules: Which constraints hold for which tensors.
        exclude: Patterns of tensors that no rule takes.
        layout: Overrides the layout that the file is known to have.
        numerics: `exact` or `keras`.
        epsilon: What the formulas of `keras` numerics add to norms.
        nonfinite: Whether NaN and infinite entries are an `error`, or their vectors a `skip`.
        overwrite: Whether an existing target is replaced.
        in_place: Whether the target may be the source. It is then left alone if nothing changes.

    Raises:
        RequestError: The rules or the target cannot be meant.
        InputError: The file cannot be read, or holds values that cannot be projected.
        OutputError: The result cannot be written.
    """
    made = plan(source, rules, exclude=exclude, layout=layout)
    how = Numerics(numerics, epsilon, nonfinite)
    return apply(made, target, how, overwrite=overwrite, in_place=in_place)


def apply(
    plan: Plan,
    target: str | os.PathLike[str] | None,
    numerics: Numerics,
    *,
    overwrite: bool = False,
    in_place: bool = False,
) -> Iterator[TensorReport]:
    """Does what the plan says; see `project`."""
    if target is None:
        return _rehearse(plan, numerics)
    path, source = Path(target), plan.checkpoint.path
    if plan.checkpoint.members:
        check_folder(source, path, in_place=in_place)
    else:
        check_target(source, path, overwrite=overwrite, in_place=in_place)
    return _write(plan, path, numerics, overwrite=overwrite or in_place, in_place=in_place)


def _rehearse(plan: Plan, numerics: Numerics) -> Iterator[TensorReport]:
    keep_freed_memory()
    with plan.checkpoint.stores() as stores:
        for item in plan.items:
            yield _item(plan, item, stores, None, numerics)


def _write(
    plan: Plan, target: Path, numerics: Numerics, *, overwrite: bool, in_place: bool
) -> Iterator[TensorReport]:
    checkpoint, members = plan.checkpoint, plan.checkpoint.members
    with (
        draft_folder(checkpoint.folder, members, target, in_place=in_place)
        if members
        else draft(checkpoint.path, target, overwrite=overwrite)
    ) as copy:
        changed = yield from _write_copy(plan, copy, numerics)
        if changed:
            _check_copy(checkpoint, copy.path, target)
        copy.keep = changed or not in_place


def _check_copy(checkpoint: Checkpoint, copy: Path, target: Path) -> None:
    """Opens the finished copy afresh: it has to hold the same tensors, if with other values.

    Raises:
        WriteError: It does not.
    """
    try:
        again = open_checkpoint(checkpoint.within(copy))
        found = [(e.path, e.shape, e.dtype, e.nbytes) for e in again.entries]
    except FileError as error:
        raise WriteError(str(target), f"the copy is damaged: {error}") from error
    if found != [(e.path, e.shape, e.dtype, e.nbytes) for e in checkpoint.entries]:
        raise WriteError(str(target), "the copy does not hold the tensors of the original")


def _write_copy(plan: Plan, copy: Draft, numerics: Numerics) -> Generator[TensorReport, None, bool]:
    keep_freed_memory()
    changed = False
    checkpoint = plan.checkpoint
    with checkpoint.stores() as before, checkpoint.stores(copy.path, writable=True) as after:
        for item in plan.items:
            report = _item(plan, item, before, after, numerics)
            changed = changed or report.status == "changed"
            yield report
    return changed


def _item(
    plan: Plan,
    item: Assignment | Skipped,
    before: Stores,
    after: Stores | None,
    numerics: Numerics,
) -> TensorReport:
    if isinstance(item, Skipped):
        return skipped_report(item.entry, item.rule, item.reason)
    with located(plan.checkpoint.path, item.entry), ExitStack() as stack:
        source = before(item.entry)
        if after is None:
            target: Store = stack.enter_context(_scratch_copy(item.entry, source))
        else:
            target = after(item.entry)
        project_tensor(item.entry.shape, item.steps, source, target, numerics)
        target.flush()
        measures = measure_tensor(item.entry.shape, item.axis, item.steps, source, target)
    return projected_report(item, measures)


def _scratch_copy(entry: TensorEntry, source: Store) -> Scratch:
    size = math.prod(entry.shape)
    scratch = Scratch(source.read(0, min(size, 1)).dtype)
    scratch.fill(source.read, size)
    return scratch
