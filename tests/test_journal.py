"""What an interrupted run leaves, and what the next one makes of it."""

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import wproj
from wproj.errors import OutputError, TargetError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has other locks")

RULE = "w* max_norm=1 axis=0"
SHARDS = [f"model-{number}-of-6.safetensors" for number in range(1, 7)]
INDEX = "model.safetensors.index.json"


@pytest.fixture
def source(tmp_path):
    """Six shards of two tensors each, their index, and files that are no weights."""
    folder = tmp_path / "source"
    (folder / "code").mkdir(parents=True)
    rng = np.random.default_rng(0)
    mapped = {}
    for number, shard in enumerate(SHARDS):
        tensors = {
            f"w{number}": rng.standard_normal((60, 50)).astype(np.float32),
            f"w{number}.\u00e9\t": rng.standard_normal((7, 9)).astype(np.float16),
        }
        tensors[f"w{number}"][:, 3] = 0
        save_file(tensors, folder / shard)
        mapped |= dict.fromkeys(tensors, shard)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": mapped}))
    (folder / "config.json").write_text("{}")
    (folder / "code/model.py").write_text("print()")
    (folder / "code/model.py").chmod(0o755)
    return folder


@pytest.fixture
def begin(source, tmp_path):
    """Begins a run for `out`, and gives up when so many shards are finished."""

    def run(finished, rules=RULE, *, resume=True, **options):
        made = wproj.project(source, tmp_path / "out", rules, resume=resume, **options)
        for _ in range(2 * finished + 1):
            next(made)
        made.close()

    return run


@pytest.fixture
def resume(source, tmp_path):
    """Goes on with the run for `out`; its reports."""

    def run(rules=RULE, *, folder=source, **options):
        return list(wproj.project(folder, tmp_path / "out", rules, resume=True, **options))

    return run


@pytest.fixture
def drafts(tmp_path):
    """The drafts that there are; to each belongs a journal, and to no other."""

    def find():
        found = sorted(p for p in tmp_path.glob(".*.wproj-tmp") if ".journal." not in p.name)
        assert sorted(tmp_path.glob(".*.journal.wproj-tmp")) == list(map(journal_of, found))
        return found

    return find


def journal_of(draft):
    """The journal of a draft, beside it."""
    return draft.with_suffix(".journal.wproj-tmp")


@pytest.fixture
def journal(drafts):
    """The journal of the one draft."""

    def find():
        (draft,) = drafts()
        return journal_of(draft)

    return find


@pytest.fixture
def whole(source, tmp_path):
    """What a run that nobody interrupts makes: the files with their modes, and the reports."""

    def run(rules=RULE, folder=source, **options):
        reports = list(wproj.project(folder, tmp_path / "whole", rules, **options))
        found = contents(tmp_path / "whole")
        shutil.rmtree(tmp_path / "whole")
        return found, reports

    return run


def contents(folder):
    """The files below a folder: modes and bytes by path."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mode, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def state(path):
    """What tells whether a file was written to."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()


# Going on


@pytest.mark.parametrize("finished", range(6))
def test_a_resumed_run_makes_what_an_uninterrupted_one_makes(
    begin, resume, whole, drafts, tmp_path, finished
):
    """The same files with the same modes, the same reports, and nothing besides.

    Without a finished shard there is nothing to resume, and so no draft is left.
    """
    begin(finished)
    assert len(drafts()) == (finished > 0)
    reports = resume()

    assert (contents(tmp_path / "out"), reports) == whole()
    assert drafts() == []


@pytest.mark.parametrize("finished", [1, 3, 5])
def test_finished_shards_are_not_done_again(begin, resume, drafts, tmp_path, finished):
    """They are the very files of the draft, and nobody has written to them."""
    begin(finished)
    (draft,) = drafts()
    before = {shard: state(draft / shard) for shard in SHARDS}
    resume()
    after = {shard: state(tmp_path / "out" / shard) for shard in SHARDS}

    assert [after[shard] == before[shard] for shard in SHARDS] == [
        number < finished for number in range(6)
    ]


