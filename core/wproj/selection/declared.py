"""The constraints that a model's layers declare, as a plan."""

from collections.abc import Mapping, Sequence

from wproj.constraints.base import Constraint, RadialConstraint
from wproj.constraints.registry import deserialize, known_name
from wproj.errors import RequestError
from wproj.formats.base import Checkpoint, TensorEntry
from wproj.numerics.vectors import normalize_axis
from wproj.selection.assigning import Assignment, Skipped, axis_warning
from wproj.selection.axes import axes_text
from wproj.selection.exclusions import obstacle
from wproj.selection.plan import Plan, all_names, excluded
from wproj.selection.rules import steps_text


def declared_plan(
    checkpoint: Checkpoint,
    *,
    custom: Mapping[str, type[Constraint]] | None = None,
    exclude: Sequence[str] = (),
) -> Plan:
    """Each declared constraint on its variable, along its declared axis.

    Constraints of unknown classes are left alone and listed, unless `custom` has the class under
    its name; nothing is imported.

    Raises:
        RequestError: The checkpoint has no config, or its config declares no constraint.
    """
    path = str(checkpoint.path)
    if checkpoint.config is None:
        hint = "give the model's config with --config model.json"
        raise RequestError(f"{path}: there is no config that declares constraints", hint)
    declaring = [entry for entry in checkpoint.entries if entry.declared is not None]
    if not declaring:
        raise RequestError(f"{path}: the layers declare no constraints")
    left_out, names = excluded(checkpoint, exclude), all_names(checkpoint)
    items = []
    for entry in declaring:
        reason = "excluded" if entry.path in left_out else obstacle(entry, names)
        items.append(Skipped(entry, "declared", reason) if reason else _item(entry, custom or {}))
    warnings = (axis_warning(item) for item in items if isinstance(item, Assignment))
    return Plan(checkpoint, checkpoint.layout, tuple(items), tuple(filter(None, warnings)))


def _item(entry: TensorEntry, custom: Mapping[str, type[Constraint]]) -> Assignment | Skipped:
    name = _custom_name(entry.declared)
    if name is not None and name not in custom:
        return Skipped(entry, "declared", f"declares the unknown constraint {name}")
    try:
        known = {} if name is None else {str(entry.declared.get("class_name")): custom[name]}
        constraint = deserialize(entry.declared, known)
        if not isinstance(constraint, Constraint):
            raise RequestError("is not a constraint")
        axis = None
        if isinstance(constraint, RadialConstraint):
            axis = normalize_axis(constraint.axis, entry.shape)
    except RequestError as error:
        return Skipped(entry, "declared", f"its declared constraint is invalid: {error}")
    return Assignment(entry, "declared", (constraint.at(axis),), axis)


def has_declared(checkpoint: Checkpoint) -> bool:
    """Whether a layer of the checkpoint declares a constraint."""
    return any(entry.declared is not None for entry in checkpoint.entries)


def declared_text(declared: object) -> str:
    """A declared constraint in a few words.

    >>> declared_text({"class_name": "MaxNorm", "config": {"max_value": 2, "axis": [0, 1]}})
    'max_norm=2 axis=0,1'
    >>> declared_text({"class_name": "Clip", "registered_name": "lab>Clip"})
    'lab>Clip (unknown)'
    """
    name = _custom_name(declared)
    if name is not None:
        return f"{name} (unknown)"
    try:
        constraint = deserialize(declared)  # type: ignore[arg-type] # anything that JSON holds
    except RequestError:
        return "invalid"
    if not isinstance(constraint, Constraint):
        return "unknown"
    radial = isinstance(constraint, RadialConstraint)
    axis = f" axis={axes_text(constraint.axis)}" if radial else ""  # type: ignore[attr-defined] # radial
    return f"{steps_text([constraint])}{axis}"


def _custom_name(declared: object) -> str | None:
    """What a constraint of neither Keras nor wproj is registered as; None for one of theirs."""
    if not isinstance(declared, Mapping):
        return None
    module, registered = declared.get("module"), declared.get("registered_name")
    kind = str(declared.get("class_name"))
    if str(module).startswith("wproj.") and registered in (kind, f"wproj>{kind}"):
        return None if known_name(kind) else str(registered)
    if registered:
        return str(registered)
    foreign = isinstance(module, str) and module.split(".")[0] not in ("keras", "tf_keras")
    return kind if foreign or not known_name(kind) else None
