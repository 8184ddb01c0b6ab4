"""Axes as they are asked for, and what they mean for one tensor. Never a guess."""

from collections.abc import Sequence
from typing import Literal

from wproj.errors import RequestError
from wproj.formats.base import Layout, TensorEntry

# None: as the constraint says. auto: like in, but only where the class of the layer is known.
Axes = int | tuple[int, ...] | Literal["in", "all", "auto"] | None


def parse_axes(text: str) -> Axes:
    """The axes that `0`, `-1`, `0,1,2`, `all` or `in` stands for.

    >>> parse_axes("0,1,2")
    (0, 1, 2)

    Raises:
        RequestError: It is none of these.
    """
    words: dict[str, Axes] = {"in": "in", "all": "all"}
    if text in words:
        return words[text]
    try:
        axes = tuple(int(part) for part in text.strip("()[]").split(","))
    except ValueError as error:
        hint = "axes are 0, -1, 0,1,2, all or in"
        raise RequestError(f"{text!r} is not an axis", hint) from error
    if len(set(axes)) < len(axes):
        raise RequestError(f"axis {text!r} names an axis twice")
    return axes


def axes_text(axes: int | Sequence[int] | str | None) -> str:
    """Axes as the command line spells them.

    >>> axes_text([0, 1, 2]), axes_text("in")
    ('0,1,2', 'in')
    """
    if axes is None or isinstance(axes, str | int):
        return str(axes)
    return ",".join(map(str, axes))


def incoming(entry: TensorEntry, layout: Layout) -> tuple[int, ...] | None:
    """Every axis but the output's: the weights incident to each hidden unit.

    The class of the layer tells where it is known; else the output axis is the last in Keras'
    layout, the first in PyTorch's. None where neither tells, or where no axis remains: a bias has
    no incoming axis.
    """
    rank = len(entry.shape)
    if entry.layer is not None:
        return entry.incoming
    if layout == "unknown" or rank < 2:
        return None
    return tuple(range(rank - 1)) if layout == "keras" else tuple(range(1, rank))
