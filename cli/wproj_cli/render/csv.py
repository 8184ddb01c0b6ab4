"""CSV for pandas and spreadsheets: a row for each tensor, and nothing that a spreadsheet runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

import wproj
from wproj_cli.render.findings import is_found
from wproj_cli.render.sentences import constraint_text, describe

_NORMS = ("min", "mean", "p50", "p99", "max")

COLUMNS = (
    *("file", "name", "path", "layer", "shape", "dtype", "bytes"),
    *("rule", "constraint", "axis", "vectors", "vector_length", "status", "reason"),
    *("outside_before", "outside_after", "changed_vectors", "changed_entries"),
    *("zero", "nonfinite", "unreachable"),
    *("worst_index", "worst_norm", "worst_value", "worst_excess"),
    *(f"before_{key}" for key in _NORMS),
    *(f"after_{key}" for key in _NORMS),
    *("distance", "distance_relative"),
    *("a_shape", "a_dtype", "b_shape", "b_dtype"),
    *("differing_entries", "difference", "difference_relative", "difference_index"),
    "finding",
)
# What spreadsheets take for the beginning of a formula, the full-width forms included.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")

Cell = str | int | float | None


def render_csv(report: wproj.Report) -> Iterator[str]:
    r"""The report as CSV as RFC 4180 has it, but for the ends of its lines; by the line.

    Those are `\n`: every reader takes them, line-based tools and version control want them, and
    text streams on Windows would make `\r\r\n` of the other.
    """
    yield _line(COLUMNS)
    for file in report.files:
        for tensor in file.tensors:
            row = _described(file, tensor) | _measured(tensor) | _compared(tensor)
            found = is_found(report, tensor)
            row["finding"] = describe(tensor, report.command) if found else None
            yield _line(map(row.get, COLUMNS))
    for diagnostic in report.diagnostics:
        if diagnostic.level == "error":
            row = {"file": diagnostic.file, "status": "error", "reason": diagnostic.message}
            yield _line(map(row.get, COLUMNS))


def _line(cells: Iterable[Cell]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(map(_harmless, cells))
    return text.getvalue()


def _harmless(cell: Cell) -> Cell:
    """The cell, if text, as one printable line that no spreadsheet takes for a formula."""
    if not isinstance(cell, str):
        return cell
    text = wproj.printable(cell)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _described(file: wproj.FileReport, tensor: wproj.TensorReport) -> dict[str, Cell]:
    return {
        "file": file.path,
        "name": tensor.name,
        "path": tensor.path,
        "layer": tensor.layer,
        "shape": _shape(tensor.shape),
        "dtype": tensor.dtype,
        "bytes": tensor.bytes,
        "rule": tensor.rule,
        "constraint": constraint_text(tensor),
        "axis": _index(tensor.axis),
        "vectors": tensor.vectors,
        "vector_length": tensor.vector_length,
        "status": tensor.status,
        "reason": tensor.reason,
    }


def _measured(tensor: wproj.TensorReport) -> dict[str, Cell]:
    outside, moved = tensor.violations, tensor.distance
    return {
        "outside_before": outside.before if outside else None,
        "outside_after": outside.after if outside else None,
        "changed_vectors": tensor.changed_vectors,
        "changed_entries": tensor.changed_entries,
        "zero": tensor.zero,
        "nonfinite": tensor.nonfinite,
        "unreachable": tensor.unreachable,
        "worst_index": _index(outside.worst_index) if outside else None,
        "worst_norm": outside.worst_norm if outside else None,
        "worst_value": outside.worst_value if outside else None,
        "worst_excess": outside.worst_excess if outside else None,
        **_norms("before", tensor.norm_before),
        **_norms("after", tensor.norm_after),
        "distance": moved.absolute if moved else None,
        "distance_relative": moved.relative if moved else None,
    }


def _norms(when: str, norms: wproj.NormSummary | None) -> dict[str, Cell]:
    return {f"{when}_{key}": None if norms is None else getattr(norms, key) for key in _NORMS}


def _compared(tensor: wproj.TensorReport) -> dict[str, Cell]:
    a, b, change = tensor.a, tensor.b, tensor.difference
    return {
        "a_shape": _shape(a.shape) if a else None,
        "a_dtype": a.dtype if a else None,
        "b_shape": _shape(b.shape) if b else None,
        "b_dtype": b.dtype if b else None,
        "differing_entries": change.entries if change else None,
        "difference": change.largest if change else None,
        "difference_relative": change.relative if change else None,
        "difference_index": _index(change.index) if change else None,
    }


def _shape(shape: Sequence[int]) -> str:
    """A shape such as `3x3x64`, as `(3)` is -3 to a spreadsheet; `scalar` has no axes."""
    return "x".join(map(str, shape)) or "scalar"


def _index(index: Sequence[int] | None) -> str | None:
    """Numbers parted by spaces, as a spreadsheet may take `1,2` for twelve."""
    return None if index is None else " ".join(map(str, index))
