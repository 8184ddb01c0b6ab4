"""What the verbs say: text on standard output, everything else on standard error, strict JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

pytestmark = pytest.mark.slow  # Each starts processes of its own, one after the other.

SETTINGS = ("WPROJ_FORMAT", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")

LS = """\
tiny.safetensors: safetensors, torch layout, 3 tensors
  dtype  shape  bytes  name
  f32    (2)        8  dense.bias
  f32    (3,2)     24  dense.weight
  int32  ()         4  steps
"""

LS_LEGACY = """\
legacy.h5: hdf5, keras layout, 2 tensors, names from paths
  dtype  shape  bytes  path                  name
  f32    (2)        8  dense/dense/bias:0    dense/bias
  f32    (2,2)     16  dense/dense/kernel:0  dense/kernel
"""

AUDIT = """\
tiny.safetensors: safetensors, torch layout, 3 tensors
  vectors  length  axis      min     mean      p50      p99      max  zero  nonfinite  norms                 name
        -       -  -           -        -        -        -        -     -          -                        dense.bias  [rank 1: no incoming axis]
        3       2  1     0.00000  2.00000  1.00000  4.92000  5.00000     1          0  █   █              █  dense.weight
        -       -  -           -        -        -        -        -     -          -                        steps  [int32: integer entries]
"""  # noqa: E501 # a table is as wide as it is

PROJECT = """\
tiny.safetensors -> out.safetensors: safetensors, torch layout, 3 tensors, exact numerics
                              before                          after
  vectors  outside  changed      min      p50      max          min      p50      max  moved  name
        -        -        -                                                                   dense.bias  [skipped: excluded]
        3        1        1  0.00000  1.00000  5.00000  ->  0.00000  1.00000  2.50000    49%  dense.weight

1 of 3 tensors matched, 1 changed; outside: 1 before, 0 after
"""  # noqa: E501 # a table is as wide as it is

PLAN = """\
dense.bias skipped: excluded
dense.weight (3,2) f32 axis 1 -> 3 vectors of 2 \u00b7 max_norm=2.5
"""

TOP_KEYS = [
    "schema",
    "schema_version",
    "command",
    "tool",
    "numerics",
    "exit_code",
    "recipe",
    "summary",
    "files",
    "diagnostics",
]
SUMMARY_KEYS = {"files", "tensors", "matched", "changed", "violations", "nonfinite", "skipped"}
FILE_KEYS = {"path", "format", "layout", "output", "tensors"}
TENSOR_KEYS = {
    "name",
    "path",
    "shape",
    "dtype",
    "rule",
    "constraint",
    "axis",
    "vectors",
    "vector_length",
    "status",
    "reason",
    "norm_before",
    "norm_after",
    "changed_vectors",
    "unreachable",
    "nonfinite",
    "violations",
    "distance",
}


@pytest.fixture
def folder(tmp_path):
    """A folder with small checkpoints whose norms are whole numbers."""
    torch = {
        "dense.weight": np.array([[3, 4], [0, 1], [0, 0]], np.float32),
        "dense.bias": np.array([6, 8], np.float32),
        "steps": np.array(7, np.int32),
    }
    save_file(torch, tmp_path / "tiny.safetensors", metadata={"format": "pt"})
    odd = {"w": np.array([[np.nan, 1], [np.inf, 1], [3, 4]], np.float32)}
    save_file(odd | {"none": np.zeros((0, 2), np.float16)}, tmp_path / "odd.safetensors")
    with h5py.File(tmp_path / "legacy.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        file["dense/dense/kernel:0"] = np.array([[3, 0], [4, 1]], np.float32)
        file["dense/dense/bias:0"] = np.array([6, 8], np.float32)
        file["dense"].attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
    (tmp_path / "note.txt").write_text("not a checkpoint, just a text of some length\n")
    return tmp_path


@pytest.fixture
def wproj(folder):
    """Runs the command line in the folder; further variables go into its environment."""

    def run(*words, **variables):
        clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        return subprocess.run(
            [sys.executable, "-m", "wproj_cli", *words],
            cwd=folder,
            env=clean | variables,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    return run


def strict(text):
    """The document, where a number that JSON does not have is a failure."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


# Text


def test_ls_lists_tensors_in_the_order_of_their_bytes(wproj):
    """`ls` of a safetensors file is these lines."""
    run = wproj("ls", "tiny.safetensors")

    assert (run.returncode, run.stdout, run.stderr) == (0, LS, "")


