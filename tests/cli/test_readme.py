"""The commands in the documents print what the documents show."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # Each starts processes of its own, one after the other.

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ["README.md", "docs/ci.md", "docs/keras-files.md"]
SETTINGS = ("WPROJ_FORMAT", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")


def transcripts(text):
    """The pairs of a command line and what follows it, in all console blocks, in order."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command = re.match(r"(?:.*\\\n)*.*\n", part).group()
            found.append((command.rstrip("\n"), part[len(command) :]))
    return found


def replay(shell, shown):
    """The same commands with what they print, each after the exit code of the one before it."""
    printed, status = [], 0
    for command, _ in shown:
        run = shell(command, status)
        printed.append((command, run.stdout))
        status = run.returncode
    return printed


@pytest.fixture
def shell(tmp_path):
    """Runs command lines where `sample_weights/` is a copy; one after the other, as a reader."""
    shutil.copytree(ROOT / "sample_weights", tmp_path / "sample_weights")
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    path = os.pathsep.join([str(Path(sys.executable).parent), clean["PATH"]])

    def run(command, status=0):
        return subprocess.run(
            ["sh", "-c", f"(exit {status})\n{command}"],
            cwd=tmp_path,
            env=clean | {"PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    return run


def test_every_document_with_transcripts_is_tested():
    """No console block shows what nobody has run."""
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    with_blocks = [path for path in found if transcripts(path.read_text(encoding="utf-8"))]

    assert sorted(str(path.relative_to(ROOT).as_posix()) for path in with_blocks) == DOCUMENTS


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_commands_of_a_document_print_what_it_shows(shell, document):
    """Every `$` line of the console blocks, run in order, gives the lines below it."""
    shown = transcripts((ROOT / document).read_text(encoding="utf-8"))

    assert any(command.startswith("wproj ") for command, _ in shown)
    assert replay(shell, shown) == shown


def test_a_command_sees_the_exit_code_of_the_one_before_it(shell):
    """So `echo $?` in a document shows what it shows to a reader; the output is all of it."""
    shown = [("exit 3", ""), ("echo $?", "3\n"), ("echo $?", "0\n"), ("false | true", "")]

    assert replay(shell, shown) == shown
    assert replay(shell, [("echo out; echo err >&2", "")]) != [("echo out; echo err >&2", "")]


def test_transcripts_are_taken_from_console_blocks_alone():
    """The extraction itself: commands, continued lines, output, other blocks, several commands."""
    text = (
        "```sh\n$ wproj no\n```\n"
        "```console\n$ wproj ls a \\\n    b\none\n  two\n\nthree\n$ cd x\n$ wproj ls c\n```\n"
        "between\n```console\n$ wproj ls d\nfour\n```\n"
    )

    assert transcripts(text) == [
        ("wproj ls a \\\n    b", "one\n  two\n\nthree\n"),
        ("cd x", ""),
        ("wproj ls c", ""),
        ("wproj ls d", "four\n"),
    ]
