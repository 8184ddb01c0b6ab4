"""The verdict of a report in one line, and its counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import wproj
from wproj_cli.render.html.tables import rank, status_text

Counts = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out, and how it is to be taken: `bad`, `good` or neither."""

    text: str
    tone: str


def verdict(report: wproj.Report) -> Verdict:
    """The report in one line."""
    said = {
        "audit": _audit,
        "check": _check,
        "diff": _diff,
        "explain": _explain,
        "project": _project,
    }
    if not report.files:
        found = Verdict("Nothing to report", "")
    else:
        found = said.get(report.command, _listed)(report)
    errors = sum(diagnostic.level == "error" for diagnostic in report.diagnostics)
    if not errors:
        return found
    text = wproj.plural(errors, "error")
    if report.files:
        text += f"; {found.text[0].lower()}{found.text[1:]}"
    return Verdict(text, "bad")


def counts(report: wproj.Report) -> Counts:
    """The counts worth a place at the top."""
    summary = report.summary
    told = [("files", summary.files)] if summary.files > 1 else []
    told.append(("tensors", summary.tensors))
    if report.command == "ls":
        told.append(("bytes", sum(tensor.bytes for tensor in _tensors(report))))
    else:
        statuses = Counter(tensor.status for tensor in _tensors(report))
        told += [
            (status_text(report.command, status), statuses[status])
            for status in sorted(statuses, key=lambda status: (rank(status), status))
        ]
    before, after = outside(report)
    if before is not None:
        told.append(("vectors outside", before))
    if after is not None:
        told.append(("outside after", after))
    if summary.nonfinite:
        told.append(("non-finite", summary.nonfinite))
    return [(label, f"{count:,}") for label, count in told]


def outside(report: wproj.Report) -> tuple[int | None, int | None]:
    """How many vectors were outside before and after; None where nothing can tell."""
    found = [tensor.violations for tensor in _tensors(report) if tensor.violations]
    before = [violations.before for violations in found if violations.before is not None]
    after = [violations.after for violations in found if violations.after is not None]
    return sum(before) if before else None, sum(after) if after else None


def _check(report: wproj.Report) -> Verdict:
    return _violating(report, "violate their constraints", "Nothing outside")


def _audit(report: wproj.Report) -> Verdict:
    if outside(report)[0] is None:
        return Verdict(f"{_share(report, report.summary.matched)} measured", "")
    told = "what the model declares"
    return _violating(report, f"are outside {told}", f"Nothing outside {told}")


def _violating(report: wproj.Report, bad: str, good: str) -> Verdict:
    found = _number_of(report, "violation")
    if not found:
        return Verdict(good, "good")
    one = {"violate": "violates", "are": "is"}
    verb, _, rest = bad.partition(" ")
    if found == 1:
        verb, rest = one[verb], rest.replace("their constraints", "its constraint")
    return Verdict(f"{_share(report, found)} {verb} {rest}", "bad")


def _project(report: wproj.Report) -> Verdict:
    after = outside(report)[1]
    changed = f"{_share(report, report.summary.changed)} changed"
    if not report.summary.changed:
        changed = "Nothing to change"
    if after is None:
        return Verdict(changed, "")
    if after:
        return Verdict(f"{changed}; {wproj.plural(after, 'vector')} still outside", "bad")
    return Verdict(f"{changed}; nothing outside", "good")


def _diff(report: wproj.Report) -> Verdict:
    same = _number_of(report, "unchanged") + _number_of(report, "skipped")
    found = len(_tensors(report)) - same
    if not found:
        return Verdict("No difference", "good")
    return Verdict(f"{_share(report, found)} {'differs' if found == 1 else 'differ'}", "")


def _explain(report: wproj.Report) -> Verdict:
    rules = [rule for file in report.files for rule in file.rules]
    problems = sum(rule.problem is not None for rule in rules)
    taken = f"{_share(report, _number_of(report, 'ok'))} taken"
    if rules:
        taken += f" by {wproj.plural(len(rules), 'rule')}"
    if problems:
        return Verdict(f"{taken}; {wproj.plural(problems, 'rule')} with a problem", "bad")
    return Verdict(taken, "")


def _listed(report: wproj.Report) -> Verdict:
    summary = report.summary
    files = wproj.plural(summary.files, "file")
    return Verdict(f"{wproj.plural(summary.tensors, 'tensor')} in {files}", "")


def _share(report: wproj.Report, count: int) -> str:
    return f"{count} of {wproj.plural(report.summary.tensors, 'tensor')}"


def _number_of(report: wproj.Report, status: str) -> int:
    return sum(tensor.status == status for tensor in _tensors(report))


def _tensors(report: wproj.Report) -> list[wproj.TensorReport]:
    return [tensor for file in report.files for tensor in file.tensors]
