"""Sources that change while they are read; disks that have no room, or give back something else."""

import json
import os
import shutil
import struct
import time
import zipfile
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

import wproj
from wproj.errors import FileError, InputError
from wproj.formats import positional
from wproj.formats.hdf5_store import DatasetStore

pytestmark = pytest.mark.skipif(os.name == "nt", reason="an open file cannot be changed there")

RULE = "* max_norm=1 axis=0"
WORDS = ("-r", RULE)


def matrices(seed=0, count=4):
    """Matrices whose columns are all outside."""
    rng = np.random.default_rng(seed)
    return {f"w{i}": rng.standard_normal((300, 200)).astype(np.float32) for i in range(count)}


def write_safetensors(path, tensors, metadata=None):
    """Tensors as a safetensors file."""
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, w in tensors.items():
        offsets = [len(data), len(data) + w.nbytes]
        header[name] = {"dtype": "F32", "shape": list(w.shape), "data_offsets": offsets}
        data += w.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_hdf5(path, tensors, **how):
    """Tensors as an HDF5 file."""
    with h5py.File(path, "w") as file:
        for name, w in tensors.items():
            file.create_dataset(name, data=w, **how)


def write_packed(path, tensors):
    """Tensors in compressed chunks."""
    write_hdf5(path, tensors, chunks=(77, 60), compression=1, shuffle=True)


def write_archive(path, tensors):
    """Tensors as a `.keras` archive."""
    inside = path.with_name("inside")
    write_hdf5(inside, {f"layers/{name}/vars/0": w for name, w in tensors.items()})
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": []}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.write(inside, "model.weights.h5")
    inside.unlink()


FORMS = {
    "safetensors": write_safetensors,
    "hdf5": write_hdf5,
    "packed": write_packed,
    "archive": write_archive,
}


def write_folder(folder):
    """Four shards of a tensor each, and a config."""
    folder.mkdir()
    for name, w in matrices().items():
        write_safetensors(folder / f"{name}.safetensors", {name: w})
    (folder / "config.json").write_text("{}")
    return folder


def replace(path, content):
    """Gives the name to another file."""
    new = path.with_name("new")
    new.write_bytes(content)
    new.replace(path)


CHANGES = {
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut by a byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "emptied": lambda path: os.truncate(path, 0),
    "appended to": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "touched": os.utime,
    "replaced by its like": lambda path: replace(path, path.read_bytes()),
    "replaced by something else": lambda path: replace(path, b"something else"),
    "removed": lambda path: path.unlink(),
}


@pytest.fixture
def assert_only(tmp_path):
    """Checks that there is nothing in the folder of the test but what is named."""

    def check(*names):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)

    return check


def content_of(path):
    """The bytes of a file; None if there is none."""
    return path.read_bytes() if path.exists() else None


# Files


