"""Disks that fill up, readers that go away, and signals in the middle of the work."""

import contextlib
import errno
import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,  # Each starts processes of its own, one after the other.
    pytest.mark.skipif(os.name == "nt", reason="limits and signals are POSIX's"),
]

WORDS = ("-m", "w", "-c", "max_norm=1", "-a", "0")
BIG = 300 << 20
# A process started in the background of a script ignores Ctrl-C; ours must not.
LISTENING = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "signal.signal(signal.SIGHUP, signal.SIG_DFL)"
)


def small_files(size):
    """Python that lets no file grow beyond a size, as a full disk would."""
    return f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"


@pytest.fixture
def model(write_safetensors):
    """A checkpoint that its rule changes."""
    return write_safetensors("model", {"w": np.full((30, 20), 5, np.float32)})


@pytest.fixture
def pressed(tmp_path):
    """A compressed dataset that takes more room once it is projected."""
    path = tmp_path / "pressed"
    w = np.random.default_rng(3).integers(1, 256, (400, 300)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file.create_dataset("w", data=w, chunks=(50, 300), compression="gzip", shuffle=True)
        file["keep"] = np.ones(100)
    return path


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    ("options", "room"),
    [(["-o", "out"], 0), (["-o", "out"], 64), (["-o", "out"], 2000), (["--in-place"], 64)],
    ids=str,
)
def test_a_full_disk_is_told(run, snapshot, assert_refused, assert_told_in_json, options, room):
    """Wherever the copy ends; neither the target nor a part of it is left."""
    before = snapshot()
    result = run("project", "model", *WORDS, *options, "-f", "json", before=small_files(room))

    assert_refused(result, 3, "could not write ", "File too large", hint="no partial file is left")
    assert_told_in_json(result)
    assert snapshot() == before


@pytest.mark.parametrize("options", [["-o", "out"], ["--in-place"]], ids=str)
def test_a_disk_that_fills_up_within_hdf5_is_told(run, pressed, snapshot, assert_refused, options):
    """The copy fits, the chunks that it grows by do not."""
    before = snapshot()
    room = pressed.stat().st_size + 4096
    result = run("project", "pressed", *WORDS, *options, before=small_files(room))

    assert_refused(result, 3, "could not write ", hint="no partial file is left")
    assert snapshot() == before


def test_a_report_on_a_full_disk_leaves_no_part_of_it(run, model, snapshot, assert_refused):
    """The old report stays."""
    model.with_name("report").write_text("old")
    before = snapshot()
    result = run("ls", "model", "--report", "json=report", before=small_files(100))

    assert_refused(result, 3, "could not write report")
    assert snapshot() == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110 # shorter
@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("verb", ["ls", "audit", "project"])
def test_standard_output_on_a_full_disk_is_told(run, assert_refused, verb):
    """A report that nobody can read is a failure, though a file may be complete."""
    words = (*WORDS, "-n") if verb == "project" else ()
    with open("/dev/full", "wb") as full:  # noqa: PTH123 # as above
        result = run(verb, "model", *words, stdout=full)

    assert_refused(result, 3, "could not write the report: No space left on device")


@pytest.fixture
def gone():
    """Standard output whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("verb", ["ls", "audit"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_reader_that_has_gone_ends_the_program_quietly(run, gone, verb, form):
    """With the code that the shell gives to programs that the signal ended."""
    result = run(verb, "model", "-f", form, stdout=gone)

    assert (result.code, result.stderr) == (141, "")


@pytest.mark.parametrize("options", [["-o", "out"], ["--in-place"]], ids=str)
def test_project_completes_its_file_without_a_reader(run, model, gone, options):
    """The file is the result; the report is not."""
    before = model.read_bytes()
    result = run("project", "model", *WORDS, *options, stdout=gone)
    target = model.with_name("out") if "-o" in options else model

    assert result.code == 0
    assert len(result.stderr.splitlines()) == 1
    assert target.stat().st_size == len(before)
    assert target.read_bytes() != before


@pytest.mark.usefixtures("model")
def test_a_check_without_a_reader_keeps_its_verdict(run, gone):
    """In a pipe, too, exit code 1 says that something would change."""
    assert run("project", "model", *WORDS, "--check", stdout=gone).code == 1


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("verb", ["ls", "project"])
def test_without_standard_output_nothing_is_a_defect(run, verb):
    """As a service may start it: `>&-`."""
    words = (*WORDS, "-o", "out") if verb == "project" else ()
    result = run(verb, "model", *words, before="os.close(1)")

    assert "internal fault" not in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("model")
def test_without_standard_error_the_work_is_done(run, model):
    """`2>&-` takes the plan away, not the result."""
    result = run("project", "model", *WORDS, "-o", "out", "-f", "json", before="os.close(2)")

    assert result.code == 0
    assert json.loads(result.stdout)["summary"]["changed"] == 1
    assert model.with_name("out").exists()


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A checkpoint of 300 MB, and its digest; the tensor is mostly a hole in the file."""
    path = tmp_path_factory.mktemp("big") / "model"
    shape = [BIG // 4 // 1024, 1024]
    header = {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, BIG]}}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.write(np.full(1024, 5, np.float32).tobytes())
        file.truncate(8 + len(text) + BIG)
    return path, digest(path)


