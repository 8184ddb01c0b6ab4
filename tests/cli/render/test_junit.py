"""JUnit XML, read back by a JUnit parser, and held against what Jenkins' schema allows."""

import re
import sys
from xml.etree import ElementTree as ET

import junitparser
import pytest

import wproj
from wproj_cli.render import render

GATE = """\
<?xml version='1.0' encoding='us-ascii'?>
<testsuites name="wproj check" tests="5" failures="2" errors="1">
  <testsuite name="./model.h5" tests="4" failures="2" errors="0" skipped="1">
    <testcase classname="./model.h5" name="dense/bias [*/bias non_neg]">
      <failure type="non_neg" message="dense/bias: 3 of 16 entries outside non_neg \
(worst [4]: -0.2)" />
    </testcase>
    <testcase classname="./model.h5" name="conv1/kernel [conv*/kernel max_norm=1]">
      <failure type="max_norm" message="conv1/kernel: 14 of 16 vectors outside max_norm=1 \
(worst [12]: norm 1.76469, 0.764693 too far)">[12]: norm 1.76469, 0.764693 too far</failure>
    </testcase>
    <testcase classname="./model.h5" name="conv2/kernel [conv*/kernel max_norm=1]" />
    <testcase classname="./model.h5" name="bn/mean">
      <skipped message="moving statistics" />
    </testcase>
  </testsuite>
  <testsuite name="no.h5" tests="1" failures="0" errors="1" skipped="0">
    <testcase classname="no.h5" name="wproj check">
      <error type="error" message="no.h5: there is no such file" />
    </testcase>
  </testsuite>
</testsuites>
"""
# What the schema of Jenkins' xUnit plugin (junit-10) allows of what is written here: the children
# of each element, the attributes that it has to have, and those that it may have besides.
ALLOWED = {
    "testsuites": ({"testsuite"}, set(), {"name", "tests", "failures", "errors"}),
    "testsuite": ({"testcase"}, {"name", "tests", "failures", "errors"}, {"skipped"}),
    "testcase": ({"failure", "error", "skipped"}, {"name"}, {"classname"}),
    "failure": (set(), set(), {"type", "message"}),
    "error": (set(), set(), {"type", "message"}),
    "skipped": (set(), set(), {"type", "message"}),
}
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # By XML 1.0.


def assert_valid(root):
    """The structure that Jenkins' schema asks for, and counts that are right."""
    for element in root.iter():
        children, needed, optional = ALLOWED[element.tag]
        assert {child.tag for child in element} <= children
        assert needed <= element.attrib.keys() <= needed | optional
    for suite in root:
        assert int(suite.get("tests")) == len(suite)
        for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.get(key)) == len(suite.findall(f"testcase/{tag}"))
    for key in ("tests", "failures", "errors"):
        assert int(root.get(key)) == sum(int(suite.get(key)) for suite in root)


def test_the_report_of_a_gate_is_this_document(make):
    """A suite for each file, a case for each tensor, an error for what failed."""
    assert render(make.gate(), "junit") == GATE


def test_every_report_is_valid_and_read_by_a_junit_parser(any_report):
    """As many cases as there are tensors and errors; failures are what was found."""
    text = render(any_report, "junit")
    suites = junitparser.JUnitXml.fromstring(text.encode())
    cases = [case for suite in suites for case in suite]
    tensors = [tensor for file in any_report.files for tensor in file.tensors]
    errors = [d for d in any_report.diagnostics if d.level == "error"]
    found = {"check": {"violation"}, "diff": {"changed", "added"}}.get(any_report.command, set())

    assert_valid(ET.fromstring(text))  # noqa: S314 # our own
    assert text.isascii()
    assert len(cases) == len(tensors) + len(errors) == suites.tests
    assert suites.failures == sum(tensor.status in found for tensor in tensors)
    assert suites.errors == len(errors)
    assert sum(case.is_skipped for case in cases) == sum(t.status == "skipped" for t in tensors)


def test_an_error_of_a_file_stands_in_its_suite(make):
    """Once, also if the file is given twice; one without a file has a suite of its own."""
    faults = [
        {"level": "error", "message": "damaged", "file": "model.h5"},
        {"level": "error", "message": "no such rule"},
    ]
    report = make.report(make.file(), make.file(), diagnostics=faults)
    suites = junitparser.JUnitXml.fromstring(render(report, "junit").encode())
    found = [(suite.name, [case.result[0].message for case in suite]) for suite in suites]

    assert found == [("model.h5", ["damaged"]), ("model.h5", []), ("wproj", ["no such rule"])]


def test_project_fails_with_check_only(make):
    """A projection that was asked for is no failure."""
    file = make.file(make.tensor(status="changed", changed_vectors=3))
    results = []
    for code in (0, 1):
        report = make.report(file, command="project", exit_code=code)
        (suite,) = junitparser.JUnitXml.fromstring(render(report, "junit").encode())
        results.append(next(case.result for case in suite))

    assert results[0] == []
    assert [failure.type for failure in results[1]] == ["max_norm"]


def test_a_hostile_name_is_text_and_comes_back(make, hostile):
    """Whole, printable, and never an element."""
    tensor = make.violating(hostile, rule=hostile, reason=hostile)
    faults = [{"level": "error", "message": hostile, "file": hostile}]
    report = make.report(make.file(tensor, path=hostile), diagnostics=faults)
    text = render(report, "junit")
    shown = wproj.printable(hostile)
    (suite,) = junitparser.JUnitXml.fromstring(text.encode())
    failed, error = suite

    assert_valid(ET.fromstring(text))  # noqa: S314 # our own
    assert (suite.name, failed.classname) == (shown, shown)
    assert failed.name == f"{shown} [{shown}]"
    assert failed.result[0].message.startswith(f"{shown}: 14 of 16 vectors")
    assert error.result[0].type == "error"


@pytest.mark.parametrize("plane", range(17))
def test_what_is_printable_may_stand_in_xml(plane):
    """No character that XML 1.0 forbids is left, of all that there are."""
    start, stop = plane << 16, min((plane + 1) << 16, sys.maxunicode + 1)
    text = "".join(map(chr, range(start, stop)))

    assert not FORBIDDEN.search(wproj.printable(text))
    assert bool(FORBIDDEN.search(text)) == (plane == 0)