def test_ls_shows_the_path_where_it_is_not_the_name(wproj):
    """`ls` of a legacy Keras file has a column for where a tensor is stored."""
    run = wproj("ls", "legacy.h5")

    assert (run.returncode, run.stdout, run.stderr) == (0, LS_LEGACY, "")


@pytest.mark.parametrize("verb", ["ls", "audit"])
def test_what_layers_declare_is_shown(wproj, verb):
    """Where any of them declares a constraint; no other file has such a column."""
    sample = Path(__file__).resolve().parents[2] / "sample_weights/digits_cnn.keras"
    head, conv = [
        line
        for line in wproj(verb, str(sample)).stdout.splitlines()
        if line.endswith((" name", " conv1/kernel"))
    ]

    assert " declared " in head
    assert " max_norm=1.0 axis=0,1,2 " in conv
    assert " declared " not in wproj(verb, "tiny.safetensors").stdout


def test_audit_shows_norms_and_why_the_others_have_none(wproj):
    """`audit` along the incoming axes is these lines."""
    run = wproj("audit", "tiny.safetensors", "-a", "in")

    assert (run.returncode, run.stdout, run.stderr) == (0, AUDIT, "")


def test_project_reports_on_stdout_and_plans_on_stderr(wproj):
    """The result and the announcement keep to their streams."""
    words = ("-m", "dense", "-c", "max_norm=2.5", "-a", "1", "-x", "*.bias")
    run = wproj("project", "tiny.safetensors", *words, "-o", "out.safetensors")

    assert (run.returncode, run.stdout, run.stderr) == (0, PROJECT, PLAN)


def test_several_files_are_parted_by_an_empty_line(wproj):
    """Each file has its own headline and table, in the order given."""
    run = wproj("ls", "tiny.safetensors", "legacy.h5", "tiny.safetensors")
    blocks = run.stdout.split("\n\n")

    assert run.returncode == 0
    assert [block.split(":")[0] for block in blocks] == [
        "tiny.safetensors",
        "legacy.h5",
        "tiny.safetensors",
    ]
    assert blocks[0] + "\n" == LS


@pytest.mark.parametrize(
    "words",
    [
        ["ls", "long.safetensors"],
        ["audit", "long.safetensors", "-a", "1"],
        ["project", "long.safetensors", "-r", "* max_norm=1 axis=1", "-n"],
    ],
    ids=lambda words: words[0],
)
def test_a_long_name_is_last_and_never_cut(wproj, folder, words):
    """The text is the same on a narrow terminal, and each line ends with a whole name."""
    name = "model.layers." + "very_long_block_name." * 8 + "weight"
    save_file({name: np.ones((2, 2), np.float32)}, folder / "long.safetensors")

    narrow, wide = wproj(*words, COLUMNS="40"), wproj(*words, COLUMNS="400")
    lines = narrow.stdout.splitlines()

    assert narrow.returncode == 0
    assert narrow.stdout == wide.stdout
    assert narrow.stderr == wide.stderr
    assert [line for line in lines if line.endswith(f"  {name}")] != []


def test_columns_stand_under_their_heads(wproj):
    """Numbers are flush right and names start where their head starts."""
    head, *rows = wproj("audit", "tiny.safetensors", "-a", "in").stdout.splitlines()[1:]
    ends = [head.index(word) + len(word) for word in ("vectors", "length", "max", "nonfinite")]

    assert all(row[end - 1] != " " and row[end] == " " for row in rows for end in ends)
    assert [row[head.index("name") :].split()[0] for row in rows] == [
        "dense.bias",
        "dense.weight",
        "steps",
    ]


@pytest.mark.parametrize("force", [{}, {"FORCE_COLOR": "1"}, {"GITHUB_ACTIONS": "true"}], ids=str)
def test_a_name_from_a_file_never_reaches_the_terminal_raw(wproj, folder, force):
    """Control characters and markup in names are shown, not obeyed."""
    name = "a\x1b[31m\x07\r\nb[/i]"
    save_file({name: np.ones((2, 2), np.float32)}, folder / "evil.safetensors")

    runs = [
        wproj("ls", "evil.safetensors", **force),
        wproj("audit", "evil.safetensors", **force),
        wproj("project", "evil.safetensors", "-r", "a* max_norm=1 axis=1", "-n", **force),
        wproj("project", "evil.safetensors", "-r", "a31mb max_norm=1 axis=1", "-n", **force),
    ]

    assert [run.returncode for run in runs] == [0, 0, 0, 2]
    for run in runs:
        assert not any(c in run.stdout + run.stderr for c in "\x1b\x07\r")
        assert r"a\x1b[31m\x07\r\nb[/i]" in run.stdout + run.stderr