def test_a_run_may_be_interrupted_again_and_again(begin, resume, whole, drafts, tmp_path):
    """What each of them finishes is kept."""
    kept = []
    for finished in (1, 2, 2, 4, 5):
        begin(finished)
        (draft,) = drafts()
        kept.append(state(draft / SHARDS[0]))
    fourth = state(draft / SHARDS[3])
    reports = resume()

    assert len({*kept, state(tmp_path / "out" / SHARDS[0])}) == 1
    assert state(tmp_path / "out" / SHARDS[3]) == fourth
    assert (contents(tmp_path / "out"), reports) == whole()


def test_a_run_without_anything_to_resume_begins(resume, whole, tmp_path):
    """`--resume` may be given always."""
    assert (resume(), contents(tmp_path / "out")) == whole()[::-1]


def test_the_journal_does_not_get_into_the_result(begin, resume, source, tmp_path):
    """The folder has the members of the source and no other file."""
    begin(3)
    resume()

    assert sorted(contents(tmp_path / "out")) == sorted(contents(source))


@pytest.mark.parametrize("options", [{"verify": False}, {"durable": False}])
def test_how_it_is_written_may_differ(begin, resume, whole, tmp_path, options):
    """Threads, memory, syncing and verifying do not change the result."""
    begin(2, **options)
    reports = resume(resources=wproj.Resources(threads=3, memory=10**9))

    assert (contents(tmp_path / "out"), reports) == whole()


def test_reports_come_back_number_by_number(source, begin, resume, whole):
    """Vectors that are skipped, norms that are nothing, strange names."""
    w = np.full((4, 3), 1e38, np.float32)
    w[1] = [np.nan, np.inf, 3e38]
    save_file({"w0": w, "w0.\u00e9\t": np.zeros((2, 2), np.float32)}, source / SHARDS[0])
    begin(2, nonfinite="skip")

    assert resume(nonfinite="skip") == whole(nonfinite="skip")[1]


def test_a_checkpoint_without_an_index_is_resumed(source, begin, resume, whole, tmp_path):
    """A folder of shards alone."""
    (source / INDEX).unlink()
    begin(3)

    assert (resume(), contents(tmp_path / "out")) == whole()[::-1]


def test_shards_without_a_match_are_copied_anew(source, resume, whole, drafts, tmp_path):
    """Only what was computed is worth a line in the journal."""
    rules = ("w1 max_norm=1 axis=0", "w4 max_norm=1 axis=0")
    made = wproj.project(source, tmp_path / "out", rules, resume=True)
    next(made)
    next(made)
    made.close()
    (draft,) = drafts()
    before = [state(draft / shard) for shard in SHARDS]

    assert (resume(rules), contents(tmp_path / "out")) == whole(rules)[::-1]
    after = [state(tmp_path / "out" / shard) for shard in SHARDS]
    assert [a == b for a, b in zip(after, before, strict=True)] == [n == 1 for n in range(6)]


# What is not believed


DAMAGE = {
    "a byte differs": lambda path: flip(path, 700),
    "it is cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "it is longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "it is gone": lambda path: path.unlink(),
}


