"""GitLab's Code Quality report, held against the schema that its documentation describes."""

import json

import jsonschema

import wproj
from wproj_cli.render import render
from wproj_cli.render.sentences import shorten

SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "minLength": 1},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "minLength": 1, "not": {"pattern": "^\\./"}},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
    },
}


def issues(report):
    """The issues of a report, valid and with fingerprints that occur once."""
    text = render(report, "gitlab")
    found = json.loads(text)

    jsonschema.validate(found, SCHEMA)
    assert text.isascii()
    assert len({issue["fingerprint"] for issue in found}) == len(found)
    return found


def test_an_issue_points_at_the_rule_that_is_violated(make):
    """All of an issue but its fingerprint."""
    issue = issues(make.gate())[2]

    assert issue | {"fingerprint": ""} == {
        "description": (
            "[conv*/kernel max_norm=1] conv1/kernel: 14 of 16 vectors outside max_norm=1 "
            "(worst [12]: norm 1.76469, 0.764693 too far)"
        ),
        "check_name": "wproj.max_norm",
        "fingerprint": "",
        "severity": "major",
        "location": {"path": "ci/wproj.toml", "lines": {"begin": 12}},
    }


def test_errors_are_critical_findings_major_and_warnings_minor(make):
    """In this order."""
    found = [(issue["severity"], issue["check_name"]) for issue in issues(make.gate())]

    assert found == [
        ("critical", "wproj.error"),
        ("major", "wproj.non_neg"),
        ("major", "wproj.max_norm"),
        ("minor", "wproj.warning"),
    ]


def test_every_report_is_valid(any_report):
    """An issue for each finding and each diagnostic, none for what is as it should be."""
    found = {"check": {"violation"}, "diff": {"changed", "added"}}.get(any_report.command, set())
    tensors = [tensor for file in any_report.files for tensor in file.tensors]
    count = sum(tensor.status in found for tensor in tensors) + len(any_report.diagnostics)

    assert len(issues(any_report)) == count


def test_a_path_is_relative_without_a_dot(make):
    """GitLab finds no file by `./model.h5`."""
    (issue,) = issues(make.report(make.file(make.violating(), path="./a/../model.h5")))

    assert issue["location"] == {"path": "a/../model.h5", "lines": {"begin": 1}}


def test_a_fingerprint_does_not_depend_on_what_was_measured(make):
    """A finding is the same one in the next run, and another one by file, tensor or rule."""

    def fingerprint(path="model.h5", **fields):
        (issue,) = issues(make.report(make.file(make.violating(**fields), path=path)))
        return issue["fingerprint"]

    same = {fingerprint(), fingerprint(violations=make.outside(3, (1,), 9.0, 8.0))}
    others = [fingerprint(path="b.h5"), fingerprint(name="b"), fingerprint(rule="b")]

    assert len(same) == 1
    assert len(same | set(others)) == 4


def test_a_finding_that_occurs_twice_has_two_fingerprints(make):
    """GitLab shows only the first issue of a fingerprint."""
    files = [make.file(make.violating()), make.file(make.violating())]

    assert len(issues(make.report(*files))) == 2


def test_a_hostile_name_is_text(make, hostile):
    """Printable, and cut where it is long."""
    tensor = make.violating(hostile, rule=hostile)
    faults = [{"level": "error", "message": f"{hostile}!", "file": hostile}]
    report = make.report(make.file(tensor, path=hostile), diagnostics=faults)
    error, issue = issues(report)
    name = shorten(wproj.printable(hostile), 200)

    assert issue["description"].startswith(f"[{name}] {name}: 14 of 16 vectors")
    assert issue["description"].isprintable()
    assert error["description"].isprintable()
