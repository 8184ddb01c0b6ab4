"""The job `explain`: which rule takes which tensor, along which axes, and why others are left."""

from collections.abc import Iterator, Sequence

from wproj.formats.base import Checkpoint, Layout
from wproj.formats.opening import Source, open_checkpoint
from wproj.report import RuleReport, TensorReport
from wproj.reporting import planned_report, rule_report, skipped_report, unmatched_report
from wproj.selection.assigning import Assignment, Skipped
from wproj.selection.plan import Plan, sketch_plan
from wproj.selection.rules import Rule


def explain_plan(
    source: Source,
    rules: Sequence[Rule],
    *,
    exclude: Sequence[str] = (),
    layout: Layout | None = None,
) -> Plan:
    """The plan of `rules`, also where some of them match nothing or cannot be applied.

    Raises:
        RequestError: There is no rule, or a pattern cannot be read.
        InputError: The file cannot be read.
    """
    checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source)
    return sketch_plan(checkpoint, rules, exclude=exclude, layout=layout)


def explain(plan: Plan) -> Iterator[TensorReport]:
    """Says of every tensor of the checkpoint what the plan does to it; no value is read.

    Tensors that a rule takes have it, their axes and vectors; the others a reason.
    """
    items = {item.entry.path: item for item in plan.items}
    for entry in plan.checkpoint.entries:
        item = items.get(entry.path)
        if isinstance(item, Assignment):
            yield planned_report(item)
        elif isinstance(item, Skipped):
            yield skipped_report(entry, item.rule, item.reason)
        else:
            yield unmatched_report(entry)


def rule_reports(plan: Plan) -> list[RuleReport]:
    """What became of each rule of the plan: its matches, what others took, and what is wrong."""
    by = {item.entry.path: item for item in plan.items}
    return [rule_report(use, by, plan.checkpoint) for use in plan.uses]
