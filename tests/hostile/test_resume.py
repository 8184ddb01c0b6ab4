"""Runs on folders that are killed, interrupted or run out of disk, and are gone on with."""

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import struct
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from wproj.formats import positional

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and locks are POSIX's")

RULE = ("-r", "*.weight max_norm=1 axis=0")
SHARDS = [f"model-{number:05d}-of-00008.safetensors" for number in range(1, 9)]
LISTENING = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "signal.signal(signal.SIGHUP, signal.SIG_DFL)"
)


def write_shard(path, number, rows):
    """Three tensors, of which the second has half of its columns inside."""
    rng = np.random.default_rng(number)
    names = [f"layers.{number}.{part}" for part in ("a.weight", "b.weight", "norm")]
    tensors = [rng.standard_normal((rows, 300)).astype(np.float32) for _ in names[:2]]
    tensors[1][:, ::2] *= 1e-3
    tensors.append(np.ones(300, np.float32))
    header, data = {}, b""
    for name, w in zip(names, tensors, strict=True):
        offsets = [len(data), len(data) + w.nbytes]
        header[name] = {"dtype": "F32", "shape": list(w.shape), "data_offsets": offsets}
        data += w.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return dict.fromkeys(names, path.name)


def write_model(folder, rows):
    """Eight shards, their index, a config and a tokenizer in a folder of its own."""
    (folder / "tokenizer").mkdir(parents=True)
    mapped = {}
    for number, shard in enumerate(SHARDS):
        mapped |= write_shard(folder / shard, number, rows)
    index = {"metadata": {}, "weight_map": mapped}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer/vocab.txt").write_text("a b c")
    (folder / SHARDS[3]).chmod(0o640)
    return folder


@pytest.fixture
def source(tmp_path):
    """A model of small shards."""
    return write_model(tmp_path / "source", 40)


@pytest.fixture
def large(tmp_path):
    """A model of shards that take a while: of five megabytes each."""
    return write_model(tmp_path / "source", 2000)


def contents(folder):
    """The files below a folder: modes and bytes by path."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mode, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def whole(run, tmp_path):
    """What an uninterrupted run makes of the source: the files, and the report."""

    def make(*words):
        result = run("project", "source", *words, "-o", "out", "-f", "json")
        assert result.code == 0, result.stderr
        found = contents(tmp_path / "out")
        shutil.rmtree(tmp_path / "out")
        return found, result.stdout

    return make


@pytest.fixture
def drafts(tmp_path):
    """The drafts that there are."""
    return lambda: sorted(path for path in tmp_path.glob(".*.wproj-tmp") if path.is_dir())


@pytest.fixture
def begun(tmp_path):
    """The journals, and how long they are: who begins to write a draft writes there."""

    def find():
        found = {}
        for path in tmp_path.glob(".*.journal.wproj-tmp"):
            with contextlib.suppress(FileNotFoundError):
                found[path.name] = path.stat().st_size
        return found

    return find


@pytest.fixture
def finished(drafts):
    """The shards that journals have, and what tells whether somebody has written to them since."""

    def find():
        shards = {}
        for draft in drafts():
            journal = draft.with_name(draft.name.replace(".wproj-tmp", ".journal.wproj-tmp"))
            with contextlib.suppress(FileNotFoundError):  # It has just come to its end.
                lines = [line for line in journal.read_bytes().split(b"\n")[1:-1] if line]
                names = [json.loads(line)["member"] for line in lines]
                shards |= {name: state(draft / name) for name in names}
        return shards

    return find


def state(path):
    """What tells whether a file was written to."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def await_change(process, look, before):
    """Waits until something looks different, or the process has ended."""
    deadline = time.monotonic() + 60
    while look() == before and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)


# Killed


@pytest.mark.slow
@pytest.mark.usefixtures("large")
def test_a_run_that_is_killed_again_and_again_comes_to_the_same_end(
    start, run, whole, drafts, begun, finished, tmp_path
):
    """Wherever SIGKILL hits; and no shard that was finished is written to again."""
    expected = whole(*RULE)
    words = ("project", "source", *RULE, "-o", "out", "-f", "json", "--resume")
    rng = random.Random(7)  # noqa: S311 # the same moments in every run
    kept = []

    def assert_kept(shards):
        places = [*drafts(), tmp_path / "out"]
        for name, known in shards.items():
            now = [state(place / name) for place in places if (place / name).exists()]
            assert known in now, f"{name} was done again"

    for attempt in range(18):
        journals, before = begun(), finished()
        kept.append(len(before))
        process = start(*words, before=LISTENING)
        await_change(process, begun, journals)
        if attempt % 3:
            time.sleep(0.01 * attempt if attempt % 2 else rng.uniform(0, 0.3))
        else:
            await_change(process, finished, before)
        process.kill()
        _, stderr = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), stderr
        assert_kept(before)
        if (tmp_path / "out").exists():
            assert contents(tmp_path / "out") == expected[0]
            shutil.rmtree(tmp_path / "out")
    before = finished()
    result = run(*words)

    assert result.code == 0, result.stderr
    assert max(kept) > 0
    assert_kept(before)
    assert (contents(tmp_path / "out"), result.stdout) == expected


