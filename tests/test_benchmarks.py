"""The benchmarks run, at a size at which nobody looks at their figures."""

import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BENCHMARKS.exists(), reason="the sdist has no benchmarks"),
    pytest.mark.skipif(shutil.which("cp") is None, reason="this system has no cp"),
]

HEAD = "| row | figure | goal | median | range | met | wproj | opponent |"


def bench(*words):
    """Runs benchmarks with files of kibibytes, once each."""
    command = [sys.executable, BENCHMARKS / "run.py", *words]
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=300, check=False
    )


def cells(text):
    """The rows of a table by their names."""
    lines = re.findall(r"^\| ([a-z0-9-]+) \| (.*) \|$", text, re.MULTILINE)
    return {name: rest.split(" | ") for name, rest in lines if name != "row"}


@pytest.fixture
def quick(tmp_path):
    """Runs rows quickly in a folder of its own, which has to be empty afterwards."""
    folder = tmp_path / "files"
    folder.mkdir()
    yield lambda *words: bench(*words, "--scale", "1/1024", "--rounds", 1, "--folder", folder)
    assert list(folder.iterdir()) == []


def test_rows_are_measured_and_printed_as_a_table(quick):
    """Two times, two peaks of memory, and a start each make a line with a figure in its unit."""
    run = quick("version", "synced-0", "memory-w")

    assert run.returncode == 0, run.stdout + run.stderr
    assert HEAD in run.stdout
    rows = cells(run.stdout)
    assert list(rows) == ["version", "synced-0", "memory-w"]
    assert re.fullmatch(r"-?\d+ ms more", rows["version"][2])
    assert re.fullmatch(r"\d+\.\d\d x", rows["synced-0"][2])
    assert re.fullmatch(r"\d+ MiB", rows["memory-w"][2])


def test_a_row_without_its_opponent_is_skipped_with_a_sentence(quick):
    """Keras on torch is measured where both are installed, and told to be missing elsewhere."""
    missing = [name for name in ("keras", "torch") if importlib.util.find_spec(name) is None]
    if not missing:
        pytest.skip("all opponents are installed")
    run = quick("keras-0")

    assert run.returncode == 0, run.stdout + run.stderr
    assert cells(run.stdout)["keras-0"][2] == f"skipped: {' and '.join(missing)} not installed"


def test_a_command_that_fails_fails_the_run_and_says_why(tmp_path):
    """A row is not silently left out because wproj or its opponent is broken."""
    shutil.copytree(BENCHMARKS, tmp_path / "benchmarks")
    (tmp_path / "benchmarks/opponents/numpy_norms.py").write_text("raise ValueError('broken')")
    run = subprocess.run(
        [sys.executable, tmp_path / "benchmarks/run.py", "audit-numpy-0", "--scale", "999"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert run.returncode == 1
    assert "failed: python ended with 1: ValueError: broken" in run.stdout


def test_lines_are_written_between_the_markers_of_a_document(quick, tmp_path):
    """A row that is measured again replaces its line, and leaves the others and the text alone."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nafter\n")
    for rows in (("version", "audit-cat-1"), ("version",)):
        run = quick(*rows, "--write", page)
        assert run.returncode == 0, run.stdout + run.stderr
    text = page.read_text()

    assert text.startswith("before\n<!-- measured: begin -->\n")
    assert text.endswith("\n<!-- measured: end -->\nafter\n")
    assert "old" not in text
    assert list(cells(text)) == ["version", "audit-cat-1"]


def test_rows_are_listed_with_their_goals():
    """What can be measured is told without measuring it."""
    run = bench("--list")

    assert run.returncode == 0
    assert re.search(r"^copy-0 +W, axis 0, .*: <= 1\.3 x$", run.stdout, re.MULTILINE)


def test_a_row_that_does_not_exist_is_an_error_that_names_those_that_do():
    """A typing error measures nothing."""
    run = bench("copy")

    assert run.returncode != 0
    assert run.stderr.startswith("error: no row is called copy; choose from version, ")


@pytest.mark.parametrize(("seconds", "rounds"), [(0.1, 5), (16, 2), (500, 1)])
def test_growth_is_measured_less_often_where_it_takes_long(monkeypatch, seconds, rounds):
    """No round begins after half a minute; there is one at least."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    growth = importlib.import_module("growth")
    used = growth.Usage(seconds, 2, 1)
    monkeypatch.setattr(growth, "usage", lambda *_: used)

    assert growth.repeated(("wproj",), Path(), 5) == [used] * rounds


def test_the_readme_quotes_the_table():
    """Figure, goal and median of every row that it has are those that were measured."""
    rows = cells((BENCHMARKS / "README.md").read_text("utf-8")).values()
    whole = {tuple(row[:3]) for row in rows}
    section = (BENCHMARKS.parent / "README.md").read_text("utf-8").split("## How fast")[1]
    lines = [line for line in section.split("\n## ")[0].splitlines() if line.startswith("| ")]
    quoted = [tuple(cell.strip() for cell in line.split("|")[1:4]) for line in lines[1:]]

    assert len(quoted) >= 15
    assert set(quoted) <= whole
