"""The job `check`: a checkpoint held against rules; nothing is written."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from wproj.constraints.arrays import Array
from wproj.constraints.base import Constraint, RadialConstraint
from wproj.dtypes import Float64, grid
from wproj.engine import Progress, ignore, running
from wproj.formats.base import TensorEntry
from wproj.formats.stamps import unchanged
from wproj.judging import Tolerance
from wproj.numerics.norms import Bounds
from wproj.numerics.vectors import Vectors
from wproj.report import TensorReport
from wproj.reporting import checked_report, located, skipped_report, unmatched_report
from wproj.resources import DEFAULT, Resources
from wproj.selection.assigning import Assignment, Skipped
from wproj.selection.exclusions import exclusion, obstacle
from wproj.selection.plan import Plan, all_names
from wproj.selection.recipe_tables import CheckPolicy
from wproj.tallying import Measures

# What files that Keras trained and saved itself miss their bounds by, relatively, as its formulas
# round in the stored dtype.
_RTOL = {"float64": 1e-9, "float32": 1e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
# Besides, they add epsilon to norms, and so leave vectors short of a lower bound: by ten times
# epsilon where they had a tenth of it. Never so much that a violation of 1 % passes for that.
_SHORT, _SHORT_PART = 1e-6, 1e-3


def check(
    plan: Plan,
    policy: CheckPolicy | None = None,
    resources: Resources = DEFAULT,
    progress: Progress = ignore,
) -> Iterator[TensorReport]:
    """Measures the tensors of a plan, and says which violate their constraints.

    Yields a report for each matched tensor, in the order of the file: its status is `violation` if
    a vector is outside by more than the tolerance, or has non-finite entries, or is a zero vector
    that a lower bound leaves at zero, as far as the policy counts these as errors. If it counts
    tensors that no rule matches, those are yielded, too.

    Raises:
        InputError: The file cannot be read.
    """
    policy = policy or CheckPolicy()
    with (
        unchanged(plan.checkpoint.stamps),
        plan.checkpoint.stores() as stores,
        running(resources, progress) as engine,
    ):
        for item in plan.items:
            if isinstance(item, Skipped):
                yield skipped_report(item.entry, item.rule, item.reason)
                continue
            with located(plan.checkpoint.path, item.entry):
                tolerance = _tolerance(item, policy.rtol)
                steps = item.steps if policy.unreachable == "error" else _or_zero(item.steps)
                measures = engine.measure(item, stores(item.entry), steps, tolerance)
            yield _judged(item, measures, policy)
    if policy.unmatched_tensors != "ignore":
        yield from (
            unmatched_report(entry, violation=policy.unmatched_tensors == "error")
            for entry in _unmatched(plan)
        )


def _tolerance(item: Assignment, rtol: float | None) -> Tolerance:
    """How far outside does not count: `rtol` if given, else by the stored dtype.

    Without `rtol` a file that Keras trained and saved itself passes; 0 is strict.
    """
    if rtol is not None:
        return Tolerance(rtol)
    dtype = _dtype(item.entry)
    lowest = [s.bounds[0] for s in item.steps if isinstance(s, RadialConstraint) and s.bounds[0]]
    short = min([_SHORT, *(_SHORT_PART * low for low in lowest)]) if lowest else 0.0
    rounded = (
        float(np.sqrt(item.vector_length)) / 2 * grid(dtype).tiny
    )  # Of entries that underflow.
    relative = _RTOL.get(dtype.name, 4 * grid(dtype).unit_roundoff)
    return Tolerance(relative, short + rounded)


def _dtype(entry: TensorEntry) -> np.dtype[Any]:
    """The dtype of a tensor that a rule takes, in native byte order."""
    assert entry.stored is not None  # noqa: S101 # no rule takes others
    return entry.stored.newbyteorder("=")


def _unmatched(plan: Plan) -> list[TensorEntry]:
    """The tensors that could be constrained, and that no rule matches."""
    seen = {item.entry.path for item in plan.items}
    names = all_names(plan.checkpoint)
    return [
        entry
        for entry in plan.checkpoint.entries
        if entry.path not in seen and not (obstacle(entry, names) or exclusion(entry, names))
    ]


def _judged(item: Assignment, measures: Measures, policy: CheckPolicy) -> TensorReport:
    before = measures.violations.before
    reasons = []
    if measures.nonfinite and policy.nonfinite == "error":
        reasons.append(f"{measures.nonfinite} with non-finite entries")
    if before is None:
        reasons.append("its constraint cannot tell what is inside")
    found = bool(before or (measures.nonfinite and policy.nonfinite == "error"))
    reason = ", ".join(reasons) or None
    return checked_report(item, measures, measures.violations, reason, violation=found)


class _BoundsOrZero(Bounds):
    """Bounds that a zero vector may miss."""

    def excess(self, norms: Float64) -> Float64:
        """How far outside each norm is; 0 for a norm of 0, too."""
        return np.where(norms == 0, 0.0, super().excess(norms))


class _OrZero(RadialConstraint):
    """A constraint that zero vectors meet as well: no projection has a direction to move them."""

    def __init__(self, constraint: RadialConstraint) -> None:
        self._constraint = constraint

    @property
    def bounds(self) -> tuple[float, float]:
        """Those of the constraint."""
        return self._constraint.bounds

    def target(self, norms: Array) -> Array:
        """Those of the constraint."""
        return self._constraint.target(norms)

    def limits(self, vectors: Vectors, dtype: np.dtype[Any]) -> Bounds:
        """Those of the constraint, which a zero vector may miss."""
        return _BoundsOrZero.of(*self.bounds, vectors.length, dtype)


def _or_zero(steps: Sequence[Constraint]) -> list[Constraint]:
    """The constraints as zero vectors meet them."""
    return [_OrZero(step) if isinstance(step, RadialConstraint) else step for step in steps]
