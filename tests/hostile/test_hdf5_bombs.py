"""HDF5 made to do harm: each file gets its verdict in bounds, and nothing outside is touched."""

import json
import os
import sys
import zipfile

import h5py
import harness
import hdf5_builders as build
import numpy as np
import pytest

import wproj

pytestmark = pytest.mark.skipif(os.name == "nt", reason="FIFOs and limits are POSIX's")

EVERYTHING = ("-m", "*", "-c", "max_norm=1", "-a", "all", "-o", "out")
HARM = "is damaged HDF5, or made to do harm: "

# How a file is built, the exit code of `project`, and what is said. With 0, what is hostile is left
# alone for the reason that is told, and the tensor beside it is projected.
CASES = {
    "a soft link": (build.soft_link, 0, "link is a soft link and is not followed"),
    "an external link": (build.external_link, 0, "link is an external link and is not followed"),
    "an external link to a pipe": (build.external_link_to_a_pipe, 0, "is an external link"),
    "a user-defined link": (build.user_defined_link, 0, "link is a user-defined link"),
    "external storage": (build.external_storage, 0, "stolen skipped: its values are in another f"),
    "external storage in a pipe": (build.external_storage_in_a_pipe, 0, "are in another file"),
    "a virtual dataset": (build.virtual, 0, "stolen skipped: its values are in other datasets"),
    "a virtual dataset without end": (build.virtual_without_end, 0, "are in other datasets"),
    "a virtual dataset in a pipe": (build.virtual_in_a_pipe, 0, "are in other datasets"),
    "a tebibyte never written": (build.never_written, 0, "claims 1099511627776 bytes, of which"),
    "a tebibyte in chunks never written": (build.never_written_chunks, 0, "the file has 0"),
    "64 shapes below a gibibyte": (build.many_just_below_a_gibibyte, 0, "bomb63 skipped: it cl"),
    "300 shapes of a mebibyte": (build.many_of_a_mebibyte, 0, "bomb299 skipped: it claims 1048576"),
    "a gibibyte of zeros in one chunk": (build.deflated_in_one_chunk, 0, "its chunks claim 1073"),
    "8 gibibytes of zeros": (
        build.deflated_in_many_chunks,
        0,
        "bomb skipped: it claims 8589934592",
    ),
    "a chunk beyond its dataset": (build.a_chunk_beyond_its_dataset, 0, "its chunks claim 3221225"),
    "a chunk that inflates too far": (
        build.a_chunk_that_inflates_too_far,
        3,
        "w: HDF5 cannot read it: a chunk inflates to more than its 48000 bytes",
    ),
    "two tensors in one place": (build.tensors_in_one_place, 3, "the values of v and w overlap"),
    "values behind the end": (build.values_behind_the_end, 3, "is damaged HDF5: "),
    "3,000 groups in each other": (build.deep_groups, 0, "g/g/g/g/w (4,3)"),
    "circles": (build.circles, 0, "w (4,3)"),
    "two names of each of thirty groups": (build.doubling_groups, 0, "a/a/a/v (4,3)"),
    "millions of names": (build.many_names_of_a_group, 0, "3000 further names of groups are not t"),
    "paths longer than the file": (
        build.long_paths,
        3,
        f"{HARM}its paths are longer than the file",
    ),
    "a name of 9,000 digits": (build.long_number, 0, "1111 (4,3)"),
    "unusual types": (build.unusual_types, 0, "time skipped: other: not numbers"),
    "floats of 19 bits": (build.short_floats, 0, "short skipped: its 32-bit floats are not IEEE"),
    "scale-offset": (build.scale_offset, 0, "short skipped: the scale-offset filter would change"),
    "a missing filter": (
        build.missing_filter,
        3,
        "w: needs the HDF5 filter Zstandard (32015), which is missing\nhint: install hdf5plugin",
    ),
    "a lossy filter": (build.lossy_filter, 0, "short skipped: the ZFP filter would change what"),
    "an unknown filter": (build.unknown_filter, 0, "filter 32766, which wproj does not know, may"),
    "a dataset without a shape": (build.dataset_without_a_shape, 3, f"{HARM}lost has values, and"),
    "one name twice": (build.one_name_twice, 3, f"{HARM}a group has a name twice"),
    "a text of 4 GiB": (build.text_of_four_gibibytes, 3, "is damaged HDF5: "),
    "brackets in brackets": (build.deep_config, 0, "the attribute model_config is not JSON"),
    "models in models": (build.nested_layers, 0, "the attribute model_config is not JSON"),
    "names of endless numbers": (build.slow_names, 0, "w (4,3)"),
}
# Those that would take long or much, were they believed.
HEAVY = (
    "a virtual dataset in a pipe",
    "a tebibyte in chunks never written",
    "64 shapes below a gibibyte",
    "a gibibyte of zeros in one chunk",
    "a chunk beyond its dataset",
    "a chunk that inflates too far",
    "3,000 groups in each other",
    "a text of 4 GiB",
    "names of endless numbers",
)
BOMBS = {
    **{name: CASES[name] for name in HEAVY},
    "millions of lists": (build.wide_config, 0, "has more than 2097152 values"),
}


@pytest.fixture
def sentinel(tmp_path):
    """A file with weights outside of the folder of the input, which is not to be touched."""
    folder = tmp_path / "outside"
    folder.mkdir()
    with h5py.File(folder / "secret.h5", "w") as file:
        file["secret"] = np.arange(16, dtype="f4")
    return harness.Sentinel(folder / "secret.h5")