@pytest.mark.parametrize("in_place", [False, True], ids=["-o", "--in-place"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_between_two_tensors_is_an_error(
    tmp_path, assert_only, form, change, in_place
):
    """Nothing has the final name; what the other process wrote is not replaced by our result."""
    source = tmp_path / "source"
    FORMS[form](source, matrices())
    target = source if in_place else tmp_path / "out"
    reports = wproj.project(source, target, RULE, in_place=in_place)
    next(reports)
    CHANGES[change](source)
    after = content_of(source)

    with pytest.raises(InputError, match="source") as caught:
        list(reports)
    assert str(caught.value).startswith(str(source))
    assert content_of(source) == after
    assert_only(*["source"] * source.exists())


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_changes_after_the_last_tensor_is_an_error(tmp_path, assert_only, form):
    """Up to the moment at which the result gets its name."""
    source = tmp_path / "source"
    FORMS[form](source, matrices())
    reports = wproj.project(source, tmp_path / "out", RULE)
    for _ in range(4):
        next(reports)
    os.utime(source)

    with pytest.raises(FileError, match="was changed by another process") as caught:
        next(reports)
    assert "run again" in caught.value.hint
    assert_only("source")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_source_in_place_that_changes_while_the_disk_is_waited_for_is_an_error(
    tmp_path, monkeypatch, kind
):
    """That may take minutes, and what another process writes then is not to be lost."""
    source = tmp_path / "source"
    if kind == "folder":
        changing = write_folder(source) / "w1.safetensors"
    else:
        write_safetensors(source, matrices())
        changing = source
    room = "atomic" if kind == "file" else "folders"

    def change(_path):
        changing.write_bytes(b"written by somebody else")

    monkeypatch.setattr(f"wproj.formats.{room}.sync", change)
    with pytest.raises(FileError, match="was changed by another process"):
        list(wproj.project(source, source, RULE, in_place=True))
    assert changing.read_bytes() == b"written by somebody else"


READERS = {
    "audit": wproj.audit,
    "check": lambda path: wproj.check(wproj.plan(path, RULE)),
    "diff": lambda path: wproj.diff(wproj.open_checkpoint(path), wproj.open_checkpoint(path)),
    "rehearse": lambda path: wproj.project(path, None, RULE),
}


@pytest.mark.parametrize("form", ["safetensors", "packed"])
@pytest.mark.parametrize("verb", READERS)
@pytest.mark.parametrize("change", CHANGES)
def test_what_only_reads_tells_of_a_change_too(tmp_path, form, verb, change):
    """Zeros are not taken for weights, nor is half of one file and half of another a result."""
    source = tmp_path / "source"
    FORMS[form](source, matrices())
    reports = READERS[verb](source)
    next(reports)
    CHANGES[change](source)

    with pytest.raises(InputError, match="source"):
        list(reports)


@pytest.mark.parametrize("verb", READERS)
def test_what_only_reads_takes_a_folder_that_stays(tmp_path, verb):
    """Its members are looked at when all has been read."""
    source = write_folder(tmp_path / "source")
    assert len(list(READERS[verb](source))) == 4
    reports = READERS[verb](source)
    next(reports)
    os.utime(source / "config.json")

    with pytest.raises(FileError, match="was changed by another process"):
        list(reports)


def test_a_file_that_is_another_one_when_the_work_begins_is_an_error(tmp_path, assert_only):
    """The plan says where the bytes of the one are; the other may have them elsewhere."""
    source = tmp_path / "source"
    write_safetensors(source, matrices())
    reports = wproj.project(source, tmp_path / "out", "w3 max_norm=1 axis=0")
    write_safetensors(tmp_path / "new", matrices(), {"written": "again, and with a longer header"})
    (tmp_path / "new").replace(source)

    with pytest.raises(FileError, match=r"source: .*changed"):
        list(reports)
    assert_only("source")


def test_a_shard_that_is_another_one_when_the_work_begins_is_an_error(tmp_path, assert_only):
    """As for a single file."""
    source = write_folder(tmp_path / "source")
    reports = wproj.project(source, tmp_path / "out", RULE)
    write_safetensors(source / "w1.safetensors", {"w1": matrices()["w1"]}, {"longer": "header"})

    with pytest.raises(FileError, match=r"w1\.safetensors: .*changed"):
        list(reports)
    assert_only("source")


# Folders


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("member", ["w0.safetensors", "w3.safetensors", "config.json"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_member_that_changes_between_two_tensors_is_an_error(
    tmp_path, assert_only, change, member, resume
):
    """Whether it was written already, is yet to be read, or is only copied."""
    source = write_folder(tmp_path / "source")
    reports = wproj.project(source, tmp_path / "out", RULE, resume=resume)
    next(reports)
    next(reports)
    CHANGES[change](source / member)
    after = content_of(source / member)

    with pytest.raises(InputError, match=member.removesuffix(".safetensors")):
        list(reports)
    assert content_of(source / member) == after
    if not resume:
        assert_only("source")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", [c for c in CHANGES if c != "removed"])
def test_in_place_no_member_is_replaced_after_a_change(tmp_path, assert_only, change):
    """Not even those that did not change."""
    source = write_folder(tmp_path / "source")
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    reports = wproj.project(source, source, RULE, in_place=True)
    next(reports)
    CHANGES[change](source / "w2.safetensors")

    with pytest.raises(InputError, match="w2"):
        list(reports)
    assert_only("source")
    after = {path.name: path.read_bytes() for path in source.iterdir()}
    assert sorted(after) == sorted(before)
    assert {name for name in after if after[name] != before[name]} <= {"w2.safetensors"}


# The program


SLOW = """
import time
from wproj.constraints import Constraint


class Slow(Constraint):
    def __call__(self, w):
        time.sleep(0.15)
        return w / 2
"""


@pytest.fixture
def slow(tmp_path):
    """A rule that takes its time."""
    (tmp_path / "slow.py").write_text(SLOW)
    return ("-r", "* slow.py:Slow")


def await_draft(process, folder):
    """Waits until there is a draft, and the work under way."""
    deadline = time.monotonic() + 30
    while not list(folder.glob(".*.wproj-tmp")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_the_program_tells_of_a_file_that_changes(
    start, tmp_path, assert_only, assert_refused, slow, change
):
    """In a sentence, with exit code 3."""
    source = tmp_path / "source"
    write_safetensors(source, matrices())
    process = start("project", "source", *slow, "-o", "out")
    await_draft(process, tmp_path)
    CHANGES[change](source)
    after = content_of(source)
    stdout, stderr = process.communicate(timeout=60)
    result = SimpleNamespace(code=process.returncode, stdout=stdout, stderr=stderr.decode())

    assert_refused(result, 3, "error: source: ")
    assert content_of(source) == after
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    assert_only("slow.py", *["source"] * source.exists())


@pytest.mark.slow
@pytest.mark.parametrize("change", ["cut in half", "removed", "touched", "replaced by its like"])
def test_the_program_tells_of_a_shard_that_changes(
    start, tmp_path, assert_only, assert_refused, slow, change
):
    """Above all of one that vanishes before it is read."""
    source = write_folder(tmp_path / "source")
    process = start("project", "source", *slow, "-o", "out")
    await_draft(process, tmp_path)
    CHANGES[change](source / "w3.safetensors")
    stdout, stderr = process.communicate(timeout=60)
    result = SimpleNamespace(code=process.returncode, stdout=stdout, stderr=stderr.decode())

    assert_refused(result, 3, "error: source", "w3")
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    assert_only("slow.py", "source")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_source_that_nobody_may_write_to_is_read(run, tmp_path, without_privileges, kind):
    """Neither it nor the folder that it is in; also with --resume."""
    locked = tmp_path / "locked"
    locked.mkdir()
    source = write_folder(locked / "source")
    for path in (*source.iterdir(), source, locked):
        path.chmod(0o444 if path.is_file() else 0o555)
    given = "locked/source" if kind == "folder" else "locked/source/w0.safetensors"
    options = ["--resume"] if kind == "folder" else []
    result = run("project", given, *WORDS, "-o", "out", *options, before=without_privileges)
    for path in (locked, source):
        path.chmod(0o755)

    assert result.code == 0, result.stderr
    out = tmp_path / "out"
    written = out if kind == "file" else out / "w3.safetensors"
    assert written.stat().st_mode & 0o777 == 0o444
    assert (
        written.read_bytes()
        != (source / written.name.replace("out", "w0.safetensors")).read_bytes()
    )
    assert not list(tmp_path.glob(".*"))


# Disks that have no room


@pytest.fixture
def free(monkeypatch):
    """Makes the system say that so many bytes are free, and that no blocks are shared."""

    def say(count):
        usage = SimpleNamespace(total=1 << 50, used=0, free=count)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
        monkeypatch.setattr("wproj.formats.atomic.shares_blocks", lambda *_files: False)

    return say


@pytest.mark.parametrize(
    "options", [["-o", "out"], ["-o", "old", "--force"], ["--in-place"]], ids=str
)
@pytest.mark.parametrize("form", FORMS)
def test_a_disk_without_room_for_a_file_is_told(
    call, tmp_path, free, snapshot, assert_refused, assert_told_in_json, form, options
):
    """With what is needed and what is there; nothing was written."""
    FORMS[form](tmp_path / "source", matrices())
    (tmp_path / "old").write_bytes(b"old")
    size = (tmp_path / "source").stat().st_size
    before = snapshot()
    free(size - 1)
    result = call("project", "source", *WORDS, *options, "-f", "json")

    named = f"{size} bytes are needed", f"{size - 1} left"
    assert_refused(result, 3, "could not write ", *named, hint="the original is unchanged")
    assert_told_in_json(result)
    assert snapshot() == before
    free(1 << 40)
    assert call("project", "source", *WORDS, *options).code == 0


@pytest.mark.parametrize("options", [["-o", "out"], ["-o", "out", "--resume"]], ids=str)
def test_a_disk_without_room_for_a_folder_is_told(
    call, tmp_path, free, snapshot, assert_refused, options
):
    """For all of its files together."""
    source = write_folder(tmp_path / "source")
    size = sum(path.stat().st_size for path in source.iterdir())
    before = snapshot()
    free(size - 1)
    result = call("project", "source", *WORDS, *options)

    assert_refused(result, 3, "could not write out", f"{size} bytes", f"{size - 1} left")
    assert snapshot() == before
    free(size)
    assert call("project", "source", *WORDS, *options).code == 0


def test_in_place_only_members_that_are_written_need_room(call, tmp_path, free, snapshot):
    """The others keep their place."""
    source = write_folder(tmp_path / "source")
    size = (source / "w1.safetensors").stat().st_size
    words = ("project", "source", "-r", "w1 max_norm=1 axis=0", "--in-place")
    before = snapshot()
    free(size - 1)
    assert call(*words).code == 3
    assert snapshot() == before
    free(size)
    assert call(*words).code == 0


# Disks that give back something else


@pytest.fixture
def flipping(monkeypatch):
    """From now on, one of the writes stores a bit that is not the one that it was given."""

    def flip(number):
        count, write = [], positional.write_at

        def write_wrongly(descriptor, offset, data):
            count.append(offset)
            if len(count) - 1 == number:
                data = bytearray(data)
                data[len(data) // 2] ^= 1
            write(descriptor, offset, memoryview(data))

        monkeypatch.setattr(positional, "write_at", write_wrongly)
        return count

    return flip


# In those of two steps, the last one leaves alone what the first has changed, or what nothing has.
RULES = {
    "max_norm=1 axis=0": {},
    "non_neg": {},
    "non_neg+max_norm=1 axis=0": {},
    "non_neg+max_norm=1e9 axis=0": {},
    "max_norm=1e9+max_norm=1e9 axis=0": {},
    "unit_norm axis=1": {},
    "max_norm=1 axis=1": {"numerics": "keras"},
}


@pytest.mark.parametrize("number", [0, 3])
@pytest.mark.parametrize("form", ["safetensors", "hdf5", "archive"])
@pytest.mark.parametrize("spec", RULES)
def test_a_bit_that_the_disk_flips_is_found(tmp_path, flipping, assert_only, form, spec, number):
    """In the first tensor that is written or in the last; there is no target, and no draft."""
    source, target = tmp_path / "source", tmp_path / "out"
    FORMS[form](source, matrices())
    written = flipping(number)

    with pytest.raises(wproj.OutputError, match="what was written reads back as something else"):
        list(wproj.project(source, target, f"* {spec}", **RULES[spec]))
    assert len(written) > number
    assert_only("source")


def test_a_bit_that_the_disk_flips_is_not_looked_for_without_verifying(tmp_path, flipping):
    """The measures and the bytes are those of the fast path alone."""
    source = tmp_path / "source"
    write_safetensors(source, matrices())
    list(wproj.project(source, tmp_path / "right", RULE))
    flipping(2)
    list(wproj.project(source, tmp_path / "out", RULE, verify=False))
    right, wrong = (
        np.frombuffer((tmp_path / name).read_bytes(), np.uint8) for name in ("right", "out")
    )

    assert (right != wrong).sum() == 1


@pytest.mark.parametrize("options", [["-o", "out"], ["--in-place"]], ids=str)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_program_tells_of_a_bit_that_the_disk_flips(
    call, tmp_path, snapshot, flipping, assert_refused, assert_told_in_json, kind, options
):
    """Exit code 3, and everything is as it was; `--no-verify` does not look."""
    if kind == "folder":
        write_folder(tmp_path / "source")
    else:
        write_safetensors(tmp_path / "source", matrices())
    before = snapshot()
    flipping(3)
    result = call("project", "source", *WORDS, *options, "-f", "json")

    assert_refused(result, 3, "could not write ", "reads back as something else")
    assert_told_in_json(result)
    assert snapshot() == before
    flipping(3)
    assert call("project", "source", *WORDS, *options, "--no-verify").code == 0


@pytest.mark.parametrize("spec", ["max_norm=1 axis=0", "non_neg", "non_neg+max_norm=1e9 axis=0"])
def test_a_chunk_that_is_stored_wrongly_is_found(tmp_path, monkeypatch, assert_only, spec):
    """One bit of one of its entries."""
    prepare = DatasetStore.prepare_box

    def prepare_wrongly(self, box, values):
        values = values.copy()
        if box[0].start == 0 and self.entry.name == "w2":
            values.view(np.uint8)[-1, -1] ^= 1
        return prepare(self, box, values)

    source, target = tmp_path / "source", tmp_path / "out"
    write_packed(source, matrices())
    list(wproj.project(source, tmp_path / "right", f"* {spec}"))
    monkeypatch.setattr(DatasetStore, "prepare_box", prepare_wrongly)
    with pytest.raises(wproj.OutputError, match="what was written reads back as something else"):
        list(wproj.project(source, target, f"* {spec}"))
    assert_only("source", "right")
    list(wproj.project(source, target, f"* {spec}", verify=False))
    with h5py.File(tmp_path / "right") as right, h5py.File(target) as wrong:
        differing = [(right[name][()] != wrong[name][()]).sum() for name in right]
    assert differing[:2] + differing[3:] == [0, 0, 0]
    assert differing[2] == 1


def test_a_disk_that_fails_to_read_back_is_told(tmp_path, monkeypatch, assert_only):
    """With what the system says."""
    source = tmp_path / "source"
    write_safetensors(source, matrices())
    read, write, written = os.pread, os.pwrite, set()

    def note(descriptor, data, at):
        written.add(at)
        return write(descriptor, data, at)

    def fail(descriptor, count, at):
        if at in written:
            raise OSError(5, os.strerror(5))
        return read(descriptor, count, at)

    monkeypatch.setattr(os, "pwrite", note)
    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(wproj.OutputError, match="Input/output error"):
        list(wproj.project(source, tmp_path / "out", RULE))
    assert_only("source")
