"""On a terminal and elsewhere: color, progress, width, encodings, -q and -v."""

import errno
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

pytestmark = pytest.mark.slow  # Each starts processes of its own, one after the other.

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ("WPROJ_FORMAT", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS")
CHECK = ("check", "tiny.safetensors", "-r", "*.weight max_norm=2 axis=1")
PROJECT = ("project", "tiny.safetensors", "-r", "*.weight max_norm=2 axis=1", "-n")
RED, GREEN, PLAIN = "\x1b[31mFAIL\x1b[0m", "\x1b[32mok\x1b[0m", "\x1b[0m"

# A program that takes longer for each tensor than people like to wait.
SLOWLY = """
import sys, time, wproj, wproj_cli.main
one_by_one = wproj.{job}
def slowly(*words, **more):
    for report in one_by_one(*words, **more):
        time.sleep(0.4)
        yield report
wproj.{job} = slowly
sys.exit(wproj_cli.main.main())
"""


@pytest.fixture
def folder(tmp_path):
    """A checkpoint with a tensor that is outside a norm of two, and two that are not."""
    tensors = {
        "a.weight": np.array([[3, 4], [0, 1]], np.float32),
        "b.weight": np.array([[1, 1]], np.float32),
        "c.weight": np.array([[0, 0.5]], np.float32),
        "c.bias": np.array([9], np.float32),
    }
    save_file(tensors, tmp_path / "tiny.safetensors", metadata={"format": "pt"})
    return tmp_path


@pytest.fixture
def piped(folder):
    """Runs the command line with pipes; its output in bytes."""

    def run(*words, program=("-m", "wproj_cli"), **variables):
        return subprocess.run(
            [sys.executable, *program, *words],
            cwd=folder,
            env=environment(variables),
            capture_output=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def typed(folder):
    """Runs the command line on a terminal; returns what appears on it."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")

    def run(*words, program=("-m", "wproj_cli"), columns=80, **variables):
        ours, theirs = pty.openpty()
        resize(theirs, columns)
        with subprocess.Popen(
            [sys.executable, *program, *words],
            cwd=folder,
            env=environment({"TERM": "xterm-256color"} | variables),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ):
            os.close(theirs)
            shown = drain(ours)
        os.close(ours)
        return shown.decode("utf-8", "backslashreplace").replace("\r\n", "\n")

    return run


def environment(variables):
    """The variables of the tests' own process, without settings of the output."""
    return {k: v for k, v in os.environ.items() if k not in SETTINGS} | variables


def resize(terminal, columns):
    """Gives a terminal a width."""
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


def drain(terminal):
    """All that is written to a terminal until nobody has it open any more."""
    found = b""
    while True:
        try:
            read = os.read(terminal, 1 << 16)
        except OSError as error:
            if error.errno != errno.EIO:  # How Linux says that it is closed.
                raise
            return found
        if not read:
            return found
        found += read


# Color


def test_verdicts_are_colored_on_a_terminal_and_nothing_else_differs(typed, piped):
    """Without the codes for color the bytes are those of a pipe."""
    shown, plain = typed(*CHECK), piped(*CHECK).stdout.decode()

    assert (shown.count(RED), shown.count(GREEN)) == (1, 2)
    assert shown.count("\x1b") == 6
    assert re.sub(r"\x1b\[\d+m", "", shown) == plain


@pytest.mark.parametrize(
    ("words", "variables", "colored"),
    [
        ((), {}, True),
        ((), {"NO_COLOR": "1"}, False),
        ((), {"NO_COLOR": ""}, True),
        ((), {"TERM": "dumb"}, False),
        ((), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (("--color", "never"), {"FORCE_COLOR": "1"}, False),
        (("--color", "always"), {"NO_COLOR": "1"}, True),
    ],
)
def test_on_a_terminal_the_option_comes_first_then_the_environment(
    typed, words, variables, colored
):
    """`--color`, then NO_COLOR, then FORCE_COLOR, then the terminal."""
    assert (RED in typed(*CHECK, *words, **variables)) is colored


@pytest.mark.parametrize(
    ("words", "variables", "colored"),
    [
        ((), {}, False),
        ((), {"TERM": "xterm-256color", "GITHUB_ACTIONS": "true"}, False),
        ((), {"FORCE_COLOR": "1"}, True),
        ((), {"FORCE_COLOR": "0"}, False),
        ((), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (("--color", "always"), {}, True),
        (("--color", "never"), {"FORCE_COLOR": "1"}, False),
    ],
)
def test_on_a_pipe_there_is_color_only_where_it_is_asked_for(piped, words, variables, colored):
    """The bytes that a program reads do not depend on what it runs in."""
    assert (RED.encode() in piped(*CHECK, *words, **variables).stdout) is colored


@pytest.mark.parametrize("fmt", ["json", "jsonl", "csv", "md", "junit", "github", "gitlab"])
def test_formats_for_programs_are_never_colored(piped, fmt):
    """Nor are reports in files."""
    plain = piped(*CHECK, "-f", fmt)
    asked = piped(*CHECK, "-f", fmt, "--color", "always", FORCE_COLOR="1")

    assert plain.returncode == asked.returncode == 1
    assert plain.stdout == asked.stdout != b""


def test_a_report_in_a_file_is_never_colored(piped, folder):
    """The file is the same whether standard output is colored or not."""
    run = piped(*CHECK, "--color", "always", "--report", "text=report.txt")

    assert RED.encode() in run.stdout
    assert b"\x1b" not in (folder / "report.txt").read_bytes()


@pytest.mark.parametrize("words", [("ls", "tiny.safetensors"), ("audit", "tiny.safetensors")])
def test_other_verbs_have_no_color(typed, words):
    """There is no verdict to be seen."""
    assert "\x1b" not in typed(*words)


# Progress


@pytest.mark.parametrize(("job", "words"), [("apply", PROJECT), ("check", CHECK)])
def test_long_work_shows_a_bar_on_a_terminal_and_takes_it_away(typed, piped, job, words):
    """The bar moves while the work goes on; what remains is the report."""
    program = ("-c", SLOWLY.format(job=job))
    shown = typed(*words, program=program, NO_COLOR="1")
    report = piped(*words).stdout.decode()

    assert "\u2501" in shown
    assert "bytes" in shown
    assert shown.endswith(report)


@pytest.mark.parametrize(("job", "words"), [("apply", PROJECT), ("check", CHECK)])
@pytest.mark.parametrize("variables", [{}, {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "1"}], ids=str)
def test_long_work_on_a_pipe_shows_no_bar(piped, job, words, variables):
    """Not even where something tells every program to behave as on a terminal."""
    slow = piped(*words, program=("-c", SLOWLY.format(job=job)), **variables)
    fast = piped(*words, **variables)

    assert slow.returncode == fast.returncode
    assert (slow.stdout, slow.stderr) == (fast.stdout, fast.stderr)


def test_short_work_shows_no_bar(typed):
    """Nothing flickers."""
    assert "\u2501" not in typed(*CHECK)


def test_a_quiet_run_shows_no_bar(typed):
    """`-q` is about errors and findings."""
    slowly = ("-c", SLOWLY.format(job="apply"))

    assert typed(*PROJECT, "-q", program=slowly) == ""


# Narrow terminals


@pytest.mark.parametrize("words", [CHECK, PROJECT, ("audit", "tiny.safetensors", "-a", "1")])
def test_a_narrow_terminal_gets_the_same_lines(typed, words):
    """The terminal may wrap lines; wproj neither wraps nor cuts any."""
    narrow = typed(*words, columns=40, COLUMNS="40")

    assert narrow == typed(*words, columns=400, COLUMNS="400")
    assert max(map(len, narrow.splitlines())) > 60


def test_help_on_a_narrow_terminal_names_every_option_in_full(typed):
    """It is wrapped between words, so that options can still be copied."""
    wide = set(re.findall(r"--[a-z-]+", typed("check", "--help", columns=200, COLUMNS="200")))
    narrow = typed("check", "--help", columns=40, COLUMNS="40")

    assert {"--baseline", "--files-from", "--allow-unmatched"} <= wide
    assert set(re.findall(r"--[a-z-]+", narrow)) == wide


# Encodings


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("words", [CHECK, PROJECT], ids=lambda words: words[0])
def test_text_is_written_in_any_encoding(piped, words, encoding):
    """Bars and dots that an encoding does not have are in ASCII, and columns stay in line."""
    other = piped(*words, PYTHONIOENCODING=encoding)
    usual = piped(*words, PYTHONIOENCODING="utf-8")
    texts = [
        (run.stdout + run.stderr).decode(name)
        for run, name in ((other, encoding), (usual, "utf-8"))
    ]

    assert other.returncode == usual.returncode
    assert "\\" not in texts[0]
    assert list(map(len, texts[0].splitlines())) == list(map(len, texts[1].splitlines()))
    assert "weight" in texts[0]


def test_the_dot_of_a_plan_is_a_bar_in_ascii(piped):
    """What cannot be written is not written as an escape."""
    ascii_plan = piped(*PROJECT, PYTHONIOENCODING="ascii").stderr.decode("ascii")
    plan = piped(*PROJECT, PYTHONIOENCODING="cp1252").stderr.decode("cp1252")

    assert "-> 2 vectors of 2 | max_norm=2" in ascii_plan
    assert "-> 2 vectors of 2 \u00b7 max_norm=2" in plan


@pytest.mark.parametrize("fmt", ["json", "jsonl", "csv", "md", "junit", "github", "gitlab"])
def test_what_programs_read_does_not_depend_on_the_encoding(piped, folder, fmt):
    """A name that an encoding lacks arrives whole: in UTF-8, or as JSON and XML escape it."""
    name = "gr\u00f6\u00dfe\u4e2d"
    save_file({name: np.ones((1, 9), np.float32)}, folder / "other.safetensors")
    words = ("check", "other.safetensors", "-r", "* max_norm=2 axis=1", "-f", fmt)
    printed = {piped(*words, PYTHONIOENCODING=e).stdout for e in ("utf-8", "ascii", "cp1252")}
    escaped = (json.dumps(name)[1:-1].encode(), name.encode("ascii", "xmlcharrefreplace"))

    assert len(printed) == 1
    (text,) = printed
    assert any(form in text for form in (name.encode(), *escaped))


# -q and -v


def test_verbose_tells_of_every_tensor_on_standard_error_alone(piped):
    """Those that are checked, and those that no rule matches; the report stays the same."""
    plain, verbose = piped(*CHECK), piped(*CHECK, "-v")
    lines = verbose.stderr.decode().splitlines()

    assert verbose.stdout == plain.stdout
    assert plain.stderr == b""
    assert [line.split(": ")[:2] for line in lines] == [
        ["note", "a.weight"],
        ["note", "b.weight"],
        ["note", "c.weight"],
        ["note", "c.bias"],
    ]
    assert "1 of 2 vectors outside max_norm=2" in lines[0]
    assert "no rule matches it" in lines[3]


def test_verbose_tells_of_tensors_that_are_the_same(piped):
    """`diff` only counts them in its report."""
    words = ("diff", "tiny.safetensors", "tiny.safetensors")
    plain, verbose = piped(*words), piped(*words, "-v")

    assert (plain.returncode, plain.stderr) == (0, b"")
    assert verbose.stdout == plain.stdout
    assert verbose.stderr.decode().count(" entries differ\n") == 3
    assert "note: c.bias: 0 of 1 entry" in verbose.stderr.decode()


def test_verbose_tells_of_each_tensor_as_it_is_done(piped):
    """`project` plans first, then says what it did."""
    lines = piped(*PROJECT, "-v").stderr.decode().splitlines()
    done = [line for line in lines if line.startswith("note: ")]

    assert lines[-3:] == done
    assert [line.split(": ")[1] for line in done] == ["a.weight", "b.weight", "c.weight"]


def test_verbose_tells_of_each_shard_when_its_tensors_are_done(piped, folder):
    """In a line behind theirs, before those of the next; what is only copied comes first."""
    (folder / "model").mkdir()
    for name in ("a", "b", "c"):
        tensors = {f"{name}.{i}": np.ones((2, 3), np.float32) for i in range(2)}
        save_file(tensors, folder / f"model/{name}.safetensors")
    words = ("project", "model", "-m", "[ab]*", "-c", "max_norm=1", "-a", "1", "-o", "out")
    lines = piped(*words, "-v").stderr.decode().splitlines()
    noted = [line.removeprefix("note: ") for line in lines if line.startswith("note: ")]

    assert [line.split(": ")[0] for line in noted] == [
        "c.safetensors",
        *("a.0", "a.1", "a.safetensors"),
        *("b.0", "b.1", "b.safetensors"),
    ]
    assert noted[0] == "c.safetensors: copied, as no rule matches a tensor of it"
    assert noted[3] == "a.safetensors: done, 2 tensors, 48 bytes"


@pytest.mark.parametrize(
    "words", [CHECK, PROJECT, ("diff", "tiny.safetensors", "tiny.safetensors")]
)
def test_quiet_and_verbose_exclude_each_other(piped, words):
    """Nobody can mean both."""
    run = piped(*words, "-q", "-v")

    assert (run.returncode, run.stdout) == (2, b"")
    assert run.stderr == b"error: -q and -v exclude each other\n"


def test_quiet_is_silent_without_findings_and_not_with_them(piped):
    """The findings are what one wants to hear of."""
    loud = ("check", "tiny.safetensors", "-r", "*.weight max_norm=9 axis=1", "-q")
    silent, found = piped(*loud), piped(*CHECK, "-q")

    assert (silent.returncode, silent.stdout, silent.stderr) == (0, b"", b"")
    assert found.returncode == 1
    assert b"a.weight: 1 of 2 vectors outside" in found.stdout
