"""The tables of `check`, `diff` and `explain`."""

from __future__ import annotations

from collections.abc import Iterator

import wproj
from wproj_cli.render.columns import (
    Row,
    axis_text,
    number,
    numbers,
    remark,
    sparkline,
    table,
)
from wproj_cli.render.findings import finding
from wproj_cli.render.sentences import constraint_text


def check_table(file: wproj.FileReport) -> Iterator[str]:
    """What was checked, and a sentence for each finding."""
    head = ["", "vectors", "length", "axis", "outside", "min", "p50", "max", "norms"]
    head += ["constraint", "name"]
    yield from table([head], file.tensors, _checked, right={1, 2, 4, 5, 6, 7})
    for tensor in file.tensors:
        sentence = finding(tensor, "check")
        if sentence:
            yield f"  {sentence}"


def _checked(tensor: wproj.TensorReport) -> Row:
    name = wproj.printable(tensor.name)
    mark = {"violation": "FAIL", "ok": "ok"}.get(tensor.status, "-")
    if tensor.violations is None:
        return [mark, *["-"] * 7, "", "", remark(name, tensor.reason)]
    outside = tensor.violations.before
    return [
        mark,
        str(tensor.vectors),
        str(tensor.vector_length),
        axis_text(tensor),
        "?" if outside is None else str(outside),
        *numbers(tensor.norm_before, ("min", "p50", "max")),
        sparkline(tensor.histogram),
        wproj.printable(constraint_text(tensor)),
        remark(name, tensor.reason),
    ]


def diff_table(file: wproj.FileReport) -> Iterator[str]:
    """What differs; tensors without a difference are only counted."""
    head = ["", "entries", "largest", "relative", "max", "max", "shape", "dtype", "name"]
    above = ["", "", "", "", "a", "b", "", "", ""]
    same = sum(tensor.status == "unchanged" for tensor in file.tensors)
    if same < len(file.tensors):
        yield from table([above, head], file.tensors, _differing, right={1, 2, 3, 4, 5})
    yield f"  {wproj.plural(same, 'tensor')} the same"


def _differing(tensor: wproj.TensorReport) -> Row | None:
    if tensor.status == "unchanged":
        return None
    change = tensor.difference
    return [
        tensor.status,
        str(change.entries) if change else "-",
        number(change.largest) if change else "-",
        f"{100 * change.relative:.3g}%" if change and change.relative is not None else "-",
        *numbers(tensor.norm_before, ("max",)),
        *numbers(tensor.norm_after, ("max",)),
        _both([wproj.shape_text(side.shape) for side in (tensor.a, tensor.b) if side]),
        _both([wproj.short_name(side.dtype) for side in (tensor.a, tensor.b) if side]),
        remark(wproj.printable(tensor.name), tensor.reason),
    ]


def _both(texts: list[str]) -> str:
    return " -> ".join(dict.fromkeys(texts))


def explain_table(file: wproj.FileReport) -> Iterator[str]:
    """The rules with what became of them, then every tensor with its rule or the reason."""
    for rule in file.rules:
        yield from _rule(rule)
    head = ["vectors", "length", "axis", "shape", "constraint", "rule", "name"]
    yield from table([head], file.tensors, _explained, right={0, 1}, optional={4, 5})


def _explained(tensor: wproj.TensorReport) -> Row:
    taken = tensor.constraint != []
    return [
        str(tensor.vectors) if taken else "-",
        str(tensor.vector_length) if taken else "-",
        axis_text(tensor) if taken else "-",
        wproj.shape_text(tensor.shape),
        wproj.printable(constraint_text(tensor)),
        wproj.printable(tensor.rule or ""),
        remark(wproj.printable(tensor.name), tensor.reason),
    ]


def _rule(rule: wproj.RuleReport) -> list[str]:
    line = "" if rule.line is None else f" (line {rule.line})"
    counts = f"matches {len(rule.matched)}, takes {wproj.plural(len(rule.taken), 'tensor')}"
    lines = [f"  rule {wproj.printable(rule.rule)}{line}: {counts}"]
    lines += [f"    {wproj.printable(s.name)}: taken by {s.by}" for s in rule.shadowed]
    if rule.problem:
        lines.append(f"    problem: {wproj.printable(rule.problem)}")
    return lines
