"""Strict JSON: no NaN, keys in the order of the schema, the same bytes for the same report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from textwrap import indent

import msgspec

import wproj

# The beginning of a file's tensors in the document; texts have no line breaks there.
_TENSORS = '\n      "tensors": ['


def render_json(report: wproj.Report) -> Iterator[str]:
    """The report as one JSON document, in ASCII, so that any locale can carry it; by the tensor."""
    files = [msgspec.structs.replace(file, tensors=[]) for file in report.files]
    first, *rest = _indented(msgspec.structs.replace(report, files=files)).split(_TENSORS)
    yield first
    for file, part in zip(report.files, rest, strict=True):
        yield _TENSORS
        for at, tensor in enumerate(file.tensors):
            yield ",\n" if at else "\n"
            yield indent(_indented(tensor), " " * 8)
        yield f"\n{' ' * 6}{part}" if file.tensors else part
    yield "\n"


def _indented(value: msgspec.Struct) -> str:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return text if text.isascii() else json.dumps(json.loads(text), indent=2)
