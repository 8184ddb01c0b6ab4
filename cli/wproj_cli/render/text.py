"""Plain columns, the name last and never cut, the same on a pipe as on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import wproj
from wproj_cli.render.columns import (
    Row,
    axis_text,
    declared,
    numbers,
    remark,
    sparkline,
    table,
)
from wproj_cli.render.text_gate import check_table, diff_table, explain_table


def render_text(report: wproj.Report) -> Iterator[str]:
    """The report as a table for each file, and a closing line; by the line."""
    tables = {
        "ls": _ls,
        "audit": _audit,
        "project": _project,
        "check": check_table,
        "diff": diff_table,
        "explain": explain_table,
    }
    for at, file in enumerate(report.files):
        gap = "\n" if at else ""
        yield f"{gap}{_headline(report, file)}\n"
        for line in tables[report.command](file):
            yield f"{line}\n"
    if report.command in ("project", "check") and report.files:
        yield f"\n{_closing(report)}\n"


def _headline(report: wproj.Report, file: wproj.FileReport) -> str:
    path = wproj.printable(file.path)
    if file.output is not None:
        path = f"{path} -> {wproj.printable(file.output)}"
    words = [file.format, f"{file.layout} layout", wproj.plural(file.tensor_count, "tensor")]
    if report.numerics:
        words.append(f"{report.numerics} numerics")
    if report.command == "project" and file.output is None:
        words.append("nothing written")
    if report.command == "ls":
        words.extend(_name_sources(file))
    return f"{path}: {', '.join(words)}"


def _name_sources(file: wproj.FileReport) -> list[str]:
    """Where the names come from, in files of Keras; with counts if from several sources."""
    counts = Counter(str(tensor.named_by) for tensor in file.tensors)
    told = {"config": "the config", "attribute": "layer names in the file", "path": "paths"}
    found = [(told[source], counts[source]) for source in told if counts[source]]
    if len(found) == 1:
        return [f"names from {found[0][0]}"]
    return [f"{count} named from {source}" for source, count in found]


def _ls(file: wproj.FileReport) -> Iterator[str]:
    head = ["dtype", "shape", "bytes", "layer", "declared", "path", "name"]
    return table([head], file.tensors, _listed, right={2}, optional={3, 4, 5})


def _listed(tensor: wproj.TensorReport) -> Row:
    name = wproj.printable(tensor.name)
    return [
        wproj.short_name(tensor.dtype),
        wproj.shape_text(tensor.shape),
        str(tensor.bytes),
        wproj.printable(tensor.layer or ""),
        declared(tensor),
        "" if tensor.path == tensor.name else wproj.printable(tensor.path),
        remark(name, tensor.reason),
    ]


def _audit(file: wproj.FileReport) -> Iterator[str]:
    if any(tensor.declared is not None and tensor.constraint for tensor in file.tensors):
        return _audit_declared(file)
    head = ["vectors", "length", "axis", "min", "mean", "p50", "p99", "max", "zero", "nonfinite"]
    heads = [[*head, "norms", "declared", "name"]]
    right = set(range(len(head))) - {2}
    return table(heads, file.tensors, _audited, right=right, optional={len(head) + 1})


def _audited(tensor: wproj.TensorReport) -> Row:
    name = wproj.printable(tensor.name)
    if tensor.norm_before is None:
        return [*["-"] * 10, "", declared(tensor), remark(name, tensor.reason)]
    return [
        str(tensor.vectors),
        str(tensor.vector_length),
        axis_text(tensor),
        *numbers(tensor.norm_before, ("min", "mean", "p50", "p99", "max")),
        str(tensor.zero),
        str(tensor.nonfinite),
        sparkline(tensor.histogram),
        declared(tensor),
        name,
    ]


def _audit_declared(file: wproj.FileReport) -> Iterator[str]:
    head = ["vectors", "length", "axis", "outside", "min", "p50", "max", "norms", "declared"]
    return table([[*head, "name"]], file.tensors, _held, right=set(range(7)) - {2})


def _held(tensor: wproj.TensorReport) -> Row:
    name = wproj.printable(tensor.name)
    if tensor.norm_before is None or tensor.violations is None:
        return [*["-"] * 7, "", declared(tensor), remark(name, tensor.reason)]
    return [
        str(tensor.vectors),
        str(tensor.vector_length),
        axis_text(tensor),
        "?" if tensor.violations.before is None else str(tensor.violations.before),
        *numbers(tensor.norm_before, ("min", "p50", "max")),
        sparkline(tensor.histogram),
        declared(tensor),
        name,
    ]


def _project(file: wproj.FileReport) -> Iterator[str]:
    head = ["vectors", "outside", "changed", "min", "p50", "max", "", "min", "p50", "max", "moved"]
    above = ["", "", "", "before", "", "", "", "after", "", "", ""]
    heads = [[*above, "", ""], [*head, "declared", "name"]]
    return table(heads, file.tensors, _projected, right=set(range(11)), optional={11})


def _projected(tensor: wproj.TensorReport) -> Row:
    name = wproj.printable(tensor.name)
    told = declared(tensor) if tensor.rule == "declared" else ""
    if tensor.norm_before is None or tensor.norm_after is None:
        return [*["-"] * 3, *[""] * 8, told, remark(name, f"skipped: {tensor.reason}")]
    outside = tensor.violations.before if tensor.violations else None
    return [
        str(tensor.vectors),
        "?" if outside is None else str(outside),
        str(tensor.changed_vectors),
        *numbers(tensor.norm_before, ("min", "p50", "max")),
        "->",
        *numbers(tensor.norm_after, ("min", "p50", "max")),
        _moved(tensor),
        told,
        name + ("  [step]" if tensor.step else ""),
    ]


def _moved(tensor: wproj.TensorReport) -> str:
    relative = tensor.distance.relative if tensor.distance else None
    return "-" if relative is None else f"{100 * relative:.3g}%"


def _closing(report: wproj.Report) -> str:
    s = report.summary
    if report.command == "check":
        failed = sum(t.status == "violation" for f in report.files for t in f.tensors)
        files = wproj.plural(s.files, "file")
        return f"{wproj.plural(s.matched, 'tensor')} of {files} checked, {failed} failed"
    before = sum(
        (t.violations.before or 0) for f in report.files for t in f.tensors if t.violations
    )
    return (
        f"{s.matched} of {wproj.plural(s.tensors, 'tensor')} matched, {s.changed} changed; "
        f"outside: {before} before, {s.violations} after"
    )
