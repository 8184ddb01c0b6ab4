"""What holds for every format."""

import subprocess
import sys
from typing import get_args

import msgspec
import pytest

import wproj
from wproj_cli.options import FORMATS, FileFormat, ReportFormat
from wproj_cli.render import _RENDERERS, render
from wproj_cli.render.findings import findings

PLAIN = [fmt for fmt in FORMATS if fmt not in ("text", "html")]  # Those have tests of their own.

# Reads a report, prints it in the formats that are named.
PROGRAM = """\
import sys, msgspec, wproj
from wproj_cli.render import render
report = msgspec.json.decode(sys.stdin.buffer.read(), type=wproj.Report)
sys.stdout.buffer.write("".join(render(report, fmt) for fmt in sys.argv[1:]).encode())
"""


def test_every_format_has_a_renderer():
    """One list for standard output, which lacks `html`, and one for files."""
    assert set(_RENDERERS) == set(FORMATS)
    assert set(get_args(ReportFormat)) == set(FORMATS) - {"html"}
    assert "html" in str(FileFormat)


@pytest.mark.parametrize("fmt", PLAIN)
def test_every_report_can_be_told_in_every_format(any_report, fmt):
    """Text that ends with one newline and that UTF-8 can carry, the same every time."""
    text = render(any_report, fmt)

    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert text.encode()
    assert render(any_report, fmt) == text


def test_the_bytes_do_not_depend_on_hashing(make):
    """Another process with another seed writes the same."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, *PLAIN],
            input=msgspec.json.encode(make.gate()),
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert outputs == {"".join(render(make.gate(), fmt) for fmt in PLAIN).encode()}


@pytest.mark.parametrize("fmt", [fmt for fmt in PLAIN if fmt != "json"])
def test_the_sentence_is_the_same_in_every_format(make, fmt):
    """Whole or in its parts: the name, and what is wrong with it."""
    text = render(make.gate(), fmt)

    for found in findings(make.gate()):
        if fmt != "jsonl":  # It has the numbers, and leaves the words to its reader.
            assert found.what in text
        assert found.name in text


@pytest.mark.parametrize("fmt", PLAIN)
def test_a_tensor_without_measures_can_be_told(make, fmt):
    """Every field that may be missing is missing, and `None` is never written."""
    bare = wproj.TensorReport(name="w", path="w", shape=[], dtype="O", bytes=0, status="violation")
    idle = make.tensor(vector_length=None, status="changed", changed_vectors=0)
    hollow = make.violating(violations=make.outside(None, None, None, None, vectors=[]))
    lost = make.violating(vectors=None, violations=make.outside(1, (0,), None, None))
    file = make.file(bare, hollow, lost, idle)

    for command in ("ls", "audit", "project", "check", "diff", "explain"):
        assert "None" not in render(make.report(file, command=command), fmt)
