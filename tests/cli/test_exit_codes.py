"""Exit codes as documented: 0, 1, 2, 3, and, through the real program, those of signals."""

import json
import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

starting = pytest.mark.slow  # Each starts a process of its own.

posix = pytest.mark.skipif(os.name == "nt", reason="signals and pipes as POSIX has them")

RULE = "w max_norm=2 axis=0"
MET = "w max_norm=9 axis=0"
RECIPE = "version = 1\n[[rule]]\nid = 'w'\nmatch = 'w'\nconstraint = 'max_norm'\naxis = 0\n"

# A constraint that says when it is asked, and takes its time.
SLOW = """
import pathlib, time
from wproj import Constraint
class Slow(Constraint):
    def __call__(self, w):
        return w
    def contains(self, w):
        pathlib.Path("asked").touch()
        time.sleep(30)
        return w == w
"""

# What is asked for, and the code. `m` is outside of RULE, `other` has another value.
ROWS = [
    ("--version", 0),
    ("--help", 0),
    ("", 2),
    ("frobnicate", 2),
    ("ls m", 0),
    ("ls", 2),
    ("ls gone", 3),
    ("ls m gone", 3),
    ("ls text", 3),
    ("ls m --frobnicate", 2),
    ("audit m", 0),
    ("audit m -m v", 2),
    ("audit gone m", 3),
    ("audit m --declared -m w", 2),
    ("audit m --report json=x --report csv=x", 2),
    ("project m -o out -r RULE", 0),
    ("project m -n -r RULE", 0),
    ("project m --check -r RULE", 1),
    ("project m --check -r MET", 0),
    ("project m -r RULE", 2),
    ("project m -n", 2),
    ("project m -n -r v_max_norm", 2),
    ("project m -o other -r RULE", 2),
    ("project m -o gone/out -r RULE", 3),
    ("project gone -n -r RULE", 3),
    ("project nan -n -r RULE", 3),
    ("project m -n --recipe recipe", 0),
    ("check m -r RULE", 1),
    ("check m -r MET", 0),
    ("check m -r RULE --exit-zero", 0),
    ("check m -r RULE --rtol 1", 1),
    ("check m -r RULE --rtol 2", 2),
    ("check m", 2),
    ("check -r RULE", 2),
    ("check m -r v_max_norm", 2),
    ("check m -r v_max_norm --exit-zero", 2),
    ("check m --recipe recipe", 1),
    ("check m --recipe gone", 2),
    ("check m --recipe text", 2),
    ("check m --recipe recipe -r RULE", 2),
    ("check m --recipe recipe --set rule.w.max_value=9", 0),
    ("check m --recipe recipe --set rule.v.max_value=9", 2),
    ("check m --declared", 2),
    ("check gone -r RULE", 3),
    ("check text -r RULE", 3),
    ("check m gone -r RULE", 3),
    ("check m gone -r RULE --exit-zero", 3),
    ("check nan -r RULE", 1),
    ("check nan -r RULE --nonfinite ignore", 0),
    ("check m -r RULE --baseline gone", 2),
    ("check m -r RULE --baseline text", 2),
    ("check m -r RULE --baseline new --update-baseline", 0),
    ("check --files-from gone -r RULE", 3),
    ("check m -r RULE --report json=gone/report", 3),
    ("check m -r RULE -f frobnicate", 2),
    ("check m -m w -c c.py:Gone", 2),
    ("diff m m", 0),
    ("diff m other", 1),
    ("diff m other --rtol 1", 1),
    ("diff m other --atol 1", 0),
    ("diff m other -x w", 0),
    ("diff m other -m v", 2),
    ("diff m other --rtol x", 2),
    ("diff m", 2),
    ("diff m gone", 3),
    ("diff m text", 3),
    ("diff text text", 3),
    ("explain m -r RULE", 0),
    ("explain m -r v_max_norm", 0),
    ("explain m", 2),
    ("explain gone -r RULE", 3),
    ("explain m --recipe gone", 2),
    ("init -o new.toml", 0),
    ("init -o recipe", 2),
    ("init gone -o -", 3),
    ("init -o gone/new.toml", 3),
    ("schema report", 0),
    ("schema recipe", 0),
    ("schema", 2),
    ("schema frobnicate", 2),
]


@pytest.fixture
def folder(tmp_path):
    """A folder with checkpoints, a recipe, a text and a constraint."""
    w = np.array([[3, 1], [4, 0]], np.float32)
    save_file({"w": w}, tmp_path / "m")
    save_file({"w": w + 1}, tmp_path / "other")
    save_file({"w": w * np.array([np.nan, 1], np.float32)}, tmp_path / "nan")
    (tmp_path / "text").write_text("nothing of the kind\n")
    (tmp_path / "recipe").write_text(RECIPE)
    (tmp_path / "c.py").write_text(SLOW)
    (tmp_path / ".git").mkdir()
    return tmp_path


def command(*words):
    """The program with these words."""
    return [sys.executable, "-m", "wproj_cli", *words]