# Interrupted


SLOW = """
import time
from wproj.constraints import Constraint


class Slow(Constraint):
    def __call__(self, w):
        time.sleep(0.05)
        return w / 2
"""


@pytest.fixture
def slow(tmp_path):
    """A rule that takes its time."""
    (tmp_path / "slow.py").write_text(SLOW)
    return ("-r", "*.weight slow.py:Slow")


@pytest.fixture
def interrupt(start, slow, finished):
    """Runs until three shards are finished, then sends a signal; the code and what was said."""

    def run(number, *options):
        process = start(
            "project", "source", *slow, "-o", "out", "-f", "json", *options, before=LISTENING
        )
        deadline = time.monotonic() + 60
        while len(finished()) < 3:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
        return SimpleNamespace(code=process.returncode, stdout=stdout, stderr=stderr.decode())

    return run


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.slow
@pytest.mark.usefixtures("source")
@pytest.mark.parametrize(("number", "code"), SIGNALS, ids=["Ctrl-C", "SIGTERM", "hang-up"])
def test_an_interrupted_run_with_resume_leaves_what_is_finished(
    run, interrupt, whole, slow, drafts, finished, tmp_path, number, code
):
    """And the next one goes on with it; the journal is not left in the result."""
    expected = whole(*slow)
    result = interrupt(number, "--resume")
    before = finished()

    assert result.code == code, result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()
    assert len(drafts()) == 1
    assert SHARDS[:3] == sorted(before)[:3]
    resumed = run("project", "source", *slow, "-o", "out", "-f", "json", "--resume")
    assert resumed.code == 0, resumed.stderr
    assert (contents(tmp_path / "out"), resumed.stdout) == expected
    assert {name: state(tmp_path / "out" / name) for name in before} == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
