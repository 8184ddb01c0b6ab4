"""The job `check`: a checkpoint held against rules; nothing is written."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from wproj.dtypes import grid
from wproj.formats.base import TensorEntry
from wproj.measures import Violations
from wproj.measuring import Measures, Tolerance, measure_tensor
from wproj.report import TensorReport
from wproj.reporting import checked_report, located, skipped_report, unmatched_report
from wproj.selection.assigning import Assignment, Skipped
from wproj.selection.exclusions import exclusion, obstacle
from wproj.selection.plan import Plan, all_names
from wproj.selection.recipe import CheckPolicy
from wproj.streaming import keep_freed_memory

# What files that Keras trained and saved itself miss their bounds by: its formulas add epsilon to
# norms, and round in the stored dtype. Relative, by the bits of the dtype; and epsilon itself.
_RTOL = {"float64": 1e-9, "float32": 1e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
_KERAS_EPSILON = 1e-7


def check(plan: Plan, policy: CheckPolicy | None = None) -> Iterator[TensorReport]:
    """Measures the tensors of a plan, and says which violate their constraints.

    Yields a report for each matched tensor, in the order of the file: its status is `violation` if
    a vector is outside by more than the tolerance, or has non-finite entries, or is a zero vector
    that a lower bound leaves at zero, as far as the policy counts these as errors. If it counts
    tensors that no rule matches, those are yielded, too.

    Raises:
        InputError: The file cannot be read.
    """
    policy = policy or CheckPolicy()
    keep_freed_memory()
    with plan.checkpoint.stores() as stores:
        for item in plan.items:
            if isinstance(item, Skipped):
                yield skipped_report(item.entry, item.rule, item.reason)
                continue
            with located(plan.checkpoint.path, item.entry):
                store = stores(item.entry)
                tolerance = default_tolerance(_dtype(item.entry), policy.rtol)
                shape = item.entry.shape
                measures = measure_tensor(shape, item.axis, item.steps, store, None, tolerance)
            yield _judged(item, measures, policy)
    if policy.unmatched_tensors != "ignore":
        yield from (
            unmatched_report(entry, violation=policy.unmatched_tensors == "error")
            for entry in unmatched(plan)
        )


def default_tolerance(dtype: np.dtype[Any], rtol: float | None = None) -> Tolerance:
    """How far outside does not count: `rtol` if given, else by the stored dtype.

    Without `rtol` a file that Keras trained and saved itself passes; 0 is strict.
    """
    if rtol is not None:
        return Tolerance(rtol)
    known = _RTOL.get(dtype.name)
    relative = 4 * grid(dtype).unit_roundoff if known is None else known
    return Tolerance(relative, _KERAS_EPSILON)


def _dtype(entry: TensorEntry) -> np.dtype[Any]:
    """The dtype of a tensor that a rule takes, in native byte order."""
    assert entry.stored is not None  # noqa: S101 # no rule takes others
    return entry.stored.newbyteorder("=")


def unmatched(plan: Plan) -> list[TensorEntry]:
    """The tensors that could be constrained, and that no rule matches."""
    seen = {item.entry.path for item in plan.items}
    names = all_names(plan.checkpoint)
    return [
        entry
        for entry in plan.checkpoint.entries
        if entry.path not in seen and not (obstacle(entry, names) or exclusion(entry, names))
    ]


def _judged(item: Assignment, measures: Measures, policy: CheckPolicy) -> TensorReport:
    violations = measures.violations
    if policy.unreachable != "error" and measures.unreachable:
        violations = _without_zeros(violations, measures.unreachable)
    reasons = []
    if measures.nonfinite and policy.nonfinite == "error":
        reasons.append(f"{measures.nonfinite} with non-finite entries")
    if violations.before is None:
        reasons.append("its constraint cannot tell what is inside")
    found = bool(violations.before or (measures.nonfinite and policy.nonfinite == "error"))
    reason = ", ".join(reasons) or None
    return checked_report(item, measures, violations, reason, violation=found)


def _without_zeros(violations: Violations, unreachable: int) -> Violations:
    """The violations without those of zero vectors."""
    worst = [vector for vector in violations.vectors if vector.norm != 0]
    return Violations(
        before=max(0, (violations.before or 0) - unreachable),
        after=violations.after,
        worst_index=worst[0].index if worst else None,
        worst_norm=worst[0].norm if worst else None,
        worst_value=violations.worst_value,
        worst_excess=worst[0].excess if worst else None,
        vectors=worst,
    )
