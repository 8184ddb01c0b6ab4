"""The job `project`: apply a plan to a checkpoint, write the result, report."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wproj.constraints.base import Constraint, NonFinite, Numerics, NumericsMode
from wproj.engine import Progress, ignore
from wproj.errors import RequestError
from wproj.formats.atomic import check_target
from wproj.formats.base import Checkpoint, Layout
from wproj.formats.folders import check_folder
from wproj.formats.opening import Source, open_checkpoint
from wproj.report import TensorReport
from wproj.resources import DEFAULT, Resources
from wproj.selection.declared import declared_plan
from wproj.selection.plan import Plan, make_plan
from wproj.selection.rules import Rule, parse_rule
from wproj.writing import Work, rehearse, replace_members, write_file, write_folder


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
    resources: Resources = DEFAULT,
    durable: bool = True,
    verify: bool = True,
    resume: bool = False,
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
        resources: How many threads share the work, and how much memory they may take.
        durable: Whether to wait until the result is on the disk before it gets its name.
        verify: Whether what is written is read back and compared.
        resume: Whether to go on with what an interrupted run for the same target has left, and to
            leave what this one has finished if it is interrupted; for checkpoints of several files.

    Raises:
        RequestError: The rules or the target cannot be meant.
        InputError: The file cannot be read, or holds values that cannot be projected.
        OutputError: The result cannot be written.
    """
    made = plan(source, rules, exclude=exclude, layout=layout)
    how = Numerics(numerics, epsilon, nonfinite)
    return apply(
        made,
        target,
        how,
        overwrite=overwrite,
        in_place=in_place,
        resources=resources,
        durable=durable,
        verify=verify,
        resume=resume,
    )


def apply(
    plan: Plan,
    target: str | os.PathLike[str] | None,
    numerics: Numerics,
    *,
    overwrite: bool = False,
    in_place: bool = False,
    resources: Resources = DEFAULT,
    durable: bool = True,
    verify: bool = True,
    resume: bool = False,
    progress: Progress = ignore,
) -> Iterator[TensorReport]:
    """Does what the plan says; see `project`.

    `progress` is told the name of a tensor, or of a file that is copied, and how many more bytes of
    it are done, from any thread; `volume` says how many these are.
    """
    work = Work(plan, numerics, resources, progress, verify, durable)
    if target is None:
        return rehearse(work)
    path, source = Path(target), plan.checkpoint.path
    if resume and (in_place or not plan.checkpoint.members):
        problem = "--resume goes with a checkpoint of several files, and a target of its own"
        raise RequestError(problem)
    if not plan.checkpoint.members:
        check_target(source, path, overwrite=overwrite, in_place=in_place)
        return write_file(work, path, overwrite=overwrite, in_place=in_place)
    checkpoint = plan.checkpoint
    check_folder(checkpoint.folder if checkpoint.owns_folder else None, path, in_place=in_place)
    return replace_members(work) if in_place else write_folder(work, path, resume=resume)
