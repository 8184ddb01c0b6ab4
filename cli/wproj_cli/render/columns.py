"""Aligned columns, and what stands in them the same way in every table."""

from __future__ import annotations

from collections.abc import Sequence

import wproj

Row = Sequence[str]

SPARKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
ASCII_SPARKS = ".:-=+*#@"

_WIDEST = 200


def columns(rows: Sequence[Row], right: set[int]) -> list[str]:
    """Rows as lines of aligned columns; those in `right` flush right, the last one as it is.

    A cell that is wider than `_WIDEST` stands out instead of widening its column in every row.
    """
    if not rows:
        return []
    last = len(rows[0]) - 1
    lengths = [[len(row[i]) for row in rows] for i in range(last)]
    widths = [max((n for n in column if n <= _WIDEST), default=0) for column in lengths]
    return [
        "  ".join(
            [
                "",
                *(
                    cell.rjust(width) if i in right else cell.ljust(width)
                    for i, (cell, width) in enumerate(zip(row[:last], widths, strict=True))
                ),
                row[last],
            ]
        ).rstrip()
        for row in rows
    ]


def without_empty(rows: Sequence[Row], heads: int = 1) -> tuple[list[list[str]], list[int]]:
    """The rows without those columns that are empty below the heads; and which remain."""
    used = [i for i in range(len(rows[0])) if any(row[i] for row in rows[heads:])]
    return [[row[i] for i in used] for row in rows], used


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
