"""From the table of a rule to its constraints and its axis."""

from collections.abc import Sequence

from wproj.constraints.base import Constraint, RadialConstraint
from wproj.constraints.registry import build, find, load_constraint
from wproj.errors import RequestError
from wproj.selection.axes import Axes, parse_axes
from wproj.selection.recipe_tables import AxisTable, RuleTable, StepTable


def steps_of(table: RuleTable, *, code: bool) -> tuple[tuple[Constraint, ...], list[AxisTable]]:
    """The constraints of a rule, and the axes that its steps give.

    Raises:
        RequestError: A constraint does not exist or fit, or is code where `code` is not allowed.
    """
    if table.steps and table.constraint is not None:
        raise RequestError("constraint and steps exclude each other")
    if table.steps:
        given = [
            key for key in ("max_value", "min_value", "rate") if getattr(table, key) is not None
        ]
        if given or table.config:
            raise RequestError(f"with steps, {(given or ['config'])[0]} belongs into one of them")
        return tuple(_constraint(s, code=code) for s in table.steps), [s.axis for s in table.steps]
    if table.constraint is None:
        raise RequestError("it has no constraint", 'for example constraint = "max_norm"')
    return (_constraint(table, code=code),), []


def _constraint(table: RuleTable | StepTable, *, code: bool) -> Constraint:
    """The constraint that a table names, with its parameters."""
    name = table.constraint or ""
    if ":" in name and not code:
        problem = f"{name} is code, which runs only from a recipe that was named"
        raise RequestError(problem, "give the recipe with --recipe")
    cls = load_constraint(name) if ":" in name else find(name)
    parameters = {key: getattr(table, key) for key in ("max_value", "min_value", "rate")}
    given = {key: value for key, value in parameters.items() if value is not None}
    twice = next(iter(given.keys() & table.config.keys()), None)
    if twice or ("axis" in table.config and issubclass(cls, RadialConstraint)):
        raise RequestError(f"{twice or 'axis'} belongs beside constraint, not into config")
    return build(cls, {**table.config, **given})


def axis_of(given: Sequence[AxisTable]) -> Axes:
    """The axis that a rule and its steps agree on; left to the layer where none gives any.

    Raises:
        RequestError: They do not agree, or an axis cannot be one.
    """
    axes = {_one_axis(axis) for axis in given if axis is not None}
    if len(axes) > 1:
        raise RequestError("the constraints of a rule share one axis")
    return axes.pop() if axes else "auto"


def _one_axis(axis: AxisTable) -> Axes:
    if isinstance(axis, str):
        return parse_axes(axis)
    if isinstance(axis, list):
        if not axis or len(set(axis)) < len(axis):
            raise RequestError(f"axis {axis} is empty, or names an axis twice")
        return tuple(axis)
    return None if axis is None else (axis,)
