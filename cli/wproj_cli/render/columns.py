"""Aligned columns, and what stands in them the same way in every table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain

import wproj

Row = Sequence[str]

SPARKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
ASCII_SPARKS = ".:-=+*#@"

_WIDEST = 200


def table(
    heads: Sequence[Row],
    tensors: Iterable[wproj.TensorReport],
    cells: Callable[[wproj.TensorReport], Row | None],
    right: Collection[int] = (),
    optional: Collection[int] = (),
) -> Iterator[str]:
    """Lines of aligned columns: the heads, then a row for each tensor that `cells` has one for.

    Columns in `right` are flush right, and the last one is as it is. Those in `optional` are left
    out where no row has anything in them. A cell that is wider than `_WIDEST` stands out instead of
    widening its column in every row. The rows are made twice, since to keep them takes memory.
    """
    widths = [max(map(len, column)) for column in zip(*heads, strict=True)]
    filled = {i for i in range(len(widths)) if i not in optional}
    for row in _rows(tensors, cells):
        filled.update(i for i in optional if row[i])
        for i, cell in enumerate(row):
            if widths[i] < len(cell) <= _WIDEST:
                widths[i] = len(cell)
    *padded, last = sorted(filled)
    for row in chain(heads, _rows(tensors, cells)):
        shown = [row[i].rjust(widths[i]) if i in right else row[i].ljust(widths[i]) for i in padded]
        yield "  ".join(["", *shown, row[last]]).rstrip()


def _rows(
    tensors: Iterable[wproj.TensorReport], cells: Callable[[wproj.TensorReport], Row | None]
) -> Iterator[Row]:
    return (row for row in map(cells, tensors) if row is not None)


def remark(name: str, text: str | None) -> str:
    """A name, and what there is to say of it."""
    return f"{name}  [{wproj.printable(text)}]" if text else name


def axis_text(tensor: wproj.TensorReport) -> str:
    """The axes of a tensor's vectors."""
    if tensor.axis is None:
        return "-"
    return "all" if len(tensor.axis) == len(tensor.shape) else wproj.axes_text(tensor.axis)


def declared(tensor: wproj.TensorReport) -> str:
    """The constraint that a tensor's layer declares."""
    return "" if tensor.declared is None else wproj.printable(wproj.declared_text(tensor.declared))


def numbers(norms: wproj.NormSummary | None, keys: Sequence[str]) -> list[str]:
    """Norms in six digits."""
    return [number(None if norms is None else getattr(norms, key)) for key in keys]


def number(value: float | None) -> str:
    """A number in six digits."""
    return "-" if value is None else f"{value:#.6g}"


def sparkline(histogram: wproj.Histogram | None) -> str:
    """The counts of a histogram as bars of eight heights, a space for none.

    >>> from wproj import Histogram
    >>> sparkline(Histogram(low=0, high=1, counts=[1, 0, 7, 14]))
    '\u2581 \u2584\u2588'
    """
    if histogram is None:
        return ""
    highest = max(histogram.counts) or 1
    steps = [-(-count * len(SPARKS) // highest) for count in histogram.counts]
    return "".join(SPARKS[step - 1] if step else " " for step in steps)
