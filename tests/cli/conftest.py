"""The command line within the tests' own process, where a process of its own adds nothing."""

import io
import os
import signal
import subprocess
import sys

import pytest

from wproj_cli.main import CAUGHT, main

# What a user may have set, and what a runner sets.
SETTINGS = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")


@pytest.fixture
def within(tmp_path, monkeypatch, capsys):
    """Runs `wproj WORDS` in a folder, nothing on its input; what a process would have returned."""
    for name in os.environ:
        if name in SETTINGS or name.startswith("WPROJ_"):
            monkeypatch.delenv(name)
    handlers = {number: signal.getsignal(number) for number in CAUGHT}
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)

    def run(*words, cwd=tmp_path):
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        code = main(words)
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, said.out, said.err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
