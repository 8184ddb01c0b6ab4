"""GitLab's Code Quality report: a JSON array of what was found, with stable fingerprints."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import wproj
from wproj_cli.render.findings import Finding, diagnosed, findings
from wproj_cli.render.sentences import shorten

_WIDTH = 200


def render_gitlab(report: wproj.Report) -> Iterator[str]:
    """The report as a JSON array, in ASCII: errors, findings, then warnings."""
    found = [
        *(("critical", error) for error in diagnosed(report, "error")),
        *(("major", finding) for finding in findings(report)),
        *(("minor", warning) for warning in diagnosed(report, "warning")),
    ]
    seen: Counter[str] = Counter()
    issues = [_issue(finding, severity, seen) for severity, finding in found]
    yield json.dumps(issues, indent=2) + "\n"


def _issue(finding: Finding, severity: str, seen: Counter[str]) -> dict[str, Any]:
    """An issue; its description has the rule, as GitLab shows no `check_name`."""
    rule = "" if finding.rule is None else f"[{shorten(finding.rule, _WIDTH)}] "
    return {
        "description": f"{rule}{finding.sentence(_WIDTH)}",
        "check_name": f"wproj.{finding.kind}",
        "fingerprint": _fingerprint(finding, seen),
        "severity": severity,
        "location": {"path": _relative(finding.path), "lines": {"begin": finding.line or 1}},
    }


def _fingerprint(finding: Finding, seen: Counter[str]) -> str:
    """A digest of file, tensor and rule, or of a diagnostic's text; of no measured value.

    So a finding is the same one in the next run, however far the vector is outside by then. What
    occurs twice, such as a file that is given twice, is counted.
    """
    subject = finding.what if finding.name is None else finding.name
    key = json.dumps([finding.level, finding.file, subject, finding.rule])
    seen[key] += 1
    return hashlib.sha256(f"{key}{seen[key]}".encode()).hexdigest()


def _relative(path: str | None) -> str:
    """A path as GitLab wants it: with slashes, without a leading `./`, and never empty."""
    return PurePath(path or ".").as_posix()
