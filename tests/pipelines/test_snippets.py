"""The job for GitLab and the script for any shell in docs/ci.md, run as they stand."""

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/ci.md").read_text(encoding="utf-8")


def blocks(language):
    """The blocks of a language in the page on pipelines."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def gitlab_job():
    """The one job of GitLab."""
    (block,) = [block for block in blocks("yaml") if "codequality" in block]
    ((_, job),) = yaml.safe_load(block).items()
    return job


@pytest.fixture
def run(home, clean):
    """Runs lines in the folder with the models, the recipe there; each until one fails.

    Nothing is downloaded: pip is to find wproj where the tests have it.
    """
    subprocess.run(["wproj", "init", "models/red.keras"], cwd=home, env=clean, check=True)

    def run_lines(lines):
        return subprocess.run(
            ["sh", "-e", "-c", "\n".join(lines)],
            cwd=home,
            env=clean | {"PIP_NO_INDEX": "1"},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )

    return run_lines


def make_green(home):
    """Replaces the model that is outside by the one that is inside."""
    shutil.copy(home / "models/green.keras", home / "models/red.keras")


def test_the_job_for_gitlab_is_red_and_its_reports_say_why(run, home):
    """The artifacts that it names are there, about paths of the repository."""
    job = gitlab_job()
    answer = run(job["script"])
    reports = job["artifacts"]["reports"]
    issues = json.loads((home / reports["codequality"]).read_text(encoding="utf-8"))
    suites = ET.parse(home / reports["junit"]).getroot()  # noqa: S314 # written by the run above

    assert answer.returncode == 1, answer.stderr
    assert job["artifacts"]["when"] == "always"
    assert [issue["check_name"] for issue in issues] == ["wproj.max_norm"] * 2
    assert {issue["location"]["path"] for issue in issues} == {"wproj.toml"}
    assert (suites.get("tests"), suites.get("failures")) == ("12", "2")


def test_the_job_for_gitlab_is_green_after_the_projection(run, home):
    """No issue and no failure, and the reports are there all the same."""
    make_green(home)
    job = gitlab_job()
    answer = run(job["script"])
    reports = job["artifacts"]["reports"]

    assert answer.returncode == 0, answer.stderr
    assert json.loads((home / reports["codequality"]).read_text(encoding="utf-8")) == []
    assert 'failures="0"' in (home / reports["junit"]).read_text(encoding="utf-8")


def test_the_script_tells_findings_from_faults(run, home):
    """Red, green, and what could not be checked are three exit codes and three sentences."""
    (script,) = blocks("sh")
    red = run([script])
    page = (home / "weights.html").read_text(encoding="utf-8")
    make_green(home)
    green = run([script])
    shutil.rmtree(home / "models")
    neither = run([script])

    assert [red.returncode, green.returncode, neither.returncode] == [1, 0, 3]
    assert "weights: some outside" in red.stdout
    assert "2 of 28 tensors violate their constraints" in page
    assert green.stdout == "weights: all inside\n"
    assert "weights: not checked" in neither.stdout