def environment():
    """The environment without what a user may have set for the program."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WPROJ_")}


def run(folder, arguments, **options):
    """What a process returns and says."""
    return subprocess.run(
        arguments,
        cwd=folder,
        env=environment(),
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
        **options,
    )


def words_of(line):
    """The words of a row."""
    texts = {"RULE": RULE, "MET": MET, "v_max_norm": "v max_norm axis=0"}
    return [texts.get(word, word) for word in line.split()]


def assert_told(code, stdout, stderr):
    """What went wrong is a sentence on standard error, never a traceback."""
    assert "Traceback" not in stdout + stderr
    assert "internal fault" not in stderr
    if code in (0, 1):
        assert "error: " not in stderr
    else:
        assert stderr.strip()


@pytest.mark.parametrize(("line", "code"), ROWS, ids=[line or "no words" for line, _ in ROWS])
def test_the_exit_code_is_the_documented_one(within, folder, line, code):
    """And what went wrong is a sentence on standard error, never a traceback."""
    done = within(*words_of(line), cwd=folder)

    assert done.returncode == code, done.stderr
    assert_told(code, done.stdout, done.stderr)


# The first row of each verb and code.
REAL = {(line.partition(" ")[0], code): line for line, code in reversed(ROWS)}


@starting
@pytest.mark.parametrize(("verb", "code"), REAL, ids=str)
def test_the_program_exits_with_that_code(folder, verb, code):
    """What `main` returns is what a process ends with, for every verb."""
    words = words_of(REAL[verb, code])
    done = run(folder, command(*words))
    stdout, stderr = done.stdout.decode(), done.stderr.decode()

    assert done.returncode == code, stderr
    assert_told(code, stdout, stderr)


@starting
@pytest.mark.parametrize("words", [["check", "m", "-r", RULE], ["diff", "m", "other"]], ids=str)
def test_a_defect_of_the_program_is_exit_3(folder, words):
    """Never 1, which would say that something was found; nor a traceback, but with `--debug`."""
    driver = (
        "import sys\n"
        "def fail(*a, **k): raise ZeroDivisionError('mine')\n"
        "import wproj.engine as e, wproj.diffing as d\n"
        "e.measure_tensor = d.measure = fail\n"
        "from wproj_cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    plain = run(folder, [sys.executable, "-c", driver, *words])
    debug = run(folder, [sys.executable, "-c", driver, *words, "--debug"])

    assert (plain.returncode, debug.returncode) == (3, 3)
    assert plain.stdout == debug.stdout == b""
    assert plain.stderr.startswith(b"error: internal fault: ZeroDivisionError: mine\nhint: ")
    assert b"Traceback" in debug.stderr


def await_file(process, path):
    """Waits until the work is under way."""
    deadline = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


# A process started in the background of a script ignores Ctrl-C; ours must not.
LISTENING = (
    "import os, signal, sys\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    "os.execv(sys.executable, [sys.executable, '-m', 'wproj_cli', *sys.argv[1:]])"
)


def start(folder, *words):
    """A process that hears Ctrl-C."""
    return subprocess.Popen(
        [sys.executable, "-c", LISTENING, *words],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@starting
@posix
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_a_check_with_its_code(folder, number, code):
    """Whatever it has found so far is no verdict."""
    words = ["-r", "w c.py:Slow", "--baseline", "b", "--update-baseline"]
    process = start(folder, "check", "m", *words)
    await_file(process, folder / "asked")
    process.send_signal(getattr(signal, number))
    stdout, stderr = process.communicate(timeout=30)

    assert (process.returncode, stdout) == (code, b"")
    assert b"Traceback" not in stderr
    assert b"internal fault" not in stderr
    assert not (folder / "b").exists()


@starting
@posix
@pytest.mark.parametrize("verb", ["check", "diff"])
def test_a_signal_ends_the_work_on_a_big_file(folder, verb):
    """While it is read and measured, tile by tile."""
    size = 1 << 34
    header = {"w": {"dtype": "F32", "shape": [size // 4096, 1024], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    with (folder / "big").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + size)
    words = {"check": ["check", "big", "-r", RULE], "diff": ["diff", "big", "big"]}[verb]
    process = start(folder, *words)
    time.sleep(1.5)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=30)

    assert (process.returncode, stdout) == (143, b"")
    assert b"Traceback" not in stderr


@starting
@posix
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["check", "m", "-r", RULE], 1),
        (["check", "m", "-r", MET], 0),
        (["diff", "m", "other"], 1),
        (["diff", "m", "m"], 0),
        (["project", "m", "--check", "-r", RULE], 1),
        (["ls", "m"], 141),
        (["audit", "m"], 141),
        (["explain", "m", "-r", RULE], 141),
        (["init", "-o", "-"], 141),
        (["schema", "report"], 141),
    ],
    ids=str,
)
def test_a_reader_that_has_gone_does_not_change_a_verdict(folder, words, code):
    """What only reports has failed to; `check ... | head -1` still is the gate."""
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        command(*words),
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    _, stderr = process.communicate(timeout=60)

    assert process.returncode == code
    assert b"Traceback" not in stderr
    assert b"BrokenPipe" not in stderr


@starting
@posix
@pytest.mark.parametrize("shell", ["check m -r RULE | head -0", "check m -r RULE | head -1"])
def test_a_pipe_to_head_keeps_the_verdict(folder, shell):
    """In a real pipe, the shell told to look at every part of it."""
    verb, _, rest = shell.partition(" -r RULE")
    program = f"{sys.executable} -m wproj_cli {verb} -r '{RULE}'{rest}"
    done = run(folder, ["bash", "-c", f"set -o pipefail; {program}"])

    assert done.returncode == 1, done.stderr
    assert b"Traceback" not in done.stderr
