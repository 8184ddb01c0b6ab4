"""Workflow commands for GitHub Actions: annotations of the recipe, or of the checkpoint.

GitHub shows ten annotations of a kind for each step and drops the rest without a word. So at most
ten of a kind are written; where there are more, the tenth says how many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import wproj
from wproj_cli.render.findings import Finding, counted, diagnosed, findings, verdict, worst_first
from wproj_cli.render.sentences import shorten

_LIMIT = 10
_WIDTH = 200


def render_github(report: wproj.Report) -> Iterator[str]:
    """A command for each fault, the worst first, for each warning, and a notice of the verdict."""
    faults = [*diagnosed(report, "error"), *worst_first(findings(report))]
    lines = [
        *_annotations("error", faults),
        *_annotations("warning", diagnosed(report, "warning")),
        _command("notice", {"title": verdict(report)}, counted(report)),
    ]
    yield "\n".join(lines) + "\n"


def _annotations(kind: str, found: Sequence[Finding]) -> list[str]:
    shown = found if len(found) <= _LIMIT else found[: _LIMIT - 1]
    lines = [_annotation(kind, finding) for finding in shown]
    if len(shown) < len(found):
        more = wproj.plural(len(found) - len(shown), f"more {kind}")
        lines.append(_command(kind, {"title": "wproj"}, f"and {more}"))
    return lines


def _annotation(kind: str, finding: Finding) -> str:
    title = "wproj" if finding.rule is None else f"wproj ({shorten(finding.rule, _WIDTH)})"
    properties = {"title": title}
    if finding.path:
        properties["file"] = finding.path
        if finding.line is not None:
            properties["line"] = str(finding.line)
    return _command(kind, properties, finding.sentence(_WIDTH))


def _command(kind: str, properties: dict[str, str], message: str) -> str:
    told = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{kind} {told}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
