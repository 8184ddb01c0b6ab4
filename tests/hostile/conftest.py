"""The real program in a real process, and what a refusal has to look like."""

import hashlib
import json
import os
import re
import signal
import stat
import struct
import subprocess
import sys
from dataclasses import dataclass

import h5py
import numpy as np
import pytest

from wproj_cli.main import main

# What a user's environment may hold, and a test's must not.
_FOREIGN = re.compile(
    r"^(WPROJ_|PYTHON(IOENCODING|UTF8|WARNINGS|DEVMODE)|NO_COLOR|FORCE_COLOR|CI$)"
)

# The plan, which is told before the work, and so before an error in the course of it.
_PLANNED = re.compile(r" -> \d+ (vectors? of \d+|entr(y|ies)) \S | skipped: ")


@dataclass(frozen=True)
class Result:
    """What a run of the program left behind."""

    code: int
    stdout: str
    stderr: str


def _environment(changes):
    kept = {key: value for key, value in os.environ.items() if not _FOREIGN.match(key)}
    return {**kept, "PYTHONUTF8": "1", **(changes or {})}


def _command(words, before):
    if not before:
        return [sys.executable, "-m", "wproj_cli", *words]
    # Limits and capabilities outlive exec; a hook between fork and exec is unsafe beside threads.
    program = f"import os, sys\n{before}\nos.execv(sys.executable, sys.argv[1:])"
    return [sys.executable, "-c", program, sys.executable, "-m", "wproj_cli", *words]


@pytest.fixture
def start(tmp_path):
    """Starts `wproj WORDS` in the folder of the test; `before` is Python to run before that."""
    running = []

    def launch(*words, before="", env=None, stdout=subprocess.PIPE, **options):
        process = subprocess.Popen(
            _command(list(map(os.fspath, words)), before),
            cwd=tmp_path,
            env=_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            **options,
        )
        running.append(process)
        return process

    yield launch
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def run(start):
    """Runs `wproj WORDS`, and returns its exit code and what it said."""

    def finish(*words, **options):
        process = start(*words, **options)
        stdout, stderr = process.communicate(timeout=60)
        return Result(process.returncode, (stdout or b"").decode(), stderr.decode())

    return finish


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Like `run`, within this process: for what a process of its own adds nothing to."""
    monkeypatch.chdir(tmp_path)
    for name in filter(_FOREIGN.match, list(os.environ)):
        monkeypatch.delenv(name)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)

    def finish(*words):
        code = main(list(map(os.fspath, words)))
        said = capsys.readouterr()
        return Result(code, said.out, said.err)

    yield finish
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def run_or_call(request):
    """`run` if a process of its own is asked for, else `call`."""
    return lambda *, alone: request.getfixturevalue("run" if alone else "call")


@pytest.fixture
def snapshot(tmp_path):
    """Everything in the folder of the test: names, modes, contents, where links lead."""

    def take():
        found = {}
        for path in sorted(tmp_path.rglob("*")):
            mode = path.lstat().st_mode
            content = None
            if stat.S_ISLNK(mode):
                content = str(path.readlink())
            elif stat.S_ISREG(mode):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[os.fsencode(path.relative_to(tmp_path))] = (mode, content)
        return found

    return take


@pytest.fixture
def assert_refused():
    """Checks a refusal: its code, its first line, what it names, its hint, and its manners."""

    def check(result, code, *named, hint=None):
        said = [line for line in result.stderr.splitlines() if not _PLANNED.search(line)]
        assert result.code == code, result.stderr
        assert said, "nothing was said"
        assert said[0].startswith("error: "), result.stderr
        assert "Traceback" not in result.stderr
        assert "internal fault" not in result.stderr
        for text in named:
            assert text in result.stderr
        if hint is not None:
            hints = [line for line in said if line.lstrip().startswith("hint: ")]
            assert any(hint in line for line in hints), result.stderr

    return check


@pytest.fixture(scope="session")
def without_privileges():
    """Python that gives up a root user's right to pass by permissions; nothing for others."""
    if os.geteuid():
        return ""
    if not sys.platform.startswith("linux"):
        pytest.skip("root passes by permissions here")
    # PR_CAPBSET_DROP of CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: gone after exec.
    return "import ctypes\nfor c in (1, 2): assert ctypes.CDLL(None).prctl(24, c, 0, 0, 0) == 0"


@pytest.fixture
def assert_told_in_json():
    """Checks that a report in JSON is there, is strict, and says what standard error says."""

    def no_constant(text):
        raise ValueError(f"{text} is not JSON")

    def check(result):
        document = json.loads(result.stdout, parse_constant=no_constant)
        errors = [d for d in document["diagnostics"] if d["level"] == "error"]
        assert document["schema"] == "wproj.report"
        assert document["exit_code"] == result.code
        assert errors
        for error in errors:
            assert f"error: {error['message']}" in result.stderr
            assert error["hint"] is None or f"hint: {error['hint']}" in result.stderr
        return document

    return check


@pytest.fixture
def write_safetensors(tmp_path):
    """Writes a safetensors file of float32 arrays, or of a header as JSON or bytes, and data."""

    def write(name, content, data=b""):
        if not isinstance(content, bytes):
            arrays = {key: value for key, value in content.items() if hasattr(value, "tobytes")}
            header = {key: value for key, value in content.items() if key not in arrays}
            for key, array in arrays.items():
                raw = array.tobytes()
                header[key] = {
                    "dtype": {"f": "F", "i": "I"}[array.dtype.kind] + str(8 * array.itemsize),
                    "shape": list(array.shape),
                    "data_offsets": [len(data), len(data) + len(raw)],
                }
                data += raw
            content = json.dumps(header).encode()
        path = tmp_path / name
        path.write_bytes(struct.pack("<Q", len(content)) + content + data)
        return path

    return write


SENTINEL = "S3NTINEL"


@pytest.fixture
def outside(tmp_path):
    """Files beside the folder of the input that nothing may read or write; each names itself."""
    folder = tmp_path / "outside"
    folder.mkdir()
    header = {SENTINEL: {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + SENTINEL[:4].encode()
    (folder / "secret.safetensors").write_bytes(content)
    with h5py.File(folder / "secret.h5", "w") as file:
        file[f"{SENTINEL}/vars/0"] = np.full(3, 5, np.float32)
    (folder / "secret.txt").write_text(f"{SENTINEL}\n")
    return folder


@pytest.fixture
def given(tmp_path):
    """The folder of the input."""
    folder = tmp_path / "given"
    folder.mkdir()
    return folder


@pytest.fixture
def call_beside_secrets(call, given, outside, monkeypatch):
    """`call` in the folder of the input; what lies outside is neither told nor touched."""

    def stamps():
        return {
            path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in outside.iterdir()
        }

    def finish(*words):
        before = stamps()
        monkeypatch.chdir(given)
        result = call(*words)
        assert stamps() == before
        assert SENTINEL not in result.stdout + result.stderr
        assert "internal fault" not in result.stderr
        assert "Traceback" not in result.stderr
        return result

    return finish


@pytest.fixture
def assert_one_sentence():
    """Checks that a refusal is one sentence of moderate length, and nothing else but a hint."""

    def check(result, code=3, *named):
        lines = result.stderr.splitlines()
        assert result.code == code, result.stderr[:1000]
        assert [line[:7] for line in lines if not line.startswith("hint: ")] == ["error: "]
        assert len(result.stderr) < 5000
        assert all(c.isprintable() or c == "\n" for c in result.stderr)
        for text in named:
            assert text in result.stderr

    return check
