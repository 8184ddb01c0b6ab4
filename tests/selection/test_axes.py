"""Axes as they are typed, printed, and meant for a layout."""

import numpy as np
import pytest

from wproj.errors import RequestError
from wproj.formats.base import TensorEntry
from wproj.selection.axes import axes_text, incoming, parse_axes


def entry(rank, **known):
    """A float tensor of this rank."""
    return TensorEntry(
        name="w",
        path="w",
        shape=(2,) * rank,
        dtype="float32",
        stored=np.dtype("float32"),
        kind="float",
        nbytes=4 * 2**rank,
        **known,
    )


@pytest.mark.parametrize(
    ("text", "axes"),
    [
        ("0", (0,)),
        ("-1", (-1,)),
        ("0,1,2", (0, 1, 2)),
        ("2,0", (2, 0)),
        ("0, 1", (0, 1)),
        ("(0,1)", (0, 1)),
        ("[0,1,2]", (0, 1, 2)),
        ("-2,-1", (-2, -1)),
        ("all", "all"),
        ("in", "in"),
    ],
)
def test_axes_are_read_as_they_are_typed(text, axes):
    """Numbers, also negative and in brackets, and two words."""
    assert parse_axes(text) == axes


@pytest.mark.parametrize(
    "text",
    ["", " ", "x", "0;1", "1.0", "0,", ",0", "None", "IN", "ALL", "0,in", "out", "auto", "()"],
)
def test_what_is_no_axis_is_refused(text):
    """With what an axis may be."""
    with pytest.raises(RequestError, match="is not an axis") as caught:
        parse_axes(text)

    assert repr(text) in str(caught.value)
    assert caught.value.hint == "axes are 0, -1, 0,1,2, all or in"


@pytest.mark.parametrize("text", ["0,0", "-1,-1", "0,1,0", "(2,2)"])
def test_an_axis_is_named_once(text):
    """Twice is a slip of the hand."""
    with pytest.raises(RequestError, match="names an axis twice"):
        parse_axes(text)


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        (0, "0"),
        (-1, "-1"),
        ((0,), "0"),
        ((0, 1, 2), "0,1,2"),
        ([0, 1], "0,1"),
        ("in", "in"),
        ("all", "all"),
        (None, "None"),
        ((), ""),
    ],
)
def test_axes_are_printed_as_they_are_typed(axes, text):
    """Without brackets and spaces."""
    assert axes_text(axes) == text


@pytest.mark.parametrize("text", ["0", "-1", "0,1,2", "all", "in", "-2,-1"])
def test_what_is_printed_can_be_typed_again(text):
    """Reading and printing are inverse to each other."""
    assert axes_text(parse_axes(text)) == text


@pytest.mark.parametrize(
    ("rank", "layout", "axes"),
    [
        (2, "keras", (0,)),
        (4, "keras", (0, 1, 2)),
        (5, "keras", (0, 1, 2, 3)),
        (2, "torch", (1,)),
        (4, "torch", (1, 2, 3)),
        (1, "keras", None),
        (1, "torch", None),
        (0, "keras", None),
        (0, "torch", None),
        (2, "unknown", None),
        (4, "unknown", None),
    ],
)
def test_incoming_weights_lie_along_all_axes_but_that_of_the_output(rank, layout, axes):
    """Which is the last for Keras, the first for PyTorch, and none for a vector."""
    assert incoming(entry(rank), layout) == axes


@pytest.mark.parametrize("layout", ["keras", "torch", "unknown"])
@pytest.mark.parametrize("axes", [(0, 1), (2,), None])
def test_the_class_of_a_layer_knows_better_than_the_layout(layout, axes):
    """A depthwise or a recurrent kernel is not like the others."""
    assert incoming(entry(4, layer="DepthwiseConv2D", incoming=axes), layout) == axes