# Standard error


@pytest.mark.parametrize("verb", ["ls", "audit"])
def test_a_bad_file_does_not_stop_the_others(wproj, verb):
    """The good files are reported, the bad ones each have a sentence on standard error."""
    run = wproj(verb, "note.txt", "tiny.safetensors", "missing.h5", "legacy.h5")
    headlines = [line for line in run.stdout.splitlines() if ": " in line and line[0] != " "]

    assert run.returncode == 3
    assert [line.split(":")[0] for line in headlines] == ["tiny.safetensors", "legacy.h5"]
    assert "error: note.txt: " in run.stderr
    assert "error: missing.h5: there is no such file" in run.stderr


def test_the_exit_code_of_several_files_is_the_highest(wproj):
    """A request that cannot be meant for one file is 2, and a file that cannot be read is 3."""
    meant = ("-m", "dense.weight")
    request = wproj("audit", "tiny.safetensors", "legacy.h5", *meant)
    both = wproj("audit", "missing.h5", "tiny.safetensors", "legacy.h5", *meant)

    assert request.returncode == 2
    assert both.returncode == 3
    assert request.stdout == both.stdout
    assert request.stdout.startswith("tiny.safetensors: ")
    assert "'dense.weight' matches no tensor in legacy.h5" in both.stderr


def test_a_fault_is_a_sentence_and_a_hint_and_nothing_else(wproj):
    """No traceback, no report in text, and the hint says what to do."""
    run = wproj("project", "tiny.safetensors", "-m", "dense.weight", "-c", "max_norm=1", "-n")
    lines = run.stderr.splitlines()

    assert (run.returncode, run.stdout) == (2, "")
    assert [line.partition(": ")[0] for line in lines] == ["error", "hint"]
    assert "needs an axis for dense.weight (3,2)" in lines[0]


def test_a_non_finite_vector_that_is_skipped_is_warned_of_once(wproj):
    """Standard error has the plan and one warning; NumPy has nothing to say."""
    words = ("odd.safetensors", "-r", "w max_norm=2.5 axis=1", "--nonfinite", "skip", "-n")
    run = wproj("project", *words)
    warning = "warning: w: 2 vectors with non-finite entries "

    assert run.returncode == 0
    assert [line[: len(warning)] for line in run.stderr.splitlines()] == [
        "w (3,2) f32 axis 1 -> 3 vectors of 2 \u00b7 max_norm=2.5"[: len(warning)],
        warning,
    ]


# JSON