def flip(path, at):
    """Changes a byte of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_shard_that_is_not_what_the_journal_says_is_done_again(
    begin, resume, whole, drafts, tmp_path, damage
):
    """Only that one."""
    begin(3)
    (draft,) = drafts()
    DAMAGE[damage](draft / SHARDS[1])
    before = [state(draft / SHARDS[number]) for number in (0, 2)]
    reports = resume()

    assert (contents(tmp_path / "out"), reports) == whole()
    assert [state(tmp_path / "out" / SHARDS[number]) for number in (0, 2)] == before


def test_a_link_in_the_draft_is_not_taken_for_a_shard(begin, resume, whole, drafts, tmp_path):
    """Nor is it written through."""
    begin(3)
    (draft,) = drafts()
    elsewhere = tmp_path / "elsewhere"
    (draft / SHARDS[1]).rename(elsewhere)
    (draft / SHARDS[1]).symlink_to(elsewhere)
    before = state(elsewhere)
    reports = resume()

    assert (contents(tmp_path / "out"), reports) == whole()
    assert not (tmp_path / "out" / SHARDS[1]).is_symlink()
    assert state(elsewhere) == before


def test_shards_that_are_all_damaged_are_all_done_again(begin, resume, whole, drafts, tmp_path):
    """The draft is of some use, if only for the room that it takes."""
    begin(2)
    (draft,) = drafts()
    for shard in SHARDS:
        flip(draft / shard, 700)

    assert (resume(), contents(tmp_path / "out")) == whole()[::-1]
    assert drafts() == []


def test_a_cut_off_line_is_of_a_shard_that_is_not_finished(begin, resume, whole, journal, tmp_path):
    """The power failed while it was written."""
    begin(3)
    os.truncate(journal(), journal().stat().st_size - 20)

    assert (resume(), contents(tmp_path / "out")) == whole()[::-1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-20],
        lambda data: data + b'{"member": "model-4',
        lambda data: data + b"\0" * 4096,
        lambda data: data + b"garbage\n",
        lambda data: data + b"\n\n",
        lambda data: data + b'{"member": 1}\n',
        lambda data: data + b"\xff\xfe\n",
    ],
    ids=["cut off", "begun", "zeros", "garbage", "empty", "other JSON", "not UTF-8"],
)
def test_what_follows_a_damaged_line_is_believed_again(
    begin, resume, drafts, journal, tmp_path, damage
):
    """A run that went on with such a journal, and was interrupted, too, is gone on with."""
    begin(2)
    journal().write_bytes(damage(journal().read_bytes()))
    begin(5)
    (draft,) = drafts()
    before = [state(draft / SHARDS[number]) for number in range(5)]
    resume()

    assert [state(tmp_path / "out" / SHARDS[number]) for number in range(5)] == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"garbage\n",
        b"{}\n",
        b'{"target": "out"}\n',
        b'{"target":"out","ru',
        b"\xff" * 99,
    ],
)
def test_a_draft_without_a_sound_journal_is_not_resumed(
    begin, resume, whole, journal, drafts, tmp_path, content
):
    """Nothing of it is believed: it is removed like any leftover, and the run begins anew."""
    begin(2)
    journal().write_bytes(content)
    (draft,) = drafts()
    before = [state(draft / shard) for shard in SHARDS[:2]]

    assert (resume(), contents(tmp_path / "out")) == whole()[::-1]
    assert all(state(tmp_path / "out" / shard) not in before for shard in SHARDS[:2])
    assert drafts() == []


@pytest.mark.parametrize("member", ["../victim", "nothing", "code/../../victim"])
def test_a_journal_does_not_reach_beyond_the_shards(
    begin, resume, whole, journal, tmp_path, member
):
    """Whatever it says is finished: other files are not looked at, nor touched."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    victim.chmod(0o600)
    begin(2)
    digest = hashlib.sha256(b"mine").hexdigest()
    line = {"member": member, "sha256": digest, "tensors": []}
    with journal().open("a") as file:
        file.write(json.dumps(line) + "\n")
    before = victim.stat().st_mode, state(victim)

    assert (resume(), contents(tmp_path / "out")) == whole()[::-1]
    assert (victim.stat().st_mode, state(victim)) == before


# What is refused


def refused(problem, call, *arguments, **options):
    """Checks that a run is refused, and returns the hint."""
    with pytest.raises(TargetError, match=problem) as caught:
        call(*arguments, **options)
    return caught.value.hint


