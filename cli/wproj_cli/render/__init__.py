"""One small file per report format; a new one is a file, a line here, and one in `options`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import wproj
from wproj_cli.options import FileFormat

# Where each format is written, imported when it is: `--help` does not wait for them.
_RENDERERS: dict[FileFormat, tuple[str, str]] = {
    "text": ("text", "render_text"),
    "json": ("json", "render_json"),
    "jsonl": ("jsonl", "render_jsonl"),
    "csv": ("csv", "render_csv"),
    "md": ("markdown", "render_markdown"),
    "junit": ("junit", "render_junit"),
    "github": ("github", "render_github"),
    "gitlab": ("gitlab", "render_gitlab"),
    "html": ("html", "render_html"),
}


def render(report: wproj.Report, fmt: FileFormat) -> str:
    """The report as text, ready to be written."""
    return "".join(pieces(report, fmt))


def pieces(report: wproj.Report, fmt: FileFormat) -> Iterator[str]:
    """The same text in pieces, each made when it is asked for, where the format allows it."""
    module, function = _RENDERERS[fmt]
    made: Iterator[str] = getattr(importlib.import_module(f"wproj_cli.render.{module}"), function)(
        report
    )
    return made