@pytest.fixture
def inside(tmp_path):
    """The folder of the input."""
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside"


def assert_w_is_projected(path):
    """The tensor beside what was left alone is what the rule makes of it."""
    with h5py.File(path) as file:
        assert file["w"][()].tobytes() == wproj.MaxNorm(1, axis=(0, 1))(build.W).tobytes()


@pytest.mark.parametrize("case", CASES)
def test_hostile_hdf5_is_refused_or_left_alone(call, monkeypatch, inside, sentinel, case):
    """In one sentence; nothing outside is read or written, and nothing is left behind."""
    make, code, said = CASES[case]
    make(inside / "m.h5", sentinel.path)
    before = sorted(path.name for path in inside.iterdir())
    monkeypatch.chdir(inside)
    result = call("project", "m.h5", *EVERYTHING)

    sentinel.assert_untouched()
    assert result.code == code, result.stderr
    assert said in result.stderr
    assert "internal fault" not in result.stderr
    assert sorted(path.name for path in inside.iterdir()) == (
        before if code else sorted([*before, "out"])
    )
    if code:
        assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 1
    else:
        assert_w_is_projected(inside / "out")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited on Linux")
@pytest.mark.parametrize("case", BOMBS)
def test_the_verdict_takes_little_time_and_memory(inside, sentinel, case):
    """At most 10 s and 512 MiB, the interpreter and the child process included."""
    make, code, said = BOMBS[case]
    make(inside / "m.h5", sentinel.path)
    assert (inside / "m.h5").stat().st_size < 10_000_000
    found = harness.verdict(("project", "m.h5", *EVERYTHING), inside)

    sentinel.assert_untouched()
    assert found.code == code, found.stderr
    assert said in found.stderr
    assert found.seconds < harness.SECONDS
    assert found.peak < harness.BYTES


# The same inside of what holds HDF5.


def archive(path, deflated=False):
    """A `.keras` archive with these weights."""
    kind = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(path.with_name("m.keras"), "w", kind) as file:
        file.writestr("config.json", '{"class_name": "Sequential", "config": {"layers": []}}')
        file.write(path, "model.weights.h5")
    return path.with_name("m.keras")


def folder(path):
    """An unzipped archive."""
    path.with_name("m").mkdir()
    path.rename(path.with_name("m") / "model.weights.h5")
    return path.with_name("m")


def shards(path):
    """A map of shards, with one shard."""
    path.rename(path.with_name("m_00000.weights.h5"))
    text = json.dumps({"metadata": {}, "weight_map": {"/": "m_00000.weights.h5"}})
    path.with_name("m.weights.json").write_text(text)
    return path.with_name("m.weights.json")


HOLDERS = {
    "a file": lambda path: path,
    "an archive": archive,
    "a deflated archive": lambda path: archive(path, deflated=True),
    "a folder": folder,
    "shards": shards,
}
HELD = [
    "an external link",
    "external storage",
    "a virtual dataset without end",
    "a tebibyte never written",
    "two tensors in one place",
    "a dataset without a shape",
]


@pytest.mark.parametrize("holder", [name for name in HOLDERS if name != "a file"])
@pytest.mark.parametrize("case", HELD)
def test_hostile_hdf5_is_told_wherever_it_is(call, monkeypatch, inside, sentinel, case, holder):
    """An archive, a folder or a set of shards makes no difference but to how it is said."""
    make, code, _ = CASES[case]
    make(inside / "m.h5", sentinel.path)
    held = HOLDERS[holder](inside / "m.h5")
    monkeypatch.chdir(inside)
    result = call("audit", held.name, "-f", "json")
    document = json.loads(result.stdout) if result.stdout else {"files": [], "diagnostics": []}
    measured = [t["path"] for f in document["files"] for t in f["tensors"] if t["norm_before"]]

    sentinel.assert_untouched()
    assert result.code == code, result.stderr
    assert measured == ([] if code else ["w"])
    assert not code or result.stderr.startswith(f"error: {held.name}")


@pytest.mark.parametrize("holder", HOLDERS)
def test_hdf5_is_refused_on_request(call, monkeypatch, inside, holder):
    """Wherever it is, without a look into it."""
    build.with_weights(inside / "m.h5").close()
    held = HOLDERS[holder](inside / "m.h5")
    monkeypatch.chdir(inside)
    monkeypatch.setattr(h5py, "File", None)
    result = call("ls", held.name, "--no-hdf5")

    assert result.code == 3
    assert result.stderr.startswith(
        f"error: {held.name}: is HDF5 or holds it, which --no-hdf5 refuses\nhint: "
    )


VERBS = {
    "audit": ("m.h5",),
    "check": ("m.h5", "-r", "w non_neg"),
    "diff": ("m.h5", "m.h5"),
    "explain": ("m.h5", "-r", "w non_neg"),
    "init": ("m.h5", "-o", "-"),
    "project": ("m.h5", "-r", "w non_neg", "-n"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_hdf5_on_request(call, monkeypatch, inside, verb):
    """And reads it without that."""
    build.with_weights(inside / "m.h5").close()
    monkeypatch.chdir(inside)

    assert call(verb, *VERBS[verb]).code == 0
    assert call(verb, *VERBS[verb], "--no-hdf5").code == 3
