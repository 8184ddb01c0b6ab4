"""Strict JSON: no NaN, keys in the order of the schema, the same bytes for the same report."""

from __future__ import annotations

import json

import msgspec

import wproj


def render_json(report: wproj.Report) -> str:
    """The report as one JSON document, in ASCII, so that any locale can carry it."""
    text = msgspec.json.format(msgspec.json.encode(report), indent=2).decode()
    return (text if text.isascii() else json.dumps(json.loads(text), indent=2)) + "\n"