OTHERS = {
    "another bound": {"rules": "w* max_norm=1.0000000000000002 axis=0"},
    "another axis": {"rules": "w* max_norm=1 axis=1"},
    "another constraint": {"rules": "w* unit_norm axis=0"},
    "another step": {"rules": "w* non_neg+max_norm=1 axis=0"},
    "other tensors": {"rules": "w1* max_norm=1 axis=0"},
    "fewer tensors": {"exclude": ["w5*"]},
    "another numerics": {"numerics": "keras"},
    "another way with NaN": {"nonfinite": "skip"},
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_rules_are_refused(begin, resume, drafts, tmp_path, other):
    """A folder of which each shard follows other rules is nothing that anybody asked for."""
    begin(2)
    (draft,) = drafts()
    before = contents(draft), state(journal_of(draft))
    hint = refused(
        "out: the interrupted run whose draft is .* of other rules", resume, **OTHERS[other]
    )

    assert "remove that draft" in hint
    assert drafts() == [draft]
    assert (contents(draft), state(journal_of(draft))) == before
    assert not (tmp_path / "out").exists()


def test_another_epsilon_is_refused(begin, resume):
    """It is part of the formulas."""
    begin(2, numerics="keras", epsilon=1e-7)
    refused("of other rules", resume, numerics="keras", epsilon=1e-6)


SOURCES = {
    "a shard was touched": lambda folder: os.utime(folder / SHARDS[0], ns=(1, 1)),
    "a finished shard has other values": lambda folder: flip(folder / SHARDS[0], 700),
    "a later shard has other values": lambda folder: flip(folder / SHARDS[5], 700),
    "the config is another": lambda folder: (folder / "config.json").write_text("{} "),
    "a file has come": lambda folder: (folder / "new.txt").write_text("new"),
    "a file has gone": lambda folder: (folder / "config.json").unlink(),
    "a shard was replaced by itself": lambda folder: (
        shutil.copy2(folder / SHARDS[2], folder / "copy"),
        (folder / "copy").replace(folder / SHARDS[2]),
    ),
}


@pytest.mark.parametrize("change", SOURCES)
def test_another_source_is_refused(begin, resume, drafts, source, tmp_path, change):
    """Half of the shards would be of the one, half of the other."""
    begin(2)
    (draft,) = drafts()
    before = contents(draft)
    SOURCES[change](source)
    refused("out: the interrupted run whose draft is .* of another source", resume)

    assert contents(draft) == before
    assert not (tmp_path / "out").exists()


def test_another_folder_is_another_source(begin, resume, source, tmp_path):
    """Even if its files look the same."""
    begin(2)
    shutil.copytree(source, tmp_path / "copy")
    refused("of another source", resume, folder=tmp_path / "copy")


def test_a_draft_that_is_still_written_is_refused(source, resume, drafts, whole, tmp_path):
    """Who writes it comes to its end."""
    made = wproj.project(source, tmp_path / "out", RULE, resume=True)
    reports = [next(made) for _ in range(5)]
    (draft,) = drafts()
    hint = refused("out: another process is writing", resume)
    assert drafts() == [draft]
    reports += made

    assert "wait" in hint
    assert (contents(tmp_path / "out"), reports) == whole()


def test_a_draft_that_is_still_written_is_not_to_be_removed(source, resume, tmp_path):
    """Not even if it is of other rules: the hint must not ask for that."""
    made = wproj.project(source, tmp_path / "out", RULE)
    next(made)
    hint = refused("out: ", resume, "w* max_norm=2 axis=0")
    made.close()

    assert "remove that draft" not in hint


def test_nobody_takes_over_a_draft_whose_resuming_has_begun(
    begin, resume, whole, source, tmp_path, monkeypatch
):
    """Also while the rest of the members is being copied there."""
    begin(2)
    copy, tried = wproj.formats.folders.copy_file, []

    def copy_slowly(*arguments):
        if not tried:
            tried.append(True)
            with pytest.raises(TargetError, match="another process is writing"):
                list(wproj.project(source, tmp_path / "out", RULE, resume=True))
        return copy(*arguments)

    monkeypatch.setattr("wproj.formats.folders.copy_file", copy_slowly)
    reports = resume()

    assert tried
    assert (contents(tmp_path / "out"), reports) == whole()


@pytest.mark.parametrize("case", ["single file", "in place"])
def test_what_has_no_shards_of_its_own_is_not_resumed(source, tmp_path, case):
    """Before anything is read."""
    given = source / SHARDS[0] if case == "single file" else source
    target = tmp_path / "out" if case == "single file" else source

    with pytest.raises(
        wproj.RequestError, match="--resume goes with a checkpoint of several files"
    ):
        wproj.project(given, target, RULE, in_place=case == "in place", resume=True)


# What is left alone


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(5, os.strerror(5))], ids=repr)
@pytest.mark.parametrize("where", ["sync", "_rename", "open_checkpoint"])
def test_an_interruption_at_the_very_end_leaves_what_is_finished(
    source, resume, whole, drafts, tmp_path, monkeypatch, where, failure
):
    """While all is waited for, or gets its name: the longest wait of all may be there."""

    def fail(*_arguments, **_options):
        raise failure

    made = wproj.project(source, tmp_path / "out", RULE, resume=True)
    for _ in range(12):
        next(made)
    room = "writing" if where == "open_checkpoint" else "formats.folders"
    monkeypatch.setattr(f"wproj.{room}.{where}", fail)
    with pytest.raises((KeyboardInterrupt, OutputError)):
        list(made)
    monkeypatch.undo()
    (draft,) = drafts()
    before = [state(draft / shard) for shard in SHARDS]
    reports = resume()

    assert [state(tmp_path / "out" / shard) for shard in SHARDS] == before
    assert (contents(tmp_path / "out"), reports) == whole()


