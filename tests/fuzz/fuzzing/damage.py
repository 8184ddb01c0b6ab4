"""Texts, JSON and bytes that are valid but for a few mutations."""

import json
from functools import cache
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

# What has broken parsers before: signs, bounds of integers, numbers beyond float64 or of thousands
# of digits, surrogates, controls, other writing systems' digits.
NUMBERS = (0, -1, 1, 2**31, 2**32, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400, 10**4299)
FLOATS = (0.0, -0.0, 0.5, -1.5, 1e-320, 1.8e308, float("inf"), float("nan"))
TEXTS = ("", "a", "0", "\0", "\n", "\ud800", "\u202e", "../x", "a/b", "\u0663", "e\u0301", "[" * 99)
TEXTS = (*TEXTS, "x" * 300, "x" * 5000, "::error::x", "re:(", "{a,b}")


_EITHER, _FEW = st.booleans(), st.integers(0, 3)
_IN_OBJECT = st.sampled_from(("below", "below", "drop", "double", "rename", "odd"))
_IN_LIST = st.sampled_from(("below", "below", "drop", "double", "odd"))
_IN_BYTES = st.sampled_from(("byte", "byte", "byte", "bit", "number", "cut", "copy", "end"))
_BYTE = st.sampled_from((0, 1, 2, 3, 4, 8, 16, 127, 128, 254, 255))


class Twin(str):
    """A key that may stand in an object twice."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def texts(*words: str, size: int = 12) -> SearchStrategy[str]:
    """Texts of these words and of whatever else there is."""
    odd = st.one_of(st.sampled_from(TEXTS), st.text(max_size=4))
    part = st.one_of(st.sampled_from(words), st.sampled_from(words), odd) if words else odd
    return st.lists(part, max_size=size).map("".join)


def encoded(inputs: SearchStrategy[str]) -> SearchStrategy[bytes]:
    """Texts in UTF-8, lone surrogates included."""
    return inputs.map(lambda text: text.encode("utf-8", "surrogatepass"))


@cache
def odd_values() -> SearchStrategy[Any]:
    """What a document does not expect at some place."""
    plain = st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from((*NUMBERS, *FLOATS)),
        st.sampled_from(TEXTS),
        st.integers(-4, 300),
    )
    pairs = st.dictionaries(st.sampled_from(("a", "name", "config", "class_name")), plain)
    return st.one_of(plain, st.lists(plain, max_size=4), pairs, st.integers(1, 600).map(_nested))


def documents(valid: SearchStrategy[Any]) -> SearchStrategy[bytes]:
    """JSON of valid documents with up to three mutations."""
    return as_json(mutated(valid))


@st.composite
def mutated(draw: DrawFn, valid: SearchStrategy[Any]) -> Any:
    """A document of which values were dropped, doubled, replaced or put somewhere else."""
    document = draw(valid)
    for _ in range(draw(_FEW)):
        document = _mutate(draw, document)
    return document


@st.composite
def as_json(draw: DrawFn, valid: SearchStrategy[Any]) -> bytes:
    """A document as JSON, in ASCII or not."""
    text = json.dumps(draw(valid), ensure_ascii=draw(_EITHER))
    return text.encode("utf-8", "surrogatepass")


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _mutate(draw: DrawFn, value: Any) -> Any:
    """The value with one mutation, somewhere below or here."""
    if isinstance(value, dict) and value:
        return _mutate_object(draw, dict(value))
    if isinstance(value, list) and value:
        return _mutate_list(draw, list(value))
    return draw(odd_values())


def _mutate_object(draw: DrawFn, value: dict[str, Any]) -> Any:
    key = draw(st.sampled_from(sorted(value)))
    kind = draw(_IN_OBJECT)
    if kind == "below":
        value[key] = _mutate(draw, value[key])
    elif kind == "drop":
        del value[key]
    elif kind == "double":
        value[Twin(key)] = draw(odd_values())
    elif kind == "rename":
        value[draw(st.sampled_from((*TEXTS, *value)))] = value.pop(key)
    else:
        value[key] = draw(odd_values())
    return value


def _mutate_list(draw: DrawFn, value: list[Any]) -> Any:
    index = draw(st.integers(0, len(value) - 1))
    kind = draw(_IN_LIST)
    if kind == "below":
        value[index] = _mutate(draw, value[index])
    elif kind == "drop":
        del value[index]
    elif kind == "double":
        value.insert(index, value[index])
    else:
        value[index] = draw(odd_values())
    return value


@st.composite
def scrambled(draw: DrawFn, valid: SearchStrategy[bytes], most: int = 6) -> bytes:
    """Bytes of which a few were changed, cut out, doubled or put somewhere else."""
    data = bytearray(draw(valid))
    for _ in range(draw(st.integers(0, most))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        kind = draw(_IN_BYTES)
        if kind == "byte":
            data[at] = draw(_BYTE)
        elif kind == "bit":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "number":
            size = draw(st.sampled_from((2, 4, 8)))
            number = draw(st.sampled_from((0, 1, 2**15, 2**31, 2**63, 2**64 - 1, 2**64 - 8)))
            data[at : at + size] = number.to_bytes(8, "little")[-size:]
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 16))]
        elif kind == "copy":
            start = draw(st.integers(0, len(data) - 1))
            data[at:at] = data[start : start + draw(st.integers(1, 64))]
        else:
            del data[at:]
    return bytes(data)
