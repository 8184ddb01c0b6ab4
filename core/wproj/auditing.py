"""The job `audit`: norms along axes, of the values as stored; nothing is written."""

from collections.abc import Iterator, Sequence
from os import PathLike

from wproj.constraints.base import Constraint
from wproj.engine import Progress, ignore, running
from wproj.formats.base import Layout
from wproj.formats.opening import Source, open_checkpoint
from wproj.formats.stamps import unchanged
from wproj.report import TensorReport
from wproj.reporting import audited_report, located, skipped_report
from wproj.resources import DEFAULT, Resources
from wproj.selection.assigning import Skipped
from wproj.selection.axes import Axes
from wproj.selection.plan import Plan, make_plan
from wproj.selection.rules import Rule


def audit(
    source: Source,
    match: Sequence[str] = (),
    *,
    exclude: Sequence[str] = (),
    axis: Axes = "all",
    layout: Layout | None = None,
    resources: Resources = DEFAULT,
) -> Iterator[TensorReport]:
    """Measures the norms of the vectors of every tensor, or of those that `match` matches.

    Yields a report for each tensor, in the order of the file. Tensors without norms (integers,
    optimizer state and the like) are reported as skipped, with the reason. Non-finite vectors are
    counted, and left out of the norms.

    Args:
        source: The checkpoint, or its path.
        match: Patterns of the tensors; none for all, and then an axis may fit only some.
        exclude: Patterns of tensors to leave out.
        axis: The axes summed over: numbers, `in` for all but the output's, `all`.
        layout: Overrides the layout that the file is known to have.
        resources: How many threads share the work, and how much memory they may take.

    Raises:
        RequestError: A pattern matches nothing, or the axis does not fit what it matches.
        InputError: The file cannot be read.
    """
    return measure(audit_plan(source, match, exclude, axis, layout), resources)


def audit_plan(
    source: Source,
    match: Sequence[str],
    exclude: Sequence[str],
    axis: Axes,
    layout: Layout | None,
) -> Plan:
    """Which tensors `audit` measures, along which axes; see there."""
    checkpoint = open_checkpoint(source) if isinstance(source, str | PathLike) else source
    everything = not match
    rule = Rule(tuple(match) or ("*",), Constraint(), axis, label="audit", partial=everything)
    return make_plan(checkpoint, [rule], exclude=exclude, layout=layout, allow_unmatched=everything)


def measure(
    plan: Plan, resources: Resources = DEFAULT, progress: Progress = ignore
) -> Iterator[TensorReport]:
    """Measures the tensors of a plan, and counts the vectors outside of their constraints.

    `progress` is told of a tensor, and how many more bytes of it are done, from any thread.
    """
    with (
        unchanged(plan.checkpoint.stamps),
        plan.checkpoint.stores() as stores,
        running(resources, progress) as engine,
    ):
        for item in plan.items:
            if isinstance(item, Skipped):
                yield skipped_report(item.entry, None, item.reason)
                continue
            with located(plan.checkpoint.path, item.entry):
                measures = engine.measure(item, stores(item.entry))
            yield audited_report(item, measures)