def test_a_run_without_resume_leaves_earlier_drafts_alone(begin, drafts):
    """If it is interrupted, too: it removes what is its own, and the other can be resumed still."""
    begin(3)
    (draft,) = drafts()
    before = contents(draft), state(journal_of(draft))
    begin(4, resume=False)

    assert drafts() == [draft]
    assert (contents(draft), state(journal_of(draft))) == before


def test_a_run_without_resume_that_ends_makes_earlier_drafts_useless(
    begin, whole, drafts, source, tmp_path
):
    """It begins anew, takes nothing of them, and they go: their target is there."""
    begin(3)
    (draft,) = drafts()
    before = [state(draft / shard) for shard in SHARDS[:3]]
    reports = list(wproj.project(source, tmp_path / "out", RULE))

    assert all(state(tmp_path / "out" / shard) not in before for shard in SHARDS[:3])
    assert (contents(tmp_path / "out"), reports) == whole()
    assert drafts() == []


def test_without_resume_an_interruption_leaves_nothing(begin, drafts):
    """Nobody said that anything was worth keeping."""
    begin(4, resume=False)

    assert drafts() == []


def test_drafts_of_other_targets_are_left_alone(source, begin, resume, drafts, whole, tmp_path):
    """Beside the same folder, by the same rules, of the same source."""
    made = wproj.project(source, tmp_path / "another", RULE, resume=True)
    for _ in range(5):
        next(made)
    made.close()
    (other,) = drafts()
    before = contents(other)
    begin(2)
    reports = resume()

    assert (contents(tmp_path / "out"), reports) == whole()
    assert drafts() == [other]
    assert contents(other) == before


