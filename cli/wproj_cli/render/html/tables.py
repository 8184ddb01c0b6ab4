"""The tables of the HTML report: which columns, which rows, in which order; texts, no markup."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import wproj
from wproj_cli.render.columns import declared, number
from wproj_cli.render.html.details import Facts, facts, subtitle
from wproj_cli.render.html.histogram import Plot, plot

_RANKS = {"error": 0, "violation": 1, "skipped": 9, "ok": 8, "unchanged": 8, "changed": 3}
_STRUCTURE = 2  # What was added, removed, reshaped or retyped.


@dataclass(frozen=True, slots=True)
class Cell:
    """A text and, if it differs, the text of the same measure after the projection."""

    text: str
    after: str = ""
    kind: str = ""
    plot: Plot | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its label, what its cells hold, and the cell of a tensor."""

    label: str
    kind: str
    cell: Callable[[wproj.TensorReport], Cell]


@dataclass(frozen=True, slots=True)
class Row:
    """A tensor's row."""

    name: str
    subtitle: str
    facts: Facts
    brief: bool
    cells: list[Cell]


def columns(report: wproj.Report) -> list[Column]:
    """The columns that have something to say about any tensor of the report."""
    tensors = [tensor for file in report.files for tensor in file.tensors]
    offered = _listing() if report.command == "ls" else _measures(report.command)
    return [
        column
        for column in offered
        if any(cell.text or cell.after or cell.plot for cell in map(column.cell, tensors))
    ]


def tables(report: wproj.Report, shown: Sequence[Column], detailed: int) -> list[list[Row]]:
    """The tensors of each file, the worst first; beyond `detailed` rows with fewer facts."""
    at = count()
    return [
        [
            _row(tensor, shown, brief=next(at) >= detailed)
            for tensor in sorted(file.tensors, key=badness)
        ]
        for file in report.files
    ]


def _row(tensor: wproj.TensorReport, shown: Sequence[Column], *, brief: bool) -> Row:
    return Row(
        name=wproj.printable(tensor.name),
        subtitle=wproj.printable(subtitle(tensor)),
        facts=facts(tensor, brief=brief),
        brief=brief,
        cells=[column.cell(tensor) for column in shown],
    )


def rank(status: str) -> int:
    """The lower, the worse."""
    return _RANKS.get(status, _STRUCTURE)


def badness(tensor: wproj.TensorReport) -> tuple[int, float]:
    """Errors, then violations by excess, then changes by distance, then the rest."""
    amount: float | None = 0.0
    if tensor.status == "violation":
        amount = tensor.violations.worst_excess if tensor.violations else None
    elif tensor.status == "changed":
        measure = tensor.distance or tensor.difference
        amount = measure.relative if measure else None
    return rank(tensor.status), -math.inf if amount is None else -amount


def status_text(command: str, status: str) -> str:
    """A status in the words of a command: what `explain` finds in order is only taken."""
    told = {"explain": "taken", "audit": "measured"}
    return told.get(command, status) if status == "ok" else status


def _listing() -> list[Column]:
    return [
        Column("shape", "text", _text(lambda t: wproj.shape_text(t.shape))),
        Column("dtype", "text", _text(lambda t: wproj.short_name(t.dtype))),
        Column("bytes", "", lambda t: Cell(str(t.bytes))),
        Column("layer", "text", _text(lambda t: t.layer or "")),
        Column("declared", "text", _text(declared)),
        Column("path", "text", _text(lambda t: "" if t.path == t.name else t.path)),
    ]


def _text(told: Callable[[wproj.TensorReport], str]) -> Callable[[wproj.TensorReport], Cell]:
    return lambda tensor: Cell(wproj.printable(told(tensor)), kind="text")


def _measures(command: str) -> list[Column]:
    def status(tensor: wproj.TensorReport) -> Cell:
        return Cell(status_text(command, tensor.status), kind=tensor.status)

    vectors = Column("vectors", "", lambda t: Cell(_count(t.vectors)))
    planned = [Column("shape", "text", _text(lambda t: wproj.shape_text(t.shape))), vectors]
    extra = {"audit": [vectors], "explain": planned}
    return [
        Column("status", "text", status),
        Column("norms", "plot", lambda t: Cell("", plot=plot(t))),
        *extra.get(command, []),
        *(Column(key, "", _norm(key)) for key in ("min", "p50", "p99", "max")),
        Column("outside", "", _outside),
        Column("changed", "", lambda t: Cell(_count(t.changed_vectors))),
        Column("moved", "", lambda t: Cell(_percent(t.distance.relative if t.distance else None))),
        Column("entries", "", _difference("entries", _count)),
        Column("largest", "", _difference("largest", _number)),
        Column("relative", "", _difference("relative", _percent)),
        Column("zero", "", lambda t: Cell(_some(t.zero))),
        Column("nonfinite", "", lambda t: Cell(_some(t.nonfinite))),
    ]


def _norm(key: str) -> Callable[[wproj.TensorReport], Cell]:
    def cell(tensor: wproj.TensorReport) -> Cell:
        before, after = (
            _number(getattr(norms, key, None)) for norms in (tensor.norm_before, tensor.norm_after)
        )
        return Cell(before, "" if after == before else after)

    return cell


def _difference(key: str, told: Callable[[Any], str]) -> Callable[[wproj.TensorReport], Cell]:
    def cell(tensor: wproj.TensorReport) -> Cell:
        differs = tensor.difference is not None and tensor.difference.entries
        return Cell(told(getattr(tensor.difference, key)) if differs else "")

    return cell


def _outside(tensor: wproj.TensorReport) -> Cell:
    if tensor.violations is None:
        return Cell("")
    before, after = tensor.violations.before, tensor.violations.after
    return Cell("?" if before is None else str(before), "" if after == before else _count(after))


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


def _some(value: int | None) -> str:
    return str(value) if value else ""


def _number(value: float | None) -> str:
    return "" if value is None else number(value)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.3g}%"