@pytest.mark.usefixtures("source")
@pytest.mark.parametrize(("number", "code"), SIGNALS, ids=["Ctrl-C", "SIGTERM", "hang-up"])
def test_an_interrupted_run_without_resume_leaves_nothing(interrupt, tmp_path, number, code):
    """Neither a draft nor a target."""
    result = interrupt(number)

    assert result.code == code, result.stderr
    assert not list(tmp_path.glob(".*"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("source")
def test_a_killed_run_without_resume_can_be_gone_on_with(
    run, interrupt, whole, slow, finished, tmp_path
):
    """The journal is kept in any case: nobody knows beforehand that the power will fail."""
    expected = whole(*slow)
    interrupt(signal.SIGKILL)
    before = finished()
    resumed = run("project", "source", *slow, "-o", "out", "-f", "json", "--resume")

    assert resumed.code == 0, resumed.stderr
    assert (contents(tmp_path / "out"), resumed.stdout) == expected
    assert {name: state(tmp_path / "out" / name) for name in before} == before


@pytest.mark.slow
@pytest.mark.usefixtures("source")
def test_a_shard_that_was_damaged_meanwhile_is_done_again(
    run, interrupt, whole, slow, drafts, finished, tmp_path
):
    """A power failure may leave a file of zeros; the others are kept."""
    expected = whole(*slow)
    interrupt(signal.SIGKILL)
    before = finished()
    (draft,) = drafts()
    size = (draft / SHARDS[1]).stat().st_size
    (draft / SHARDS[1]).write_bytes(bytes(size))
    resumed = run("project", "source", *slow, "-o", "out", "-f", "json", "--resume")
    after = {name: state(tmp_path / "out" / name) for name in before}

    assert resumed.code == 0, resumed.stderr
    assert (contents(tmp_path / "out"), resumed.stdout) == expected
    assert [name for name in before if before[name] != after[name]] == [SHARDS[1]]


@pytest.mark.slow
@pytest.mark.usefixtures("source")
def test_a_draft_that_another_process_writes_is_refused(
    start, run, slow, finished, drafts, assert_refused, tmp_path
):
    """Exit code 2, told to wait; and the other one comes to its end."""
    process = start("project", "source", *slow, "-o", "out")
    deadline = time.monotonic() + 60
    while not finished():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGSTOP)
    (draft,) = drafts()
    result = run("project", "source", *slow, "-o", "out", "--resume")
    process.send_signal(signal.SIGCONT)

    assert_refused(result, 2, "out: another process is writing", str(draft.name), hint="wait")
    assert drafts() == [draft]
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert sorted(contents(tmp_path / "out")) == sorted(contents(tmp_path / "source"))


# Without room


@pytest.fixture
def full(monkeypatch):
    """A disk that is full in the middle of the seventh shard; a call ends that."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("descriptors cannot be told here")
    write, tried = positional.write_at, []

    def refuse(descriptor, offset, data):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.name == SHARDS[6]:
            tried.append(offset)
        if len(tried) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(descriptor, offset, data)

    monkeypatch.setattr(positional, "write_at", refuse)
    return monkeypatch.undo


def test_a_disk_that_fills_up_leaves_the_finished_shards_with_resume(
    call, source, full, drafts, finished, assert_refused, tmp_path
):
    """Exit code 3, told where they are; with room, the run is gone on with."""
    words = ("project", source, *RULE, "-o", "out", "-f", "json")
    result = call(*words, "--resume")
    before = finished()
    (draft,) = drafts()

    assert_refused(result, 3, "could not write out: No space left on device", hint=str(draft.name))
    assert sorted(before) == SHARDS[:6]
    assert not (tmp_path / "out").exists()
    full()
    os.chdir(tmp_path)
    resumed = call(*words, "--resume")
    found = contents(tmp_path / "out")
    assert resumed.code == 0, resumed.stderr
    assert {name: state(tmp_path / "out" / name) for name in before} == before
    (tmp_path / "out").rename(tmp_path / "resumed")
    again = call(*words)
    assert (found, resumed.stdout) == (contents(tmp_path / "out"), again.stdout)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("full")
def test_a_disk_that_fills_up_leaves_nothing_without_resume(
    call, source, snapshot, assert_refused, assert_told_in_json
):
    """Neither a draft nor a target."""
    before = snapshot()
    result = call("project", source, *RULE, "-o", "out", "-f", "json")

    assert_refused(
        result, 3, "could not write out: No space left on device", hint="no partial file"
    )
    assert_told_in_json(result)
    assert snapshot() == before


# Refused


@pytest.fixture
def interrupted(call, source, full, drafts):
    """A draft of six shards, and the words that made it."""
    words = ("project", source, *RULE, "-o", "out", "--resume")
    assert call(*words).code == 3
    full()
    os.chdir(source.parent)
    (draft,) = drafts()
    return draft, words


CHANGED = {
    "another bound": (["-r", "*.weight max_norm=2 axis=0"], "of other rules"),
    "another axis": (["-r", "*.weight max_norm=1 axis=1"], "of other rules"),
    "fewer tensors": ([*RULE, "-x", "*.7.b.weight"], "of other rules"),
    "other numerics": ([*RULE, "--numerics", "keras"], "of other rules"),
    "a way with NaN": ([*RULE, "--nonfinite", "skip"], "of other rules"),
}


@pytest.mark.parametrize("change", CHANGED)
def test_other_rules_are_refused(call, interrupted, source, snapshot, assert_refused, change):
    """Exit code 2; the draft is as it was, for who remembers what it was."""
    draft, _ = interrupted
    before = snapshot()
    options, problem = CHANGED[change]
    result = call("project", source, *options, "-o", "out", "--resume")

    assert_refused(
        result, 2, "out: the interrupted run", draft.name, problem, hint="remove that draft"
    )
    assert snapshot() == before


@pytest.mark.parametrize("touched", [SHARDS[0], SHARDS[7], "config.json"])
def test_another_source_is_refused(call, interrupted, source, snapshot, assert_refused, touched):
    """Exit code 2; whichever file it is that was touched."""
    draft, words = interrupted
    os.utime(source / touched)
    before = snapshot()

    assert_refused(call(*words), 2, "out: the interrupted run", draft.name, "of another source")
    assert snapshot() == before


def test_after_a_refusal_the_right_rules_go_on(call, interrupted, source, finished, tmp_path):
    """Nothing was lost by trying."""
    _, words = interrupted
    before = finished()
    assert call("project", source, "-r", "* unit_norm axis=0", "-o", "out", "--resume").code == 2
    assert call(*words).code == 0
    assert {name: state(tmp_path / "out" / name) for name in before} == before


@pytest.mark.usefixtures("interrupted")
def test_without_resume_a_run_begins_anew(call, source, finished, tmp_path):
    """The draft of the other one goes when its target is there, and it cannot be resumed."""
    assert len(finished()) == 6
    result = call("project", source, "-r", "*.weight max_norm=2 axis=0", "-o", "out")

    assert result.code == 0, result.stderr
    assert not list(tmp_path.glob(".*"))
    assert not any(name.startswith(".") for name in contents(tmp_path / "out"))


@pytest.mark.usefixtures("interrupted")
@pytest.mark.parametrize(
    "words", [["source", "-o", "other"], ["source/" + SHARDS[0], "-o", "out file"]], ids=str
)
def test_a_run_for_another_target_leaves_what_can_be_resumed(call, finished, words):
    """Whether it writes a folder or a file beside the draft."""
    before = finished()
    result = call("project", *words, *RULE)

    assert result.code == 0, result.stderr
    assert len(before) == 6
    assert finished() == before


@pytest.mark.parametrize(
    "words", [[SHARDS[0], "-o", "../out"], [".", "--in-place"]], ids=["single file", "in place"]
)
def test_what_cannot_be_resumed_is_refused(
    call, source, snapshot, assert_refused, monkeypatch, words
):
    """Exit code 2, before any work."""
    before = snapshot()
    monkeypatch.chdir(source)
    result = call("project", *words, *RULE, "--resume")

    assert_refused(result, 2, "error: --resume goes with a checkpoint of several files")
    assert snapshot() == before