def test_among_several_drafts_the_right_one_is_taken(begin, resume, drafts, whole, tmp_path):
    """Of other rules, of a file, and of nobody knows what.

    Only what wproj made, and cannot be resumed any more, is removed with it.
    """
    begin(2, "w* max_norm=3 axis=0")
    (other,) = drafts()
    (tmp_path / "hidden").mkdir()
    for path in (other, journal_of(other)):
        path.rename(tmp_path / "hidden" / path.name)
    begin(4)
    (right,) = drafts()
    before = state(right / SHARDS[3])
    for path in (tmp_path / "hidden").iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / ".0.wproj-tmp").write_bytes(b"of a file")
    (tmp_path / ".1.wproj-tmp").mkdir()
    journal_of(tmp_path / ".1.wproj-tmp").mkdir()
    journal_of(tmp_path / ".2.wproj-tmp").write_bytes(journal_of(other).read_bytes())
    reports = resume()

    assert (contents(tmp_path / "out"), reports) == whole()
    assert state(tmp_path / "out" / SHARDS[3]) == before
    for draft in (right, other):
        assert not draft.exists()
        assert not journal_of(draft).exists()
    assert (tmp_path / ".0.wproj-tmp").read_bytes() == b"of a file"
    assert (tmp_path / ".1.wproj-tmp").is_dir()
    assert journal_of(tmp_path / ".1.wproj-tmp").is_dir()
    assert journal_of(tmp_path / ".2.wproj-tmp").is_file()


def test_drafts_are_no_members_of_a_source(begin, source, whole, drafts):
    """Neither a draft in the folder that is read, nor a journal that was left in it."""
    expected = whole()
    begin(2)
    (draft,) = drafts()
    shutil.copy(journal_of(draft), source)
    shutil.copy(journal_of(draft), source / "code")
    shutil.copytree(draft, source / "code" / draft.name)
    draft.rename(source / draft.name)

    assert whole() == expected
    assert not any("wproj-tmp" in member for member in wproj.open_checkpoint(source).members)


# The journal's own faults


def test_a_line_that_the_system_writes_in_parts_is_whole(
    begin, resume, drafts, tmp_path, monkeypatch
):
    """As on a disk that is nearly full, or on some file systems."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:50]))
    begin(3)
    monkeypatch.undo()
    (draft,) = drafts()
    before = [state(draft / SHARDS[number]) for number in range(3)]
    resume()

    assert [state(tmp_path / "out" / SHARDS[number]) for number in range(3)] == before


@pytest.mark.parametrize("finished", [0, 1, 3])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_journal_that_cannot_be_written_is_told(
    source, drafts, tmp_path, monkeypatch, resumed, finished
):
    """Exit code 3; finished shards are left for `--resume`, and nothing that nobody wants."""
    write, lines = os.write, []

    def refuse(descriptor, data):
        lines.append(data)
        if len(lines) > finished:
            raise OSError(28, os.strerror(28))
        return write(descriptor, data)

    made = wproj.project(source, tmp_path / "out", RULE, resume=resumed)
    next(made)
    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(OutputError, match="No space left on device"):
        list(made)

    assert not (tmp_path / "out").exists()
    assert len(drafts()) == (resumed and finished > 0)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS], ids=os.strerror)
@pytest.mark.parametrize("resumed", [False, True])
def test_a_file_system_without_locks_will_do(begin, source, tmp_path, monkeypatch, number, resumed):
    """Some network drives have none; who asks for nothing but a folder has to get one."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    if resumed:
        begin(2)
    list(wproj.project(source, tmp_path / "out", RULE, resume=resumed))

    assert sorted(contents(tmp_path / "out")) == sorted(contents(source))


def test_a_finished_shard_is_on_the_disk_before_its_line(source, tmp_path, monkeypatch):
    """Else the digest would be of bytes that a power failure takes."""
    events = []
    fsync, write = os.fsync, os.write

    def note_sync(descriptor):
        events.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def note_write(descriptor, data):
        if data.startswith(b'{"member"'):
            events.append(("line", json.loads(data)["member"]))
        return write(descriptor, data)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("descriptors cannot be told here")
    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "write", note_write)
    list(wproj.project(source, tmp_path / "out", RULE))

    lines = [event for event in events if event[0] == "line"]
    assert lines == [("line", shard) for shard in SHARDS]
    for line in lines:
        at = events.index(line)
        assert ("sync", line[1]) in events[:at]
        assert any(name.endswith(".journal.wproj-tmp") for _, name in events[at + 1 :])
