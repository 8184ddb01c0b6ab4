"""The table: one line for each row, and its place between two markers of a document."""

import re
from pathlib import Path

from figures import Figure

BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"

HEAD = """\
| row | figure | goal | median | range | met | wproj | opponent |
|---|---|---|---|---|---|---|---|"""

VERDICTS = {True: "yes", False: "**no**", None: "-"}


def line(name: str, says: str, figure: Figure) -> str:
    """A measured row."""
    unit, goal = figure.goal.unit, figure.goal
    middle, least, most = (
        f"{value:.{unit.digits}f}" for value in (figure.middle, figure.least, figure.most)
    )
    ours, theirs = unit.each(*figure.each)
    verdict = VERDICTS[goal.met(figure.middle)]
    return (
        f"| {name} | {says} | {goal} | {middle} {unit.said} | {least} .. {most} | {verdict} "
        f"| {ours} | {theirs} |"
    )


def omitted(name: str, says: str, goal: str, reason: str) -> str:
    """A row that could not be measured."""
    return f"| {name} | {says} | {goal} | {reason.replace('|', ' ')} | | | | |"


def document(text: str, machine: str, line: str, order: list[str]) -> str:
    """A document with a line in its table.

    Other lines stay, in order, if they were measured on the same machine in the same way.
    """
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    kept = named(old.splitlines()) if f"{machine}." in old else {}
    merged = kept | named([line])
    lines = [merged[name] for name in order if name in merged]
    return "\n".join([f"{before}{BEGIN}", f"{machine}.", "", HEAD, *lines, f"{END}{after}"])


def named(lines: list[str]) -> dict[str, str]:
    """Lines of a table by their first cell."""
    found = (re.match(r"\| (\S+) \|", each) for each in lines)
    return {match[1]: match.string for match in found if match}


def write(path: Path, machine: str, line: str, order: list[str]) -> None:
    """Puts a line into the table of a document."""
    path.write_text(document(path.read_text("utf-8"), machine, line, order), "utf-8")
