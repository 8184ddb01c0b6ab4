"""What a reader is told in the end: names, rules and configs of strangers, in every format."""

from wproj.explaining import explain, rule_reports
from wproj.formats.base import Checkpoint
from wproj.report import FileReport
from wproj.reporting import file_report, listed_report, make_report
from wproj.selection.plan import Plan
from wproj_cli.options import FORMATS
from wproj_cli.render import render

# The page takes a hundred times as long as the others together.
_QUICK = tuple(name for name in FORMATS if name != "html")


def render_listing(checkpoint: Checkpoint, number: int) -> None:
    """Has `ls` tell of a checkpoint, in one of the formats that are written quickly."""
    tensors = [listed_report(entry) for entry in checkpoint.entries]
    file = file_report(checkpoint, checkpoint.layout, None, tensors)
    _render("ls", file, _QUICK[number % len(_QUICK)])


def render_plan(plan: Plan, number: int) -> None:
    """Has `explain` tell of a plan, in one of the formats that are written quickly."""
    _render("explain", _explained(plan), _QUICK[number % len(_QUICK)])


def render_page(plan: Plan) -> None:
    """Has `explain` tell of a plan as a page."""
    _render("explain", _explained(plan), "html")


def _explained(plan: Plan) -> FileReport:
    tensors = list(explain(plan))
    return file_report(plan.checkpoint, plan.layout, None, tensors, rule_reports(plan))


def _render(command: str, file: FileReport, name) -> None:
    render(make_report(command, [file], [], 0), name).encode()
