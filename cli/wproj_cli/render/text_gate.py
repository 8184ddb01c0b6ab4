"""The tables of `check`, `diff` and `explain`."""

from __future__ import annotations

import wproj
from wproj_cli.render.columns import (
    axis_text,
    columns,
    number,
    numbers,
    remark,
    sparkline,
    without_empty,
)
from wproj_cli.render.findings import finding
from wproj_cli.render.sentences import constraint_text


def check_table(file: wproj.FileReport) -> list[str]:
    """What was checked, and a sentence for each finding."""
    head = ["", "vectors", "length", "axis", "outside", "min", "p50", "max", "norms"]
    rows = [[*head, "constraint", "name"]]
    for tensor in file.tensors:
        name = wproj.printable(tensor.name)
        mark = {"violation": "FAIL", "ok": "ok"}.get(tensor.status, "-")
        if tensor.violations is None:
            rows.append([mark, *["-"] * 7, "", "", remark(name, tensor.reason)])
            continue
        outside = tensor.violations.before
        rows.append(
            [
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
        )
    found = [sentence for tensor in file.tensors if (sentence := finding(tensor, "check"))]
    return [*columns(rows, right={1, 2, 4, 5, 6, 7}), *(f"  {sentence}" for sentence in found)]


def diff_table(file: wproj.FileReport) -> list[str]:
    """What differs; tensors without a difference are only counted."""
    head = ["", "entries", "largest", "relative", "max", "max", "shape", "dtype"]
    rows = [["", "", "", "", "a", "b", "", "", ""], [*head, "name"]]
    for tensor in file.tensors:
        if tensor.status == "unchanged":
            continue
        change = tensor.difference
        rows.append(
            [
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
        )
    same = sum(tensor.status == "unchanged" for tensor in file.tensors)
    table = columns(rows, right={1, 2, 3, 4, 5}) if len(rows) > 2 else []
    return [*table, f"  {wproj.plural(same, 'tensor')} the same"]


def _both(texts: list[str]) -> str:
    return " -> ".join(dict.fromkeys(texts))


def explain_table(file: wproj.FileReport) -> list[str]:
    """The rules with what became of them, then every tensor with its rule or the reason."""
    rows = [["vectors", "length", "axis", "shape", "constraint", "rule", "name"]]
    for tensor in file.tensors:
        name = wproj.printable(tensor.name)
        taken = tensor.constraint != []
        rows.append(
            [
                str(tensor.vectors) if taken else "-",
                str(tensor.vector_length) if taken else "-",
                axis_text(tensor) if taken else "-",
                wproj.shape_text(tensor.shape),
                wproj.printable(constraint_text(tensor)),
                wproj.printable(tensor.rule or ""),
                remark(name, tensor.reason),
            ]
        )
    shown, used = without_empty(rows)
    right = {used.index(i) for i in (0, 1) if i in used}
    return [*(line for rule in file.rules for line in _rule(rule)), *columns(shown, right=right)]


def _rule(rule: wproj.RuleReport) -> list[str]:
    line = "" if rule.line is None else f" (line {rule.line})"
    counts = f"matches {len(rule.matched)}, takes {wproj.plural(len(rule.taken), 'tensor')}"
    lines = [f"  rule {wproj.printable(rule.rule)}{line}: {counts}"]
    lines += [f"    {wproj.printable(s.name)}: taken by {s.by}" for s in rule.shadowed]
    if rule.problem:
        lines.append(f"    problem: {wproj.printable(rule.problem)}")
    return lines