@pytest.mark.parametrize(
    "words",
    [
        ["ls", "tiny.safetensors", "legacy.h5"],
        ["audit", "odd.safetensors", "tiny.safetensors"],
        ["project", "tiny.safetensors", "-r", "dense min_max_norm=2..3 axis=in", "-n"],
        ["project", "odd.safetensors", "-r", "* max_norm=inf axis=1", "--nonfinite=skip", "-n"],
        ["project", "odd.safetensors", "-r", "* unit_norm axis=1", "-n"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_json_is_strict_and_has_the_keys_of_the_schema(wproj, words):
    """Every verb prints one document of the same form, faults included."""
    run = wproj(*words, "-f", "json")
    report = strict(run.stdout)

    assert list(report) == TOP_KEYS
    assert (report["schema"], report["schema_version"]) == ("wproj.report", "1.0")
    assert report["command"] == words[0]
    assert report["tool"]["name"] == "wproj"
    assert report["exit_code"] == run.returncode
    assert set(report["summary"]) >= SUMMARY_KEYS
    assert report["summary"]["files"] == len(report["files"])
    for file in report["files"]:
        assert set(file) >= FILE_KEYS
        assert all(set(tensor) >= TENSOR_KEYS for tensor in file["tensors"])


def test_the_json_of_a_projection_has_what_was_measured(wproj):
    """The measures of one changed tensor, by value."""
    words = ("tiny.safetensors", "-r", "dense max_norm=2.5 axis=in", "-o", "out.safetensors")
    report = strict(wproj("project", *words, "-f", "json").stdout)
    (file,) = report["files"]
    bias, weight = file["tensors"]

    assert report["summary"] == {
        "files": 1,
        "tensors": 3,
        "matched": 1,
        "changed": 1,
        "violations": 0,
        "nonfinite": 0,
        "skipped": 2,
    }
    assert (file["format"], file["layout"]) == ("safetensors", "torch")
    assert (file["path"], file["output"]) == ("tiny.safetensors", "out.safetensors")
    assert (bias["status"], bias["reason"]) == ("skipped", "rank 1: no incoming axis")
    assert (weight["status"], weight["reason"]) == ("changed", None)
    assert weight["rule"] == "dense max_norm=2.5 axis=in"
    assert weight["constraint"] == [{"name": "max_norm", "config": {"max_value": 2.5, "axis": [1]}}]
    assert (weight["axis"], weight["vectors"], weight["vector_length"]) == ([1], 3, 2)
    assert (weight["shape"], weight["dtype"], weight["bytes"]) == ([3, 2], "float32", 24)
    assert weight["norm_before"]["max"] == 5.0
    assert weight["norm_before"]["p99"] == pytest.approx(4.92)
    assert 2.4999 < weight["norm_after"]["max"] <= 2.5
    assert (weight["changed_vectors"], weight["nonfinite"], weight["unreachable"]) == (1, 0, 0)
    assert weight["violations"] == {
        "before": 1,
        "after": 0,
        "worst_index": [0],
        "worst_norm": 5.0,
        "worst_value": None,
        "worst_excess": 2.5,
        "vectors": [{"index": [0], "norm": 5.0, "excess": 2.5}],
    }
    assert weight["distance"]["absolute"] == pytest.approx(2.5, rel=1e-6)
    assert weight["distance"]["relative"] == pytest.approx(2.5 / np.sqrt(26), rel=1e-6)


def test_a_norm_that_does_not_exist_is_null_and_is_counted(wproj):
    """NaN and infinity become a count; what remains is measured."""
    run = wproj("audit", "odd.safetensors", "-a", "1", "-f", "json")
    tensors = {t["name"]: t for t in strict(run.stdout)["files"][0]["tensors"]}

    assert tensors["w"]["nonfinite"] == 2
    assert set(tensors["w"]["norm_before"].values()) == {5.0}
    assert tensors["w"]["norm_after"] is None
    assert set(tensors["none"]["norm_before"].values()) == {None}


def test_a_fault_is_in_the_json_and_on_stderr(wproj):
    """A report is printed although a file failed, with the sentence among its diagnostics."""
    run = wproj("ls", "tiny.safetensors", "missing.h5", "-f", "json")
    report = strict(run.stdout)

    assert (run.returncode, report["exit_code"], len(report["files"])) == (3, 3, 1)
    (fault,) = report["diagnostics"]
    assert (fault["level"], fault["file"]) == ("error", "missing.h5")
    assert f"error: {fault['message']}" in run.stderr


@pytest.mark.parametrize("fmt", ["text", "json"])
def test_a_report_is_the_same_bytes_every_time(wproj, fmt):
    """No timestamps, no order that depends on hashing."""
    words = ("tiny.safetensors", "-r", "dense* min_max_norm=2..3 axis=0", "-n", "-f", fmt)
    first = wproj("project", *words, PYTHONHASHSEED="1")
    again = wproj("project", *words, PYTHONHASHSEED="2")

    assert first.returncode == 0
    assert first.stdout == again.stdout
    assert first.stderr == again.stderr


# Reports to files, and the format


def test_a_report_file_holds_what_stdout_would(wproj, folder):
    """`--report`, repeated, writes the bytes that `-f` prints."""
    words = ("audit", "tiny.safetensors", "legacy.h5")
    text, document = wproj(*words), wproj(*words, "-f", "json")
    both = wproj(*words, "--report", "json=r.json", "--report", "text=r.txt")

    assert both.returncode == 0
    assert both.stdout == text.stdout
    assert (folder / "r.json").read_bytes() == document.stdout.encode()
    assert (folder / "r.txt").read_bytes() == text.stdout.encode()


def test_a_report_replaces_an_older_one(wproj, folder):
    """A report file is replaced whole, and nothing is left beside it."""
    (folder / "r.json").write_text("x" * 100_000)
    before = sorted(folder.iterdir())
    run = wproj("ls", "tiny.safetensors", "--report", "json=r.json")

    assert run.returncode == 0
    assert strict((folder / "r.json").read_text())["command"] == "ls"
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("path", ["missing/r.json", "folder", "."])
def test_a_report_that_cannot_be_written_is_exit_3(wproj, folder, path):
    """The sentence names the path, and nothing is left behind."""
    (folder / "folder").mkdir()
    before = sorted(folder.iterdir())
    run = wproj("ls", "tiny.safetensors", "--report", f"json={path}")

    assert run.returncode == 3
    assert f"error: could not write {path}" in run.stderr
    assert "Traceback" not in run.stderr
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("report", ["xml=r.xml", "json", "json=", "=r.json", "r.json", ""])
def test_a_report_of_no_known_form_is_exit_2(wproj, folder, report):
    """What is not FMT=PATH is refused before any work."""
    words = ("tiny.safetensors", "-r", "dense max_norm=1 axis=in", "-o", "out.safetensors")
    run = wproj("project", *words, "--report", report)

    assert (run.returncode, run.stdout) == (2, "")
    assert "error: --report takes FMT=PATH" in run.stderr
    assert not (folder / "out.safetensors").exists()


RULE = ("-r", "dense max_norm=1 axis=in")


@pytest.mark.parametrize(
    ("words", "victim"),
    [
        (["ls", "tiny.safetensors"], "tiny.safetensors"),
        (["ls", "tiny.safetensors"], "link.safetensors"),
        (["audit", "legacy.h5", "tiny.safetensors"], "legacy.h5"),
        (["project", "tiny.safetensors", *RULE, "-n"], "./tiny.safetensors"),
        (["project", "tiny.safetensors", *RULE, "-o", "out.safetensors"], "tiny.safetensors"),
        (["project", "tiny.safetensors", *RULE, "--in-place"], "tiny.safetensors"),
        # Runs that fail before the report is written:
        (["ls", "note.txt"], "note.txt"),
        (["project", "tiny.safetensors", "-r", "typo max_norm=1 axis=1", "-n"], "tiny.safetensors"),
        (["project", "odd.safetensors", "-r", "w max_norm=1 axis=1", "-n"], "odd.safetensors"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_report_never_replaces_a_checkpoint(wproj, folder, words, victim):
    """A report path that is a file of the run is refused, and the file keeps its bytes."""
    os.link(folder / "tiny.safetensors", folder / "link.safetensors")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    run = wproj(*words, "--report", f"json={victim}")
    after = {path.name: path.read_bytes() for path in folder.iterdir()}

    assert run.returncode in (2, 3)
    assert {name: after.get(name) for name in before} == before


def test_a_report_in_the_place_of_the_target_is_refused(wproj, folder):
    """The report and the result do not go to the same path."""
    words = ("tiny.safetensors", *RULE, "-o", "out.safetensors")
    run = wproj("project", *words, "--report", "json=out.safetensors")
    target = folder / "out.safetensors"

    assert run.returncode == 2
    assert "would replace a checkpoint" in run.stderr
    assert not target.exists() or target.read_bytes()[8:9] == b"{"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_report_never_replaces_what_is_not_a_regular_file(wproj, folder):
    """A pipe or a device stays what it is: as root, `json=/dev/null` would cost the machine it."""
    os.mkfifo(folder / "pipe")
    wproj("ls", "tiny.safetensors", "--report", "json=pipe")

    assert (folder / "pipe").is_fifo()


def test_the_format_can_come_from_the_environment(wproj):
    """`WPROJ_FORMAT` is the default of `-f`, and `-f` wins."""
    document = wproj("ls", "tiny.safetensors", "-f", "json")
    chosen = wproj("ls", "tiny.safetensors", WPROJ_FORMAT="json")
    overruled = wproj("ls", "tiny.safetensors", "-f", "text", WPROJ_FORMAT="json")

    assert strict(chosen.stdout)["command"] == "ls"
    assert chosen.stdout == document.stdout
    assert overruled.stdout == LS


@pytest.mark.parametrize("variables", [{}, {"WPROJ_FORMAT": "yaml"}], ids=["option", "variable"])
def test_a_format_that_does_not_exist_is_exit_2(wproj, variables):
    """The message names the formats that there are."""
    run = wproj("ls", "tiny.safetensors", *([] if variables else ["-f", "yaml"]), **variables)

    assert (run.returncode, run.stdout) == (2, "")
    assert all(word in run.stderr for word in ("yaml", "text", "json"))
    assert "Traceback" not in run.stderr
