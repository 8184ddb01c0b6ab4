"""Every verb has help, and the examples in it work as they stand."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # Each starts processes of its own, one after the other.

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ROOT / "cli/wproj_cli/commands"
VERBS = sorted(path.stem for path in COMMANDS.glob("*.py") if path.stem != "__init__")
SETTINGS = ("WPROJ_FORMAT", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")


def run(*command, cwd=None):
    """Runs a command with the `wproj` of this environment first on the path."""
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    path = os.pathsep.join([str(Path(sys.executable).parent), clean["PATH"]])
    return subprocess.run(
        command,
        cwd=cwd,
        env=clean | {"PATH": path},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def help_of(*words):
    """What `wproj WORDS --help` prints."""
    answer = run(sys.executable, "-m", "wproj_cli", *words, "--help")
    assert (answer.returncode, answer.stderr) == (0, "")
    return answer.stdout


def examples_in(text):
    """The command lines under the head `Examples:`."""
    _, _, below = text.partition("\n  Examples:\n")
    return [line.strip() for line in below.split("\n\n")[0].splitlines()]


@pytest.fixture
def home(tmp_path):
    """A folder in which `sample_weights/` is a copy of the repository's."""
    shutil.copytree(ROOT / "sample_weights", tmp_path / "sample_weights")
    return tmp_path


def test_the_help_lists_every_verb():
    """Each file in `commands` is a verb with a line of its own."""
    _, _, below = help_of().partition("\nCommands:\n")
    lines = [line.split(maxsplit=1) for line in below.splitlines() if line.strip()]

    assert VERBS != []
    assert sorted(verb for verb, _ in lines) == VERBS


def test_no_words_show_the_help_and_are_exit_2():
    """A bare `wproj` says what there is, and did nothing."""
    answer = run(sys.executable, "-m", "wproj_cli")

    assert answer.returncode == 2
    assert "Commands:" in answer.stdout + answer.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_explains_itself(verb):
    """The help of a verb has a usage line, a sentence, examples, and a word on every option."""
    text = help_of(verb)
    usage, prose = text.split("Examples:")[0].split("\n\n", 1)
    options = re.findall(r"^  (-.*)$", text, re.MULTILINE)
    bare = [option for option in options if re.fullmatch(r"(\S+|<.*>|, )+", option.strip())]

    assert re.fullmatch(rf"Usage: .* {verb} \[OPTIONS\] .*", usage)
    assert re.match(r"  [A-Z]", prose)
    assert prose.rstrip().endswith(".")
    assert options != []
    assert bare == []
    assert "\x1b" not in text


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_a_verb_run_as_they_stand(verb, home):
    """Each example, given to a shell where the samples are, does what it says."""
    examples = examples_in(help_of(verb))

    assert len(examples) >= 2
    for example in examples:
        answer = run("sh", "-c", example, cwd=home)
        judging = verb in ("check", "diff") or "--check" in shlex.split(example)
        allowed = {0, 1} if judging else {0}
        assert shlex.split(example)[:2] == ["wproj", verb]
        assert answer.returncode in allowed, f"{example}\n{answer.stderr}"
        assert answer.stdout + answer.stderr != ""
        assert not re.search(r"^(error|warning|Traceback)", answer.stderr, re.MULTILINE)


def test_an_unknown_verb_is_exit_2_and_what_was_meant_is_named():
    """A typing mistake is answered with the verb that looks like it."""
    answer = run(sys.executable, "-m", "wproj_cli", "projct")

    assert (answer.returncode, answer.stdout) == (2, "")
    assert "'project'" in answer.stderr


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_one_line(flag):
    """`--version` prints the name and the version, nothing more."""
    answer = run(sys.executable, "-m", "wproj_cli", flag)

    assert (answer.returncode, answer.stderr) == (0, "")
    assert re.fullmatch(r"wproj \d+\.\d+\.\d+\S*\n", answer.stdout)
