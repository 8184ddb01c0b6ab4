"""JSON by the line, read back by a strict parser."""

import json

import wproj
from wproj_cli.render import render


def strict(text):
    """The objects of the lines; a number that JSON does not have is a failure."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    assert text.isascii()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text[:-1].split("\n")]


def test_each_tensor_and_each_diagnostic_has_a_line_and_the_summary_the_last(make):
    """The kinds of lines, in order."""
    lines = strict(render(make.gate(), "jsonl"))

    assert [line["kind"] for line in lines] == ["tensor"] * 4 + ["diagnostic"] * 2 + ["summary"]
    assert {line["command"] for line in lines} == {"check"}
    assert [line["file"] for line in lines[:-1]] == ["./model.h5"] * 4 + ["no.h5", "model.h5"]


def test_a_line_is_the_tensor_of_the_json_report(make):
    """The same keys and values; only `file` is the checkpoint, and the tensor's file its shard."""
    tensor = make.violating(file="part-2.safetensors")
    report = make.report(make.file(tensor, path="index.json"))
    (document,) = json.loads(render(report, "json"))["files"]
    line = strict(render(report, "jsonl"))[0]

    assert (line.pop("kind"), line.pop("command")) == ("tensor", "check")
    assert (line.pop("file"), line.pop("shard")) == ("index.json", "part-2.safetensors")
    assert line == {key: document["tensors"][0][key] for key in line}
    assert document["tensors"][0].keys() - line.keys() == {"file"}


def test_the_summary_has_what_the_json_report_has_at_its_top(make):
    """All but the files and the diagnostics, which have lines of their own."""
    document = json.loads(render(make.gate(), "json"))
    summary = strict(render(make.gate(), "jsonl"))[-1]

    assert summary.pop("kind") == "summary"
    assert summary == {key: document[key] for key in summary}
    assert document.keys() - summary.keys() == {"files", "diagnostics"}


def test_what_is_not_a_number_is_null(make):
    """NaN and infinity are not JSON."""
    nan = float("nan")
    norms = wproj.NormSummary(min=nan, mean=nan, p50=nan, p99=nan, max=float("inf"))
    line = strict(render(make.report(make.file(make.tensor(norm_before=norms))), "jsonl"))[0]

    assert set(line["norm_before"].values()) == {None}


def test_a_hostile_name_comes_back_as_it_was(make, hostile):
    """Names are exact in JSON, and no line breaks inside."""
    report = make.report(make.file(make.violating(hostile, reason=hostile), path=hostile))
    tensor, _ = strict(render(report, "jsonl"))

    assert (tensor["name"], tensor["file"], tensor["reason"]) == (hostile, hostile, hostile)
