"""JUnit XML as Jenkins and GitLab read it: a suite for each file, a case for each tensor.

All texts are printable, and what is printable may stand in XML 1.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

import wproj
from wproj_cli.render.findings import Finding, diagnosed, is_found
from wproj_cli.render.sentences import describe, kind_of, worst_vectors


def render_junit(report: wproj.Report) -> Iterator[str]:
    """The report as XML in ASCII, so that any locale can carry it; without times and hosts."""
    root = ET.Element("testsuites", name=f"wproj {report.command}")
    errors: dict[str, list[Finding]] = {}
    for error in diagnosed(report, "error"):
        errors.setdefault("wproj" if error.file is None else error.file, []).append(error)
    for file in report.files:
        path = wproj.printable(file.path)
        suite = ET.SubElement(root, "testsuite", name=path)
        for tensor in file.tensors:
            _add_tensor(suite, report, tensor)
        _add_errors(suite, report, errors.pop(path, []))
    for path, found in errors.items():
        _add_errors(ET.SubElement(root, "testsuite", name=path), report, found)
    _count(root)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="us-ascii", xml_declaration=True)
    yield text.decode("ascii") + "\n"


def _add_tensor(suite: ET.Element, report: wproj.Report, tensor: wproj.TensorReport) -> None:
    name = wproj.printable(tensor.name)
    rule = "" if tensor.rule is None else f" [{wproj.printable(tensor.rule)}]"
    case = ET.SubElement(suite, "testcase", classname=suite.get("name", ""), name=name + rule)
    told = describe(tensor, report.command)
    if is_found(report, tensor):
        failure = ET.SubElement(case, "failure", type=kind_of(tensor), message=f"{name}: {told}")
        failure.text = "\n".join(worst_vectors(tensor)) or None
    elif tensor.status == "skipped":
        ET.SubElement(case, "skipped", message=told)
    elif tensor.status == "error":
        ET.SubElement(case, "error", type="error", message=f"{name}: {told}")


def _add_errors(suite: ET.Element, report: wproj.Report, errors: Sequence[Finding]) -> None:
    for error in errors:
        name = f"wproj {report.command}"
        case = ET.SubElement(suite, "testcase", classname=suite.get("name", ""), name=name)
        ET.SubElement(case, "error", type="error", message=error.what)


def _count(root: ET.Element) -> None:
    """Adds the counts to the suites, and their sums to the root."""
    tags = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
    for suite in root:
        for key, tag in tags.items():
            suite.set(key, str(sum(1 for _ in suite.iter(tag))))
    for key in ("tests", "failures", "errors"):  # Jenkins' schema has no others here.
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
