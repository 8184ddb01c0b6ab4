"""What a report says of a tensor, in one sentence that is the same in every format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import wproj

_MEASURED = ("max_norm", "unit_norm", "min_max_norm", "non_neg")


def describe(tensor: wproj.TensorReport, command: str) -> str:
    """What a report says of a tensor, in a line without its name; of any tensor."""
    told = {"check": _checked, "project": _projected, "audit": _audited, "explain": _explained}
    parts = _compared(tensor) if command == "diff" else told.get(command, _listed)(tensor)
    reason = wproj.printable(tensor.reason or "")
    return "; ".join(part for part in [*parts, reason] if part) or tensor.status


def worst_vectors(tensor: wproj.TensorReport) -> list[str]:
    """The vectors that are farthest outside, in a line each."""
    found = tensor.violations.vectors if tensor.violations else []
    return [_missed(tensor, vector.index, vector.norm, vector.excess) for vector in found]


def constraint_text(tensor: wproj.TensorReport) -> str:
    """The constraints of a tensor as the command line spells them; axes left out."""
    steps = [_step_text(step.name, step.config) for step in tensor.constraint]
    rates = [step.config["rate"] for step in tensor.constraint if step.config.get("rate", 1) != 1]
    return wproj.printable("+".join(steps) + "".join(f" rate={rate}" for rate in rates))


def kind_of(tensor: wproj.TensorReport) -> str:
    """The constraint of a tensor by name, or its status where it has none."""
    names = "+".join(step.name for step in tensor.constraint)
    return wproj.printable(names) or tensor.status


def one_line(text: str) -> str:
    """A text of several lines in one, printable."""
    return " ".join(wproj.printable(line.strip()) for line in text.splitlines())


def shorten(text: str, width: int) -> str:
    """`text`, or its beginning and its end where it is longer than `width`.

    >>> shorten("model.layers.0.weight", 11)
    'mode...ight'
    """
    if len(text) <= width:
        return text
    end = (width - 3) // 2
    return f"{text[: width - 3 - end]}...{text[-end:]}"


def _checked(tensor: wproj.TensorReport) -> list[str]:
    if tensor.violations is None or tensor.violations.before is None:
        return []
    if tensor.violations.before:
        return [_outside(tensor)]
    return [f"{_count(tensor, tensor.vectors or 0)} inside {constraint_text(tensor)}"]


def _projected(tensor: wproj.TensorReport) -> list[str]:
    if tensor.changed_vectors is None:
        return []
    return [_outside(tensor), f"the projection changes {_share(tensor, tensor.changed_vectors)}"]


def _audited(tensor: wproj.TensorReport) -> list[str]:
    norms = tensor.norm_before
    if norms is None:
        return []
    if norms.min is None:
        return [_vectors(tensor), _outside(tensor)]
    to = "" if norms.min == norms.max else f" to {norms.max:.6g}"
    return [f"{_vectors(tensor)}, norm {norms.min:.6g}{to}", _outside(tensor)]


def _explained(tensor: wproj.TensorReport) -> list[str]:
    if not tensor.constraint:
        return []
    axis = "" if tensor.axis is None else f" axis {wproj.axes_text(tensor.axis)}"
    return [f"{constraint_text(tensor)}{axis}, {_vectors(tensor)}"]


def _listed(tensor: wproj.TensorReport) -> list[str]:
    return [f"{_form(tensor.dtype, tensor.shape)}, {wproj.plural(tensor.bytes, 'byte')}"]


def _compared(tensor: wproj.TensorReport) -> list[str]:
    a, b = tensor.a, tensor.b
    if a is None or b is None:
        where = {"added": "only in the second: ", "removed": "only in the first: "}
        return [f"{where.get(tensor.status, '')}{_form(tensor.dtype, tensor.shape)}"]
    forms = [_form(side.dtype, side.shape) for side in (a, b)]
    parts = [] if forms[0] == forms[1] else [" -> ".join(forms)]
    change = tensor.difference
    if change is None:
        return parts
    size = wproj.plural(math.prod(tensor.shape), "entry", "entries")
    differ = f"{change.entries} of {size} {'differs' if change.entries == 1 else 'differ'}"
    if change.index is not None:
        by = "beyond any number" if change.largest is None else f"by {change.largest:.6g}"
        differ += f" (worst {_index(change.index)}{by})"
    return [*parts, differ]


def _outside(tensor: wproj.TensorReport) -> str:
    found = tensor.violations
    if found is None or not found.before:
        return ""
    share = _share(tensor, found.before)
    return f"{share} outside {constraint_text(tensor)}{_worst(tensor)}"


def _worst(tensor: wproj.TensorReport) -> str:
    found = tensor.violations
    if found is None or found.worst_index is None:
        return ""
    if found.worst_value is not None:
        return f" (worst {_index(found.worst_index)}{found.worst_value:.6g})"
    return f" (worst {_missed(tensor, found.worst_index, found.worst_norm, found.worst_excess)})"


def _missed(
    tensor: wproj.TensorReport, index: Sequence[int], norm: float | None, excess: float | None
) -> str:
    """Which vector, its norm, and by how much it misses where its constraint can tell."""
    measured = all(step.name in _MEASURED for step in tensor.constraint)
    close = measured and norm is not None and excess is not None and excess < 1e-5 * norm
    parts = [] if norm is None else [f"norm {norm:.{12 if close else 6}g}"]
    if measured and excess is not None:
        parts.append(f"{excess:.6g} too far")
    return f"{_index(index)}{', '.join(parts)}".removesuffix(": ")


def _index(index: Sequence[int]) -> str:
    """Where among the vectors or entries; nothing to say where there is only one."""
    return f"[{','.join(map(str, index))}]: " if index else ""


def _share(tensor: wproj.TensorReport, count: int) -> str:
    if tensor.vectors is None:
        return _count(tensor, count)
    return f"{count} of {_count(tensor, tensor.vectors)}"


def _vectors(tensor: wproj.TensorReport) -> str:
    single = tensor.axis is None or tensor.vector_length is None
    return _count(tensor, tensor.vectors or 0) + ("" if single else f" of {tensor.vector_length}")


def _count(tensor: wproj.TensorReport, count: int) -> str:
    noun = ("entry", "entries") if tensor.axis is None else ("vector", "vectors")
    return wproj.plural(count, *noun)


def _form(dtype: str, shape: Sequence[int]) -> str:
    return f"{wproj.printable(dtype)} {wproj.shape_text(shape)}"


def _step_text(name: str, config: Mapping[str, object]) -> str:
    low, high = config.get("min_value"), config.get("max_value")
    if name == "min_max_norm" and low is not None:
        return f"{name}={_plain(low)}..{_plain(high)}"
    return f"{name}={_plain(high)}" if name == "max_norm" and high is not None else name


def _plain(value: object) -> str:
    """A number without a needless `.0`."""
    return str(value).removesuffix(".0")
