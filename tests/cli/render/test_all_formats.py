"""What holds for every format."""

import json
import subprocess
import sys
import tracemalloc
from typing import get_args

import msgspec
import pytest

import wproj
from wproj.report import Applied
from wproj_cli.options import FORMATS, FileFormat, ReportFormat
from wproj_cli.render import _RENDERERS, pieces, render
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


@pytest.mark.parametrize("fmt", FORMATS)
def test_packed_tensors_are_told_like_listed_ones(any_report, fmt):
    """However many files there are, and however often a format looks at their tensors."""
    files = [
        msgspec.structs.replace(file, tensors=wproj.TensorReports(file.tensors))
        for file in any_report.files
    ]
    packed = msgspec.structs.replace(any_report, files=files)

    assert render(packed, fmt) == render(any_report, fmt)


def test_json_by_the_tensor_is_the_document_at_once(any_report):
    """To the byte; where it is not ASCII, in escapes."""
    document = msgspec.json.encode(any_report)
    told = msgspec.json.format(document, indent=2).decode()
    if not told.isascii():
        told = json.dumps(json.loads(document), indent=2)

    assert render(any_report, "json") == f"{told}\n"


def test_json_tells_tensors_from_what_is_called_so(make):
    """A constraint of a user's own may have `tensors`, too, and a text may look like JSON."""
    applied = Applied(name="own", config={"tensors": [], "axis": [0]})
    tensor = make.tensor(name='\n      "tensors": []', constraint=[applied])
    file = make.file(tensor, make.tensor())
    rule = msgspec.structs.replace(
        make.rule("own", 1), constraint=[applied], match=['"tensors": []']
    )
    report = make.report(msgspec.structs.replace(file, rules=[rule]), make.file(make.tensor()))

    assert json.loads(render(report, "json")) == json.loads(msgspec.json.encode(report))


@pytest.mark.parametrize("fmt", ["text", "json", "jsonl", "csv"])
def test_a_long_report_is_never_in_memory_whole(make, fmt):
    """A tenth of the text at most, and a twentieth of its tensors."""
    tensors = wproj.TensorReports(make.violating(f"layers.{at}.weight") for at in range(10_000))
    report = make.report(msgspec.structs.replace(make.file(), tensors=tensors))

    def tell():
        return sum(map(len, pieces(report, fmt)))

    tell()  # Imports what the format needs.
    tracemalloc.start()
    length = tell()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert length > 1_000_000
    assert peak < length / 10


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