def digest(path):
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def await_draft(process, folder):
    """Waits until the temporary file is there, and the work under way."""
    deadline = time.monotonic() + 30
    while not list(folder.glob(".*.wproj-tmp")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["Ctrl-C", "SIGTERM", "hang-up"],
)
@pytest.mark.parametrize(
    ("in_place", "delay"), [(False, 0), (True, 0.15)], ids=["-o", "--in-place"]
)
def test_a_signal_in_the_middle_leaves_nothing_behind(start, big, number, code, in_place, delay):
    """The original is what it was, the target is not there, nor is the temporary file."""
    path, before = big
    options = ["--in-place"] if in_place else ["-o", path.with_name("out")]
    process = start("project", path, *WORDS, *options, before=LISTENING)
    await_draft(process, path.parent)
    time.sleep(delay)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)

    assert process.returncode == code
    assert stdout == b""
    assert b"Traceback" not in stderr
    assert b"error: internal fault" not in stderr
    assert [entry.name for entry in path.parent.iterdir()] == ["model"]
    assert digest(path) == before


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_signal_while_hdf5_writes_leaves_nothing_behind(start, tmp_path, number, code):
    """Chunks are compressed at the end, all at once, within the library."""
    path = tmp_path / "model"
    with h5py.File(path, "w") as file:
        w = np.random.default_rng(4).normal(size=(3000, 1000)).astype(np.float32)
        file.create_dataset("w", data=w, chunks=(50, 1000), compression=1, shuffle=True)
    before = digest(path)
    process = start("project", path, *WORDS, "-o", tmp_path / "out", before=LISTENING)
    await_draft(process, tmp_path)
    await_writing(process, tmp_path)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)

    assert process.returncode == code
    assert b"Traceback" not in stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    assert digest(path) == before


EARLY = """
import os, signal, sys

class Field:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), signal.{name})

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            type("Drawing", (), {{"field": Field()}}) if {making} else Field().__set_name__(0, 0)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Finder())
from wproj_cli.main import main
sys.exit(main(["ls", "model"]))
"""


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("making", [False, True], ids=["imported", "in the making of a class"])
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_while_the_program_is_imported_is_no_defect(tmp_path, name, code, making):
    """Python 3.11 tells some of them as errors in the making of a class."""
    program = EARLY.format(name=name, making=making)
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert result.returncode == code, result.stderr
    assert result.stderr == ("error: interrupted\n" if name == "SIGINT" else "")


