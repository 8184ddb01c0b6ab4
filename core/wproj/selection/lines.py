"""Where in a TOML text something stands: what the parser of the standard library does not tell."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

Place = tuple[str | int, ...]

_DEEP = 32  # What lies deeper is left out: nesting may be as deep as the text is long.
# What may hold brackets and ends of lines that mean nothing: strings of all kinds, and comments.
_TOKEN = re.compile(
    r'"""(?:[^"\\]++|\\.|"{1,2}(?!"))*+"{3,5}'
    r"|'''(?:[^']++|'{1,2}(?!'))*+'{3,5}"
    r'|"(?:[^"\\]++|\\.)*+"'
    r"|'[^']*+'"
    r"|\#[^\n]*+"
    r"|[\[\]{}\n]",
    re.DOTALL,
)


# The same, and what keys are made of. Whatever it begins with is taken to its end, be it valid or
# not: nothing is looked at twice.
_PART = r"""(?:[\w-]++|"(?:[^"\\\n]++|\\.)*+"?|'[^'\n]*+'?)"""
_KEY = re.compile(
    r'''"""(?:[^"\\]++|\\.|"{1,2}(?!"))*+(?:"{3,5}|\Z)|#[^\n]*+'''
    r"|'''(?:[^']++|'{1,2}(?!'))*+(?:'{3,5}|\Z)"
    rf"|(?P<key>{_PART}(?:[ \t]*+\.[ \t]*+{_PART})*+)",
    re.DOTALL,
)


def longest_key(text: str) -> int:
    """How many parts the longest dotted key of a text has at most, be it TOML or not.

    >>> longest_key("a.b . 'c' = 1 # x.y.z.x.y.z"), longest_key("[")
    (3, 0)
    """
    keys = (found["key"] for found in _KEY.finditer(text))
    return max((key.count(".") + 1 for key in keys if key), default=0)


def lines_of(text: str) -> dict[Place, int]:
    r"""The line, from 1, on which each value of a TOML document begins, by its place.

    A place is a path of keys and of positions in lists. What is within brackets has the line of
    its statement.

    >>> lines_of("a = 1\n[[rule]]\n[[rule]]\naxis = [\n0]\n")[("rule", 1, "axis")]
    4
    """
    found: dict[Place, int] = {}
    tables: dict[Place, int] = {}  # How many each array of tables has so far.
    table: Place = ()
    for line, statement in _statements(text):
        data = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table, data = _header(data, tables), {}
            places = [table[:end] for end in range(1, min(len(table), _DEEP) + 1)]
        else:
            places = [(*table, *place) for place in _within(data)]
        for place in places:
            found.setdefault(place, line)
    return found


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """The statements of a document, each with its line; empty lines and comments are some, too."""
    start, depth, line, first = 0, 0, 1, 1
    for token in _TOKEN.finditer(text):
        depth += token[0] in "[{"
        depth -= token[0] in "]}"
        line += token[0].count("\n")
        if token[0] == "\n" and not depth:
            yield first, text[start : token.end()]
            start, first = token.end(), line
    yield first, text[start:]


def _header(data: Any, tables: dict[Place, int]) -> Place:  # noqa: ANN401 # anything in TOML
    """The place of the table that a header such as `[[rule]]` or `[rule.config]` opens."""
    place: Place = ()
    while data:
        if isinstance(data, list):
            tables[place] = tables.get(place, 0) + 1
            return (*place, tables[place] - 1)
        if place in tables:
            place = (*place, tables[place] - 1)
        ((key, data),) = data.items()
        place = (*place, key)
    return place


def _within(data: Any, depth: int = _DEEP) -> Iterator[Place]:  # noqa: ANN401 # anything in TOML
    """The places of all values in `data`."""
    listed = enumerate(data) if isinstance(data, list) else ()
    for key, value in data.items() if isinstance(data, dict) else listed:
        yield (key,)
        if depth > 1:
            yield from ((key, *place) for place in _within(value, depth - 1))
