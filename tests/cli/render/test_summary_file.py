"""GitHub's summary of a job: appended to, where every other report is replaced."""

import os

import pytest

import wproj
from wproj_cli.reports import parse_reports, write_report


@pytest.mark.parametrize("before", ["", "# a", "# a\n", "# a\n\n", "# a\n\n\n"])
def test_the_summary_of_a_job_is_appended_to(tmp_path, monkeypatch, before):
    """What others wrote stays, and an empty line parts it from the report."""
    path = tmp_path / "summary"
    path.write_text(before)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    write_report(path, ["### b\n"])
    write_report(path, ["### c\n"])
    text = path.read_text()

    assert text.startswith(before)
    assert text.split() == [*before.split(), "###", "b", "###", "c"]
    assert text.endswith("### b\n\n### c\n")
    assert text.startswith("### b") if before == "" else "\n\n### b" in text


def test_the_summary_is_found_by_another_path_and_may_not_exist_yet(tmp_path, monkeypatch):
    """It is the file that counts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    ((_, path),) = parse_reports(["md=./summary"], [])
    write_report(path, ["a\n"])
    write_report(path, ["b\n"])

    assert (tmp_path / "summary").read_text() == "a\n\nb\n"


@pytest.mark.parametrize("variable", [None, "", "other"])
def test_another_report_is_replaced(tmp_path, monkeypatch, variable):
    """Also where the variable is empty, or names another file."""
    path = tmp_path / "summary"
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    if variable is not None:
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", variable and str(tmp_path / variable))
    write_report(path, ["a\n"])
    write_report(path, ["b\n"])

    assert path.read_text() == "b\n"
    assert os.listdir(tmp_path) == ["summary"]  # noqa: PTH208 # names alone


def test_a_summary_that_is_no_regular_file_is_refused(tmp_path, monkeypatch):
    """Nothing is written through a link."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("a")
    link.symlink_to(target)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(link))

    with pytest.raises(wproj.OutputError, match="is not a regular file"):
        write_report(link, ["b\n"])
    assert target.read_text() == "a"