FINALIZER = """
import os, signal, sys
import wproj
from wproj_cli.main import main

class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})

def apply(*words, **options):
    for report in project(*words, **options):
        Last()
        for _ in range(100):
            time.sleep(0.05)
        yield report

import time
signal.signal(signal.SIGINT, signal.default_int_handler)
project, wproj.apply = wproj.apply, apply
sys.exit(main())
"""


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_within_a_finalizer_is_not_lost(tmp_path, snapshot, name, code):
    """Python drops exceptions there."""
    before = snapshot()
    command = [sys.executable, "-c", FINALIZER.format(name=name), "project", "model", *WORDS]
    result = subprocess.run(
        [*command, "-o", "out"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert snapshot() == before


IGNORING = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"


def test_a_hang_up_that_is_ignored_remains_so(start, big):
    """As `nohup` asks for."""
    path, before = big
    target = path.with_name("out")
    process = start("project", path, *WORDS, "-o", target, before=IGNORING)
    await_draft(process, path.parent)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)

    assert process.returncode == 0
    assert target.stat().st_size == path.stat().st_size
    target.unlink()
    assert digest(path) == before


WITHOUT_RESERVE = """
import resource, sys
from wproj.formats import hdf5
from wproj_cli.main import main

hdf5.make_room = lambda *_arguments: None
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
sys.exit(main())
"""


@pytest.mark.parametrize(
    "how", [{"compression": "lzf"}, {"compression": 4, "fletcher32": True}], ids=str
)
@pytest.mark.parametrize("room", [0, 4096])
def test_hdf5_survives_a_disk_on_which_no_room_can_be_reserved(tmp_path, snapshot, how, room):
    """Else it tries to write once more when the process ends, and crashes."""
    path = tmp_path / "model"
    w = np.random.default_rng(3).integers(1, 256, (400, 300)).astype(np.float32)
    with h5py.File(path, "w") as file:
        for name in ("w", "v"):
            file.create_dataset(name, data=w, chunks=(50, 300), **how)
    before = snapshot()
    program = WITHOUT_RESERVE.format(size=path.stat().st_size + room)
    words = ["project", "model", "-m", "*", "-c", "max_norm=1", "-a", "0", "-o", "out"]
    result = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode in (0, 3), result.stderr
    if result.returncode:
        assert "error: could not write out: File too large" in result.stderr
        assert snapshot() == before


def await_writing(process, folder):
    """Waits until the draft is changed again after a time of computing."""
    (draft,) = folder.glob(".*.wproj-tmp")
    known, since = 0, time.monotonic()
    while process.poll() is None and draft.exists():
        with contextlib.suppress(FileNotFoundError):
            changed = draft.stat().st_mtime_ns
            if changed != known and time.monotonic() - since > 0.04:
                return
            if changed != known:
                known, since = changed, time.monotonic()
        time.sleep(0.001)
    raise AssertionError(process.communicate())


def test_a_killed_process_leaves_the_original_and_no_target(start, run, big):
    """Not even a signal that nobody can handle touches what was there; the next run tidies up."""
    path, before = big
    process = start("project", path, *WORDS, "--in-place", before=LISTENING)
    await_draft(process, path.parent)
    process.kill()
    process.communicate()

    assert process.returncode == -signal.SIGKILL
    assert digest(path) == before
    assert len(list(path.parent.iterdir())) == 2
    assert run("project", path, *WORDS, "-o", path.with_name("out")).code == 0
    path.with_name("out").unlink()
    assert [entry.name for entry in path.parent.iterdir()] == ["model"]


SLOW = """
import time
from wproj.constraints import Constraint


class Slow(Constraint):
    def __call__(self, w):
        time.sleep(0.5)
        return w / 2
"""


@pytest.fixture
def slow(tmp_path):
    """A rule that takes its time."""
    (tmp_path / "slow.py").write_text(SLOW)
    return ("-r", "w slow.py:Slow")


@pytest.mark.parametrize("options", [["-o", "locked/out"], ["--in-place"]], ids=str)
def test_permissions_withdrawn_in_the_middle_are_told(
    start, run, tmp_path, model, slow, without_privileges, options
):
    """The draft cannot be removed then; a later run, which may do so, does."""
    locked = tmp_path / "locked"
    locked.mkdir()
    model.rename(locked / "model")
    before = digest(locked / "model")
    process = start("project", "locked/model", *slow, *options, before=without_privileges)
    await_draft(process, locked)
    locked.chmod(0o555)
    _, stderr = process.communicate(timeout=60)
    locked.chmod(0o755)

    assert process.returncode == 3, stderr
    assert stderr.splitlines()[-2].startswith(b"error: could not write locked/")
    assert os.strerror(errno.EACCES).encode() in stderr
    assert digest(locked / "model") == before
    assert not (locked / "out").exists()
    assert run("project", "locked/model", *WORDS, "--in-place").code == 0
    assert [entry.name for entry in locked.iterdir()] == ["model"]


@pytest.mark.parametrize("options", [["-o", "out"], ["-o", "out", "--force"], ["--in-place"]])
def test_two_runs_for_one_target_leave_one_whole_result(start, run, tmp_path, model, slow, options):
    """Who comes second replaces it, or is told; nobody takes the draft of the other away."""
    assert run("project", "model", *slow, "-o", "right").code == 0
    right, before = digest(tmp_path / "right"), digest(model)
    (tmp_path / "right").unlink()
    processes = [start("project", "model", *slow, *options) for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in processes]
    codes = sorted(process.returncode for process in processes)

    assert codes[0] == 0, said
    assert codes[1] in {"--force": (0,), "--in-place": (0, 3)}.get(options[-1], (2,)), said
    assert digest(model if "--in-place" in options else tmp_path / "out") == right
    assert "--in-place" in options or digest(model) == before
    assert not list(tmp_path.glob(".*"))


# Ctrl-C at a read of HDF5's from an archive, where h5py and io drop exceptions.
WHILE_READING = """
import os, signal, sys
from wproj.formats import keras_archive, zip_member
from wproj_cli.main import main
method, number, *words = sys.argv[1:]
ours, calls = os.getpid(), 0

def interrupt(called):
    global calls
    if os.getpid() != ours:  # The child that looks at the file first.
        return
    calls += called == method
    if called == method and calls == int(number):
        signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
zip_member.interrupt = interrupt
exec('''
class Section(Section):
    def seek(self, *given):
        interrupt("seek")
        return super().seek(*given)

    def readinto(self, *given):
        interrupt("readinto")
        return super().readinto(*given)
''', vars(zip_member))
keras_archive.Section = zip_member.Section
sys.exit(main(words))
"""


@pytest.mark.parametrize(
    ("method", "number"), [*(("seek", n) for n in range(1, 8)), ("readinto", 1), ("readinto", 4)]
)
def test_an_interrupt_while_hdf5_reads_from_an_archive_is_one(tmp_path, method, number):
    """It is neither lost nor taken for a damaged file."""
    source = Path(__file__).resolve().parents[2] / "sample_weights/digits_cnn.keras"
    words = ["project", source, "--declared", "-o", tmp_path / "out"]
    run = subprocess.run(
        [sys.executable, "-c", WHILE_READING, method, str(number), *words],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert (run.returncode, run.stderr.splitlines()[-1:]) == (130, ["error: interrupted"])
    assert "damaged" not in run.stderr
    assert list(tmp_path.iterdir()) == []
