"""One small file per report format; a new one is a file and a line in `render`."""

from __future__ import annotations

import wproj
from wproj_cli.options import ReportFormat


def render(report: wproj.Report, fmt: ReportFormat) -> str:
    """The report as text, ready to be written."""
    from wproj_cli.render.json import render_json
    from wproj_cli.render.text import render_text

    renderers = {"json": render_json, "text": render_text}
    return renderers[fmt](report)
