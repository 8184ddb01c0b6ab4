"""What the HTML report tells of a tensor besides its measures, as labels and texts."""

from __future__ import annotations

from collections.abc import Iterator

import wproj
from wproj_cli.render.columns import axis_text, declared, number
from wproj_cli.render.sentences import constraint_text, worst_vectors

Facts = list[tuple[str, str]]


def subtitle(tensor: wproj.TensorReport) -> str:
    """What holds for a tensor, and what there is to remark."""
    rule = tensor.rule
    if tensor.constraint and rule in (None, "declared"):
        axis = "" if tensor.axis is None else f"axis={axis_text(tensor)}"
        rule = " ".join(filter(None, [rule, constraint_text(tensor), axis]))
    return " \u00b7 ".join(filter(None, [rule, "step" if tensor.step else "", tensor.reason]))


def facts(tensor: wproj.TensorReport, *, brief: bool) -> Facts:
    """What is known of a tensor, as labels and texts; `brief` for one of very many."""
    told = [*_stored(tensor), *_vectors(tensor, brief=brief)]
    if not brief:
        told += [*_places(tensor), *_measures(tensor), *_worst(tensor)]
    return [(label, wproj.printable(text)) for label, text in told]


def _stored(tensor: wproj.TensorReport) -> Iterator[tuple[str, str]]:
    sides = [(side.shape, side.dtype) for side in (tensor.a, tensor.b) if side]
    texts = [
        f"{wproj.shape_text(shape)} {wproj.short_name(dtype)}"
        for shape, dtype in sides or [(tensor.shape, tensor.dtype)]
    ]
    yield "stored", " \u2192 ".join(dict.fromkeys(texts))


def _vectors(tensor: wproj.TensorReport, *, brief: bool) -> Iterator[tuple[str, str]]:
    if tensor.vectors is None:
        return
    if tensor.axis is None:
        yield "judged", wproj.plural(tensor.vectors, "entry", "entries")
    else:
        text = f"{wproj.plural(tensor.vectors, 'vector')} of {tensor.vector_length}"
        yield "vectors", text if brief else f"{text}, axis {axis_text(tensor)}"


def _places(tensor: wproj.TensorReport) -> Iterator[tuple[str, str]]:
    paths = [side.path for side in (tensor.a, tensor.b) if side] or [tensor.path]
    if any(path != tensor.name for path in paths):
        yield "path", " \u2192 ".join(dict.fromkeys(paths))
    if tensor.file:
        yield "file", tensor.file
    yield "bytes", str(tensor.bytes)
    if tensor.layer:
        yield "layer", tensor.layer
    if tensor.declared is not None and tensor.rule != "declared":
        yield "declared", declared(tensor)


def _measures(tensor: wproj.TensorReport) -> Iterator[tuple[str, str]]:
    means = [n.mean for n in (tensor.norm_before, tensor.norm_after) if n and n.mean is not None]
    if means:
        yield "mean norm", " \u2192 ".join(dict.fromkeys(map(number, means)))
    counts = {
        "zero vectors": tensor.zero,
        "unreachable": tensor.unreachable,
        "non-finite": tensor.nonfinite,
        "changed entries": tensor.changed_entries,
    }
    yield from ((label, str(count)) for label, count in counts.items() if count)
    if tensor.distance and tensor.distance.absolute:
        yield "distance", number(tensor.distance.absolute)
    if tensor.difference and tensor.difference.index is not None:
        yield "largest at", _index(tensor.difference.index)


def _worst(tensor: wproj.TensorReport) -> Iterator[tuple[str, str]]:
    found = tensor.violations
    if found is None or found.worst_index is None:
        return
    if found.vectors:
        yield from (("worst", text) for text in worst_vectors(tensor))
    else:
        yield "worst", f"{_index(found.worst_index)}: {number(found.worst_value)}"


def _index(index: list[int]) -> str:
    return f"[{','.join(map(str, index))}]"
