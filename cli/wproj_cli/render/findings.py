"""What a report found, and the one sentence for it that every format says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import wproj
from wproj_cli.render.sentences import describe, kind_of, one_line, shorten

# The statuses that are findings of a verb: what makes its exit code 1. Of no other verb.
_FOUND = {
    "check": ("violation",),
    "project": ("changed",),
    "diff": ("added", "removed", "reshaped", "retyped", "changed"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that a report found, or a diagnostic of it. All texts are printable.

    Attributes:
        level: Whether it is a fault or a warning.
        kind: The constraint that is violated, how a tensor differs, or the level.
        what: The sentence, without the name of the tensor.
        name: The tensor; None for a diagnostic.
        rule: The rule that the tensor violates.
        file: The checkpoint, as it was given.
        path: Where a reader can act: the recipe, else the checkpoint.
        line: The rule's line of the recipe.
        weight: How bad it is, among findings of one report; infinite where no number says.
    """

    level: Literal["error", "warning"]
    kind: str
    what: str
    name: str | None = None
    rule: str | None = None
    file: str | None = None
    path: str | None = None
    line: int | None = None
    weight: float = math.inf

    def sentence(self, width: int | None = None) -> str:
        """Which tensor, which vector, by how much; long parts cut in the middle to `width`."""
        name, what = self.name, self.what
        if width is not None:
            what = shorten(what, 2 * width)
            name = None if name is None else shorten(name, width)
        return what if name is None else f"{name}: {what}"


def findings(report: wproj.Report) -> list[Finding]:
    """The findings of a report, in the order of its files and their tensors."""
    return [finding for file in report.files for finding in _in_file(report, file)]


def diagnosed(report: wproj.Report, level: Literal["error", "warning"]) -> list[Finding]:
    """The errors or the warnings of a report, in the order in which they occurred."""
    return [
        Finding(
            level=level,
            kind=level,
            what=one_line(d.message) + (f" (hint: {one_line(d.hint)})" if d.hint else ""),
            file=_given(d.file),
            path=_given(d.file) or _recipe(report),
        )
        for d in report.diagnostics
        if d.level == level
    ]


def worst_first(found: Sequence[Finding]) -> list[Finding]:
    """The findings by weight; those of one weight stay in their order."""
    return sorted(found, key=lambda finding: -finding.weight)


def is_found(report: wproj.Report, tensor: wproj.TensorReport) -> bool:
    """Whether a tensor is a finding: `project` has findings with `--check` only."""
    found = tensor.status in _FOUND.get(report.command, ())
    return found and (report.command != "project" or report.exit_code == 1)


def finding(tensor: wproj.TensorReport, command: str) -> str | None:
    """The sentence for a tensor that is a finding of `command`; None for any other."""
    if tensor.status not in _FOUND.get(command, ()):
        return None
    return f"{wproj.printable(tensor.name)}: {describe(tensor, command)}"


def rule_lines(report: wproj.Report, file: wproj.FileReport) -> dict[str, int]:
    """The line of the recipe that each rule stands on."""
    if _recipe(report) is None:
        return {}
    return {rule.rule: rule.line for rule in file.rules if rule.line is not None}


def verdict(report: wproj.Report) -> str:
    """How it went, in a few words."""
    errors = sum(d.level == "error" for d in report.diagnostics)
    found = sum(is_found(report, tensor) for file in report.files for tensor in file.tensors)
    words = [wproj.plural(found, "finding")] if found else []
    if errors:
        words.insert(0, wproj.plural(errors, "error"))
    silent = "no findings" if report.command in ("check", "diff") else "done"
    return f"wproj {report.command}: {', '.join(words) or silent}"


def counted(report: wproj.Report) -> str:
    """The summary in a line; counts that are zero say nothing."""
    if report.command == "diff":
        compared = Counter[str](tensor.status for file in report.files for tensor in file.tensors)
        return _sum(wproj.plural(compared.total(), "tensor"), compared)
    s = report.summary
    files, tensors = wproj.plural(s.files, "file"), wproj.plural(s.tensors, "tensor")
    if report.command == "ls":
        return f"{files}, {tensors}"
    counts = {"matched": s.matched, "skipped": s.skipped, "changed": s.changed}
    counts |= {"vectors or entries outside": s.violations, "non-finite": s.nonfinite}
    return _sum(f"{files}, {tensors}", counts)


def _sum(whole: str, counts: Mapping[str, int]) -> str:
    parts = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{whole}: {parts}" if parts else whole


def _in_file(report: wproj.Report, file: wproj.FileReport) -> Iterator[Finding]:
    lines = rule_lines(report, file)
    for tensor in file.tensors:
        if is_found(report, tensor):
            yield Finding(
                level="error",
                kind=kind_of(tensor),
                what=describe(tensor, report.command),
                name=wproj.printable(tensor.name),
                rule=None if tensor.rule is None else wproj.printable(tensor.rule),
                file=_given(file.path),
                path=_recipe(report) or _given(file.path),
                line=lines.get(tensor.rule) if tensor.rule else None,
                weight=_weight(tensor),
            )


def _recipe(report: wproj.Report) -> str | None:
    """The recipe's path, if it is a file."""
    return _given(report.recipe.path) if report.recipe and report.recipe.path != "-" else None


def _given(path: str | None) -> str | None:
    return None if path is None else wproj.printable(path)


def _weight(tensor: wproj.TensorReport) -> float:
    if tensor.difference is not None and tensor.status != "retyped":
        measure = tensor.difference.largest
    elif tensor.violations is not None and not (tensor.nonfinite and tensor.status == "violation"):
        measure = tensor.violations.worst_excess
    else:
        measure = None
    return math.inf if measure is None else measure
