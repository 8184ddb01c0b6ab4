"""JSON by the line: one compact object for each tensor and each diagnostic, the summary last."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

import wproj


def render_jsonl(report: wproj.Report) -> Iterator[str]:
    """The report as lines of strict JSON, in ASCII."""
    return (f"{_compact(line)}\n" for line in _lines(report))


def _lines(report: wproj.Report) -> Iterator[dict[str, Any]]:
    """The lines; `file` is the checkpoint in each of them, and `shard` the tensor's file in it."""
    for file in report.files:
        head = {"kind": "tensor", "command": report.command, "file": file.path}
        for tensor in file.tensors:
            fields = msgspec.structs.asdict(tensor)
            yield head | {"shard": fields.pop("file")} | fields
    for diagnostic in report.diagnostics:
        fields = msgspec.structs.asdict(diagnostic)
        yield {"kind": "diagnostic", "command": report.command} | fields
    yield {
        "kind": "summary",
        "schema": report.schema,
        "schema_version": report.schema_version,
        "command": report.command,
        "tool": report.tool,
        "numerics": report.numerics,
        "exit_code": report.exit_code,
        "recipe": report.recipe,
        "summary": report.summary,
    }


def _compact(line: dict[str, Any]) -> str:
    text = msgspec.json.encode(line).decode()
    if text.isascii():
        return text
    return json.dumps(json.loads(text), separators=(",", ":"))
