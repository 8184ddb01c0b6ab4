"""One HTML file that needs nothing else: no network, no scripts, and no leave to run any.

The page is complete as written; its script only filters and sorts. The security policy allows
that script and the style by their digests, and nothing besides.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from importlib import resources

import msgspec

import wproj
from wproj_cli.render.html.summary import counts, verdict
from wproj_cli.render.html.tables import Column, columns, rank, status_text, tables
from wproj_cli.render.sentences import one_line

_PLAIN_BYTES = 1_000_000
_DETAILED_ROWS = 50
_UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\x7f"}


def render_html(report: wproj.Report) -> Iterator[str]:
    """The report as a page, with the JSON document inside.

    That document is plain while the page stays below a megabyte, and beyond compressed by zlib, in
    base64: norms in full precision are most of a large report.
    """
    page = _page(report)
    room = _PLAIN_BYTES - len(page.encode())
    yield f"{page}{_embedded(msgspec.json.encode(report, enc_hook=list), room)}\n"


def _page(report: wproj.Report) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    shown = columns(report)
    style = _read("report.css") + _labels(shown)
    script = _read("report.js")
    listed = tables(report, shown, _DETAILED_ROWS)
    plots = [cell.plot for rows in listed for row in rows for cell in row.cells if cell.plot]
    return environment.get_template("report.html.jinja").render(
        report=report,
        verdict=verdict(report),
        counts=counts(report),
        columns=shown,
        tables=listed,
        statuses=_statuses(report, shown),
        projected=any(t.norm_after for file in report.files for t in file.tensors),
        plotted=bool(plots),
        limited=any(plot.labels for plot in plots),
        detailed=_DETAILED_ROWS,
        plural=wproj.plural,
        printable=wproj.printable,
        one_line=one_line,
        style=style,
        script=script,
        policy=f"default-src 'none'; img-src data:; script-src {_digest(script)}; "
        f"style-src {_digest(style)}; base-uri 'none'; form-action 'none'",
    )


def _statuses(report: wproj.Report, shown: Sequence[Column]) -> list[str]:
    """The statuses to choose from; none where there is no such column."""
    if not any(column.label == "status" for column in shown):
        return []
    found = {tensor.status for file in report.files for tensor in file.tensors}
    return [status_text(report.command, s) for s in sorted(found, key=lambda s: (rank(s), s))]


def _labels(shown: Sequence[Column]) -> str:
    """On narrow screens, where the heads of columns are apart from them, cells say their own."""
    rules = (
        f'  td:nth-child({at})::before {{ content: "{column.label}"; }}\n'
        for at, column in enumerate(shown, 2)
    )
    return f"@media (max-width: 1160px) {{\n{''.join(rules)}}}\n"


def _embedded(document: bytes, room: int) -> str:
    text = document.decode()
    if not text.isascii():
        text = json.dumps(json.loads(text), separators=(",", ":"))
    text = text.translate(_UNSAFE)
    if len(text) <= room:
        return f'<script type="application/json" id="report">{text}</script>'
    # Filtered: a tenth less for what is mostly digits.
    deflate = zlib.compressobj(9, strategy=zlib.Z_FILTERED)
    packed = base64.b64encode(deflate.compress(document) + deflate.flush()).decode()
    return f'<script type="application/zlib" id="report">{packed}</script>'


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
