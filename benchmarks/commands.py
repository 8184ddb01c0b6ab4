"""Commands as values: words, and among them the files that they work on."""

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from work import Work

HERE = Path(__file__).parent

# The word that stands for the file that a command writes.
OUT = "{out}"

# Makes every start compile every module that is not installed.
NEVER_COMPILED = "PYTHONDONTWRITEBYTECODE"

Command = tuple[str | Work, ...]

# Of this environment; every other program is found on PATH.
PROGRAMS = {"wproj": str(Path(sysconfig.get_path("scripts"), "wproj")), "python": sys.executable}


class CommandError(Exception):
    """A command that did not end well, and why: its last line that speaks of an error."""

    def __init__(self, words: list[str], code: int, said: str) -> None:
        errors = [line for line in said.splitlines() if "error" in line.lower()]
        reason = errors[-1] if errors else "it did not say why"
        super().__init__(f"{Path(words[0]).name} ended with {code}: {reason}")


def files(commands: Iterable[Command]) -> list[Work]:
    """The files that commands work on, each once, in order."""
    found = [word for command in commands for word in command if isinstance(word, Work)]
    return list(dict.fromkeys(found))


def scaled(command: Command, divisor: int) -> Command:
    """The command with smaller files."""
    return tuple(word.scaled(divisor) if isinstance(word, Work) else word for word in command)


def output(folder: Path) -> Path:
    """The file that a command in a folder writes."""
    return folder / "out"


def spelled(command: Command, folder: Path) -> list[str]:
    """The words as they are run, with the files in a folder."""
    program, *words = [spell(word, folder) for word in command]
    return [PROGRAMS.get(program, program), *words]


def spell(word: str | Work, folder: Path) -> str:
    """One word as it is run."""
    if isinstance(word, Work):
        return str(folder / word.name)
    return str(output(folder)) if word == OUT else word


def environment() -> dict[str, str]:
    """This one, but that modules are compiled once, as an installation does, and not each time."""
    return {name: value for name, value in os.environ.items() if name != NEVER_COMPILED}


@contextmanager
def running(words: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A started command, awaited at the end, or ended when something goes wrong here.

    Raises:
        CommandError: It did not end with 0.
    """
    nothing = subprocess.DEVNULL
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(
            words, cwd=HERE, env=environment(), stdin=nothing, stdout=nothing, stderr=said
        ) as process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            said.seek(0)
            raise CommandError(words, process.returncode, said.read().decode(errors="replace"))
