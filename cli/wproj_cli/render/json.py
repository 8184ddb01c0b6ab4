"""Strict JSON: no NaN, keys in the order of the schema, the same bytes for the same report."""

import msgspec

import wproj


def render_json(report: wproj.Report) -> str:
    """The report as one JSON document."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"
