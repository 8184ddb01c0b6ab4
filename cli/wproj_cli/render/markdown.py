"""Markdown for the summary of a job and for comments: the verdict, then the worst findings.

A comment on GitHub holds 65,536 characters. What is written here stays below, whatever the report:
names are cut, rows and lines are limited in number, and those beyond the budget are only counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import wproj
from wproj_cli.render.findings import Finding, counted, diagnosed, findings, verdict, worst_first
from wproj_cli.render.sentences import describe, shorten

_ROWS = 50
_DIAGNOSTICS = 10
_WIDTH = 120
_BUDGET = 45_000  # Bytes of rows; the diagnostics stay below 15,000, the rest below 1,000.
_DIAGNOSTIC_BUDGET = 7_000  # Of the errors, and again of the warnings.

# Words that Markdown leaves as they are: nothing that begins an element, a link or a mention.
_PLAIN = re.compile(
    r"(?:[A-Za-z0-9 ,;=%+']|-(?=[\w>])|->|:(?= )|\.+(?=\w)|[_/](?=\w)(?<=\w.)"
    r"|\[[\d,]+\](?=[: )])|\((?=\w)|\)(?=[ ;]|$))+"
)


def render_markdown(report: wproj.Report) -> Iterator[str]:
    """The report as Markdown of GitHub's kind, less than 64 kB of it."""
    found = findings(report)
    rows = worst_first(found or _listing(report))
    blocks = [
        f"### {verdict(report)}",
        f"{counted(report)}.",
        _diagnostics(diagnosed(report, "error"), "error"),
        _diagnostics(diagnosed(report, "warning"), "warning"),
        _table(rows, "finding" if found else "tensor", files=len(report.files) > 1),
        "Long names are cut in the middle." if any(map(_is_long, rows[:_ROWS])) else "",
    ]
    yield "\n\n".join(block for block in blocks if block) + "\n"


def _is_long(row: Finding) -> bool:
    return any(len(text or "") > _WIDTH for text in (row.name, row.rule, row.file))


def _listing(report: wproj.Report) -> list[Finding]:
    """What there is to say of tensors where the verb finds nothing but tells; none for gates."""
    if report.command in ("check", "diff"):
        return []
    return [
        Finding(
            level="warning",
            kind=tensor.status,
            name=wproj.printable(tensor.name),
            what=describe(tensor, report.command),
            rule=None if tensor.rule is None else wproj.printable(tensor.rule),
            file=wproj.printable(file.path),
            weight=(tensor.violations.worst_excess or 0) if tensor.violations else 0,
        )
        for file in report.files
        for tensor in file.tensors
    ]


def _diagnostics(diagnostics: Sequence[Finding], level: str) -> str:
    lines = [f"- **{level}**: {_prose(d.sentence(_WIDTH))}" for d in diagnostics[:_DIAGNOSTICS]]
    kept = _affordable(lines, _DIAGNOSTIC_BUDGET)
    left = len(diagnostics) - len(kept)
    more = [f"- and {wproj.plural(left, f'more {level}')}"] if left else []
    return "\n".join([*kept, *more])


def _table(rows: Sequence[Finding], noun: str, *, files: bool) -> str:
    """The first rows that are affordable, and how many are left out."""
    cells: dict[str, Callable[[Finding], str]] = {
        "file": lambda row: _code(shorten(row.file or "", _WIDTH)),
        "tensor": lambda row: _code(shorten(row.name or "", _WIDTH)),
        "rule": lambda row: _code(shorten(row.rule, _WIDTH)) if row.rule else "",
        "what": lambda row: _prose(shorten(row.what, 2 * _WIDTH)),
    }
    if not files:
        del cells["file"]
    if not any(row.rule for row in rows[:_ROWS]):
        del cells["rule"]
    lines = [f"| {' | '.join(cell(row) for cell in cells.values())} |" for row in rows[:_ROWS]]
    kept = _affordable(lines, _BUDGET)
    left = len(rows) - len(kept)
    head = [f"| {' | '.join(cells)} |", f"|{'---|' * len(cells)}"] if kept else []
    more = ["", f"And {wproj.plural(left, f'more {noun}')}."] if left else []
    return "\n".join([*head, *kept, *more])


def _affordable(lines: Sequence[str], budget: int) -> list[str]:
    """The first lines, as many as fit."""
    kept: list[str] = []
    for line in lines:
        budget -= len(line.encode()) + 1
        if budget < 0:
            break
        kept.append(line)
    return kept


def _prose(text: str) -> str:
    """A sentence: as it is where Markdown reads it as it is, else as code."""
    return text if _PLAIN.fullmatch(text) and "www." not in text else _code(text)


def _code(text: str) -> str:
    """Text that is shown as it is, in a table, too: nothing in it is Markdown, HTML or a mention.

    A code span where its delimiters and those of the table do not occur; else HTML, all of whose
    punctuation is written as references.
    """
    if text.strip() and not re.search(r"[`|]|^ | $", text):
        return f"`{text}`"
    quoted = re.sub(r"[^\w ]|_", lambda found: f"&#{ord(found[0])};", text)
    return f"<code>{quoted}</code>"
