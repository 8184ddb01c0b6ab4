"""Hugging Face folders and indexes: a folder in, a complete folder out, rules across shards."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import wproj
from wproj import MaxNorm
from wproj.errors import FileError, TargetError

INDEX = "model.safetensors.index.json"
RULE = "*.weight max_norm=0.5 axis=0"
DOWN = "model.layers.{}.mlp.down_proj.weight"
NORM = "model.layers.{}.input_layernorm.weight"
SHARDS = [f"model-{number:05d}-of-00008.safetensors" for number in range(1, 9)]


def weights(shape, seed, dtype=ml_dtypes.bfloat16):
    """Weights whose columns have norms around 1."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) / np.sqrt(shape[0])).astype(dtype)


def model():
    """The tensors of each shard: the embedding, six layers, the last norm and the head."""
    layers = [
        {DOWN.format(i): weights((7, 9), i), NORM.format(i): np.ones(7, ml_dtypes.bfloat16)}
        for i in range(6)
    ]
    first = {"model.embed_tokens.weight": weights((11, 7), 10)}
    last = {"model.norm.weight": weights((7,), 11), "lm_head.weight": weights((11, 7), 12)}
    return dict(zip(SHARDS, [first, *layers, last], strict=True))


def mapped():
    """The shard of each tensor."""
    return {tensor: shard for shard, tensors in model().items() for tensor in tensors}


def total():
    """The bytes of all tensors."""
    return sum(values.nbytes for tensors in model().values() for values in tensors.values())


def write_index(path, weight_map, total_size):
    """The index as transformers writes it."""
    found = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
    path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@pytest.fixture
def source(tmp_path):
    """What `save_pretrained` leaves: an index, eight shards, a config, a tokenizer and code."""
    folder = tmp_path / "source"
    (folder / "code/inner").mkdir(parents=True)
    for name, tensors in model().items():
        save_file(tensors, folder / name, metadata={"format": "pt"})
    write_index(folder / INDEX, mapped(), total())
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_bytes(b"{}\r\n")
    (folder / "code/inner/modeling.py").write_text("print('hello')\n")
    return folder


def contents(folder):
    """The files below a folder by path."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def loaded(folder, index=INDEX):
    """All tensors, as a loader finds them: each by the index, in its shard."""
    found = {}
    for tensor, shard in json.loads((folder / index).read_text())["weight_map"].items():
        with safe_open(folder / shard, framework="numpy") as file:
            found[tensor] = file.get_tensor(tensor)
    return found


def run(*arguments, **options):
    """Projects and returns the reports."""
    return list(wproj.project(*arguments, **options))


def is_left_alone(tmp_path):
    """Whether there is nothing in the folder of the test but the source."""
    return sorted(path.name for path in tmp_path.iterdir()) == ["source"]


# What comes out


def test_the_tensors_of_all_shards_are_one_checkpoint(source):
    """In the order of the files; the folder and its index say the same."""
    folder, index = wproj.open_checkpoint(source), wproj.open_checkpoint(source / INDEX)

    places = [(entry.file, entry.extent.offset) for entry in folder.entries]
    assert places == sorted(places)
    assert {e.name: e.file for e in folder.entries} == mapped()
    assert (folder.format, folder.layout, folder.notes) == ("safetensors-folder", "torch", ())
    assert (index.entries, index.members) == (folder.entries, folder.members)


@pytest.mark.parametrize("given", [".", INDEX])
def test_rules_apply_across_shards_and_the_result_loads(source, tmp_path, given):
    """Every tensor of the index is in its shard, projected where the rule takes it."""
    before = contents(source)
    reports = run(source / given, tmp_path / "out", "*down_proj* max_norm=0.5 axis=in")

    old, new = loaded(source), loaded(tmp_path / "out")
    assert contents(source) == before
    assert [report.name for report in reports] == [DOWN.format(i) for i in range(6)]
    assert new.keys() == old.keys() == mapped().keys()
    for name in old:
        expected = MaxNorm(0.5, axis=1)(old[name]) if "down_proj" in name else old[name]
        assert (new[name].dtype, new[name].tobytes()) == (old[name].dtype, expected.tobytes())
    assert {n for n in old if (old[n] != new[n]).any()} == {DOWN.format(i) for i in range(6)}


def test_the_result_is_a_complete_folder(source, tmp_path):
    """The index, the shards without a match and every other file byte for byte, with modes."""
    (source / SHARDS[1]).chmod(0o444)
    (source / "code/inner/modeling.py").chmod(0o755)

    run(source, tmp_path / "out", f"{DOWN.format(0)} max_norm=0.5 axis=0")

    old, new = contents(source), contents(tmp_path / "out")
    assert old.keys() == new.keys()
    assert {name for name in old if old[name] != new[name]} == {SHARDS[1]}
    modes = {p: stat.S_IMODE((source / p).stat().st_mode) for p in old}
    assert modes == {p: stat.S_IMODE((tmp_path / "out" / p).stat().st_mode) for p in new}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source"]


def test_the_index_reader_of_transformers_finds_the_result(source, tmp_path):
    """The list of shards and the map that its loaders go by."""
    hub = pytest.importorskip(
        "transformers.utils.hub", reason="the reader of transformers is a second opinion"
    )
    out = tmp_path / "out"
    run(source, out, RULE)

    files, metadata = hub.get_checkpoint_shard_files(str(out), str(out / INDEX))

    assert files == [str(out / name) for name in SHARDS]
    found = {name: shard for shard in files for name in load_file(shard)}
    assert {n: Path(shard).name for n, shard in found.items()} == metadata["weight_map"]


def test_shards_hold_what_one_file_would(source, tmp_path):
    """Where a tensor lies has no say in its values."""
    merged = {name: values for tensors in model().values() for name, values in tensors.items()}
    save_file(merged, tmp_path / "merged.safetensors", metadata={"format": "pt"})

    run(source, tmp_path / "out", RULE)
    run(tmp_path / "merged.safetensors", tmp_path / "one.safetensors", RULE)

    one, many = load_file(tmp_path / "one.safetensors"), loaded(tmp_path / "out")
    assert {n: v.tobytes() for n, v in one.items()} == {n: v.tobytes() for n, v in many.items()}
    assert any((one[name] != merged[name]).any() for name in one)


def test_projecting_the_result_again_changes_no_byte(source, tmp_path):
    """The second folder is the first."""
    run(source, tmp_path / "once", RULE)
    reports = run(tmp_path / "once" / INDEX, tmp_path / "twice", RULE)

    assert {report.status for report in reports} == {"unchanged"}
    assert contents(tmp_path / "once") == contents(tmp_path / "twice") != contents(source)


@pytest.mark.parametrize("given", [".", INDEX])
def test_in_place_replaces_the_shards_that_changed(source, given):
    """Nothing else is even touched, and nothing is left beside them."""
    before = contents(source)
    times = {name: (source / name).stat().st_mtime_ns for name in before}
    path = source / given

    run(path, path, f"{DOWN.format(2)} max_norm=0.5 axis=0", in_place=True)

    after = contents(source)
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} == {SHARDS[3]}
    del times[SHARDS[3]]
    assert times == {name: (source / name).stat().st_mtime_ns for name in times}


def test_the_index_of_any_name_opens_its_shards(source, tmp_path):
    """What it maps to says what it is."""
    (source / INDEX).rename(source / "weights.json")

    run(source / "weights.json", tmp_path / "out", RULE)

    expected = MaxNorm(0.5, axis=0)(model()[SHARDS[1]][DOWN.format(0)])
    assert loaded(tmp_path / "out", "weights.json")[DOWN.format(0)].tobytes() == expected.tobytes()
    assert contents(tmp_path / "out").keys() == contents(source).keys()


def test_the_current_folder_is_a_folder(source, monkeypatch):
    """`.` and an index without a folder before it."""
    monkeypatch.chdir(source)
    for given in (".", INDEX):
        assert len(wproj.open_checkpoint(given).entries) == len(mapped())
        with pytest.raises(TargetError, match="is inside of the folder that is read"):
            run(given, "out", RULE)
    run(INDEX, "../out", RULE)

    assert contents(source.with_name("out")).keys() == contents(source).keys()


def test_what_git_and_downloads_note_is_not_copied(source, tmp_path):
    """A copy with other weights is no clone; drafts of killed runs are left out, too."""
    before = contents(source).keys()
    for record in (".git/lfs", ".cache/huggingface", ".huggingface", ".0123.wproj-tmp"):
        (source / record).mkdir(parents=True)
        (source / record / "file").touch()
    (source / ".4567.wproj-tmp").touch()
    (source / ".gitattributes").touch()
    (source / "code/.cache").touch()

    run(source, tmp_path / "out", RULE)

    assert contents(tmp_path / "out").keys() == before | {".gitattributes", "code/.cache"}


# Folders without an index, or with several


def test_a_folder_with_one_file_needs_no_index(tmp_path):
    """As small models are saved."""
    tensors = {"a.weight": weights((4, 3), 1), "b.weight": weights((4, 3), 2)}
    (tmp_path / "source").mkdir()
    save_file(tensors, tmp_path / "source/model.safetensors", metadata={"format": "pt"})
    (tmp_path / "source/config.json").write_text("{}")

    run(tmp_path / "source", tmp_path / "out", RULE)

    after = load_file(tmp_path / "out/model.safetensors")
    assert {n: v.tobytes() for n, v in after.items()} == {
        n: MaxNorm(0.5, axis=0)(v).tobytes() for n, v in tensors.items()
    }
    assert (tmp_path / "out/config.json").read_text() == "{}"


def test_a_folder_with_many_files_needs_no_index(source, tmp_path):
    """The tensors of all of them are one checkpoint."""
    run(source, tmp_path / "indexed", RULE)
    (source / INDEX).unlink()
    (source / "._model.safetensors").write_bytes(b"what a Mac leaves beside a file")

    run(source, tmp_path / "out", RULE)

    after = contents(tmp_path / "out")
    assert after.pop("._model.safetensors") == b"what a Mac leaves beside a file"
    indexed = contents(tmp_path / "indexed")
    assert after == {name: data for name, data in indexed.items() if name != INDEX}


def test_a_tensor_in_two_files_without_an_index_is_refused(source, tmp_path):
    """Nothing says which of them is meant; each file alone is."""
    (source / INDEX).unlink()
    shutil.copy(source / SHARDS[1], source / "consolidated.safetensors")

    with pytest.raises(FileError, match=f"in two files, consolidated.safetensors and {SHARDS[1]}"):
        run(source, tmp_path / "out", RULE)
    run(source / SHARDS[1], tmp_path / "source.safetensors", RULE)


def test_a_shard_of_no_known_framework_leaves_the_layout_open(source):
    """Axis `in` then needs to be told."""
    save_file(model()[SHARDS[4]], source / SHARDS[4])

    assert wproj.open_checkpoint(source).layout == "unknown"


@pytest.fixture
def variant(source):
    """An index of one more shard, as the variant fp16 of a model has it; its path."""
    save_file({"a.weight": weights((4, 3), 1, np.float16)}, source / "model.fp16-1.safetensors")
    path = source / "model.safetensors.index.fp16.json"
    write_index(path, {"a.weight": "model.fp16-1.safetensors"}, 24)
    return path


def test_of_several_indexes_one_has_to_be_named(source, variant, tmp_path):
    """Then its shards are projected, and those of the other copied, which is pointed out."""
    with pytest.raises(FileError, match=f"several indexes: {variant.name}, {INDEX}") as caught:
        wproj.open_checkpoint(source)
    assert caught.value.hint is not None
    assert str(variant) in caught.value.hint
    before = contents(source)

    run(variant, tmp_path / "out", RULE)

    after = contents(tmp_path / "out")
    assert {n for n in before if before[n] != after[n]} == {"model.fp16-1.safetensors"}
    assert before.keys() == after.keys()
    (note,) = wproj.open_checkpoint(variant).notes
    assert note.startswith("8 other files with weights, copied as found: model-00001-of-")


def test_an_index_of_other_files_is_none_of_ours(source):
    """That of PyTorch's pickles may lie beside it; alone it is refused."""
    pickles = source / "pytorch_model.bin.index.json"
    write_index(pickles, {"a": "pytorch_model-00001-of-00002.bin"}, 8)

    assert len(wproj.open_checkpoint(source).entries) == len(mapped())
    with pytest.raises(FileError, match="to Python pickles, which wproj never loads"):
        wproj.open_checkpoint(pickles)


def test_a_folder_of_keras_is_one_although_safetensors_lie_in_it(source):
    """Its own files come first."""
    with h5py.File(source / "model.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.ones((3, 2), np.float32)

    assert wproj.open_checkpoint(source).format == "keras-folder"


def test_folders_of_neither_kind_say_what_was_looked_for(tmp_path):
    """Not even a folder that is named like a file makes one."""
    (tmp_path / "x.safetensors").mkdir()

    with pytest.raises(FileError, match="or safetensors files") as caught:
        wproj.open_checkpoint(tmp_path)

    assert ".keras archive" in str(caught.value)
    assert "Hugging Face" in str(caught.value)


# Indexes that do not fit


FIRST = "model.embed_tokens.weight"
HOSTILE = {
    "missing shard": ({FIRST: "gone.safetensors"}, "names the shard gone.safetensors.*missing"),
    "outside": ({FIRST: "../other/x.safetensors"}, "not the name of a file beside it"),
    "below": ({FIRST: "code/x.safetensors"}, "not the name of a file beside it"),
    "parent": ({FIRST: ".."}, "not the name of a file beside it"),
    "absolute": ({FIRST: "/etc/x.safetensors"}, "not the name of a file beside it"),
    "drive": ({FIRST: "C:\\x.safetensors"}, "not the name of a file beside it"),
    "drive alone": ({FIRST: "C:x.safetensors"}, "not the name of a file beside it"),
    "backslash": ({FIRST: "a\\x.safetensors"}, "not the name of a file beside it"),
    "NUL": ({FIRST: "x\0.safetensors"}, "not the name of a file beside it"),
    "empty name": ({FIRST: ""}, "not the name of a file beside it"),
    "surrogate": ({FIRST: "\ud800.safetensors"}, "missing"),
    "number": ({FIRST: 3}, "not the name of a file beside it"),
    "list": ({FIRST: [SHARDS[0]]}, "not the name of a file beside it"),
    "null": ({FIRST: None}, "not the name of a file beside it"),
    "long": ({FIRST: ["x" * 99] * 10_000}, r"maps .{,300}, which is not the name"),
    "no checkpoint": ({FIRST: "config.json"}, "names the shard config.json, which cannot be read"),
    "folder": ({FIRST: "code"}, "names the shard code, which cannot be read.*directory"),
    "itself": ({FIRST: INDEX}, f"names the shard {INDEX}, which cannot be read"),
    "elsewhere": ({DOWN.format(0): SHARDS[2]}, f"weight to {SHARDS[2]}, but it is in {SHARDS[1]}"),
    "nowhere": ({"a": SHARDS[0], "b": SHARDS[0]}, f"maps a, b to {SHARDS[0]}.*not hold them"),
    "nowhere, one": ({"c": SHARDS[0]}, f"maps c to {SHARDS[0]}, which does not hold it"),
    "empty": ({}, "without the weight_map"),
    "not a map": ([], "without the weight_map"),
    "null map": (None, "without the weight_map"),
}


@pytest.mark.parametrize("given", [".", INDEX])
@pytest.mark.parametrize("case", HOSTILE)
def test_an_index_that_does_not_fit_is_refused(source, tmp_path, case, given):
    """It names the index, the tensor and the shard; nothing is written."""
    changed, problem = HOSTILE[case]
    with_others = isinstance(changed, dict) and changed
    write_index(source / INDEX, {**mapped(), **changed} if with_others else changed, total())

    with pytest.raises(FileError, match=problem) as caught:
        run(source / given, tmp_path / "out", RULE)

    assert str(source / INDEX) in str(caught.value)
    assert is_left_alone(tmp_path)


DAMAGED = {
    "cut": ("{", "is not JSON"),
    "deep": ('{"a": ' + "[" * 100_000, "is not JSON"),
    "huge number": ('{"weight_map": ' + "1" * 5000 + "}", "is not JSON"),
    "not UTF-8": (b'{"weight_map": {"\xff": "x"}}', "is not JSON"),
    "no map": ('{"metadata": {}}', "without the weight_map"),
    "not an object": ("[1]", "without the weight_map"),
    "a tensor twice": (
        f'{{"weight_map": {{"a": "{SHARDS[0]}", "b": "x", "a": "{SHARDS[1]}"}}}}',
        "has 'a' twice",
    ),
    "two maps": (
        f'{{"weight_map": {{"a": "{SHARDS[0]}"}}, "weight_map": {{}}}}',
        "has 'weight_map' twice",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_index_is_refused(source, case):
    """Whatever is wrong with its JSON; the name of the file says that it is to be one."""
    text, problem = DAMAGED[case]
    (source / INDEX).write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(FileError, match=problem) as caught:
        wproj.open_checkpoint(source)

    assert str(source / INDEX) in str(caught.value)


def test_an_index_beyond_any_model_is_not_read(source):
    """A sparse file of 65 MiB."""
    with (source / INDEX).open("r+b") as file:
        file.truncate((1 << 26) + 1)

    with pytest.raises(FileError, match="more than the 67108864 allowed"):
        wproj.open_checkpoint(source)


def test_a_tensor_in_two_shards_is_refused(source):
    """The map points to one of them; the other is from another day."""
    extra = {**model()[SHARDS[4]], "lm_head.weight": weights((11, 7), 99)}
    save_file(extra, source / SHARDS[4], metadata={"format": "pt"})

    problem = f"lm_head.weight is in two shards, {SHARDS[4]} and {SHARDS[7]}, and mapped to"
    with pytest.raises(FileError, match=problem):
        wproj.open_checkpoint(source)


def test_a_damaged_shard_is_named(source):
    """By the index that names it, and with what to do about a pointer of Git LFS."""
    (source / SHARDS[2]).write_bytes((source / SHARDS[2]).read_bytes()[:-1])
    with pytest.raises(FileError, match=f"{SHARDS[2]}, which cannot be read.*1 bytes behind"):
        wproj.open_checkpoint(source)

    (source / SHARDS[2]).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(FileError, match="is a Git LFS pointer") as caught:
        wproj.open_checkpoint(source)
    assert caught.value.hint == "fetch the file with 'git lfs pull'"


# What is pointed out


def test_tensors_outside_the_map_are_pointed_out_and_left_alone(source, tmp_path):
    """Loaders do not see them."""
    extra = {**model()[SHARDS[4]], "mtp.fc.weight": weights((3, 2), 99)}
    save_file(extra, source / SHARDS[4], metadata={"format": "pt"})

    reports = run(source, tmp_path / "out", RULE)

    stray = f"{SHARDS[4]} holds 1 tensor that {INDEX} does not name: mtp.fc.weight"
    assert wproj.open_checkpoint(source).notes == (stray,)
    assert "mtp.fc.weight" not in {report.name for report in reports}
    assert load_file(tmp_path / "out" / SHARDS[4])["mtp.fc.weight"].tobytes() == (
        extra["mtp.fc.weight"].tobytes()
    )


@pytest.mark.parametrize("told", [1, 2.5, "many", 10**400, float("nan"), [1] * 1000])
def test_a_wrong_total_is_pointed_out(source, told):
    """Some tools write sizes of files, or count tied tensors otherwise."""
    write_index(source / INDEX, mapped(), told)

    (note,) = wproj.open_checkpoint(source).notes

    assert note.startswith(f"{INDEX} has the total_size ")
    assert note.endswith(f", but its tensors take {total()} bytes")
    assert len(note) < 200


@pytest.mark.parametrize("metadata", [{}, {"total_size": None}, None, [], {"total_size": total()}])
def test_no_total_is_as_good_as_the_right_one(source, metadata):
    """Nobody needs it."""
    found = {"metadata": metadata, "weight_map": mapped()}
    (source / INDEX).write_text(json.dumps(found))

    assert wproj.open_checkpoint(source).notes == ()


@pytest.mark.parametrize(
    "config", [{"tie_word_embeddings": True}, {"text_config": {"tie_word_embeddings": True}}]
)
def test_tied_weights_that_are_stored_twice_are_pointed_out(source, config):
    """A rule for one of them would untie them."""
    (source / "config.json").write_text(json.dumps(config))

    (note,) = wproj.open_checkpoint(source).notes

    assert note.startswith(f"config.json ties lm_head.weight, {FIRST}, yet each is stored: ")


@pytest.mark.parametrize(
    "config",
    ['{"tie_word_embeddings": false}', "{}", "[]", "{", "[" * 100_000, '{"text_config": 1}'],
)
def test_weights_that_no_config_ties_are_not(source, config):
    """A config that cannot be read is not for wproj to judge."""
    (source / "config.json").write_text(config)

    assert wproj.open_checkpoint(source).notes == ()


@pytest.mark.parametrize("more", [{}, {"lm_head.weight": weights((4, 2), 2)}], ids=len)
def test_tied_weights_that_are_stored_once_need_no_word(tmp_path, more):
    """As transformers saves them; what has another shape is not tied."""
    tensors = {FIRST: weights((4, 3), 1), **more}
    save_file(tensors, tmp_path / "model.safetensors")
    write_index(tmp_path / INDEX, dict.fromkeys(tensors, "model.safetensors"), None)
    (tmp_path / "config.json").write_text('{"tie_word_embeddings": true}')

    assert wproj.open_checkpoint(tmp_path).notes == ()


def test_other_weights_in_the_folder_are_pointed_out(source):
    """They keep their values; one that loaders prefer to the index above all."""
    (source / "onnx").mkdir()
    files = ["model.safetensors", "onnx/x.safetensors", "pytorch_model.bin"]
    for name in files:
        (source / name).touch()

    first, others = wproj.open_checkpoint(source).notes

    assert first.startswith(f"model.safetensors is not in {INDEX}, stays as it is, and is what")
    assert others == f"3 other files with weights, copied as found: {', '.join(files)}"


# Links


@pytest.fixture
def cached(source, tmp_path):
    """The same model as in Hugging Face's cache: a snapshot of links to blobs; its folder."""
    repo = tmp_path / "hub/models--org--name"
    snapshot = repo / "snapshots/0123abcd"
    (repo / "blobs").mkdir(parents=True)
    for number, name in enumerate(sorted(contents(source))):
        (repo / "blobs" / str(number)).write_bytes((source / name).read_bytes())
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (2 + name.count("/"))
        (snapshot / name).symlink_to(f"{up}blobs/{number}")
    return snapshot


def links(folder):
    """The links below a folder."""
    return [path for path in folder.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize("given", [".", INDEX])
def test_a_snapshot_of_the_cache_is_read_and_becomes_real_files(cached, source, tmp_path, given):
    """The blobs are not touched."""
    blobs = contents(cached.parents[1] / "blobs")
    run(source, tmp_path / "expected", RULE)

    run(cached / given, tmp_path / "out", RULE)

    assert contents(tmp_path / "out") == contents(tmp_path / "expected")
    assert links(tmp_path / "out") == []
    assert contents(cached.parents[1] / "blobs") == blobs
    assert len(links(cached)) == len(contents(source))


def test_a_part_of_a_snapshot_and_a_link_to_one_are_read(cached, tmp_path):
    """A pipeline of diffusers has its models in folders of the snapshot."""
    part = cached / "transformer"
    part.mkdir()
    for path in cached.iterdir():
        if path.is_symlink():
            (part / path.name).symlink_to(f"../../../blobs/{path.readlink().name}")
    (tmp_path / "current").symlink_to(cached)

    assert len(wproj.open_checkpoint(part).entries) == len(mapped())
    assert len(wproj.open_checkpoint(tmp_path / "current").entries) == len(mapped())


@pytest.mark.parametrize("marked", [True, False])
def test_blobs_that_models_share_are_read_where_the_cache_says_so(cached, marked):
    """Newer caches keep the blobs of all models in one place, which has a marker."""
    shared = cached.parents[2] / "blobs/ab"
    shared.mkdir(parents=True)
    blob = (cached / SHARDS[0]).resolve()
    shutil.move(blob, shared / "abcd")
    blob.symlink_to("../../blobs/ab/abcd")
    if marked:
        (shared.parent / ".huggingface-shared-blobs").write_text("1\n")
        assert len(wproj.open_checkpoint(cached).entries) == len(mapped())
    else:
        with pytest.raises(FileError, match=f"holds {SHARDS[0]}, which is a link to .*abcd"):
            wproj.open_checkpoint(cached)


def test_a_link_is_never_replaced_in_place(cached):
    """What it leads to belongs to every snapshot."""
    blobs = contents(cached.parents[1] / "blobs")

    with pytest.raises(TargetError, match="is a symbolic link"):
        run(cached, cached, RULE, in_place=True)

    assert contents(cached.parents[1] / "blobs") == blobs
    assert not [name for name in contents(cached) if "wproj-tmp" in name]


def test_a_link_to_a_file_of_the_folder_becomes_a_copy(source, tmp_path):
    """It cannot bring anything foreign."""
    (source / "tokenizer.json").rename(source / "code/tokenizer.json")
    (source / "tokenizer.json").symlink_to("code/tokenizer.json")

    run(source, tmp_path / "out", RULE)

    assert (tmp_path / "out/tokenizer.json").read_bytes() == b"{}\r\n"
    assert links(tmp_path / "out") == []


FOREIGN = {
    "file": ("../secret", "which is a link to .*secret, a file from elsewhere"),
    "shard": ("../shard", "which is a link to .*shard, a file from elsewhere"),
    "folder": ("..", "which is a link to no file"),
    "own folder": ("code", "which is a link to no file"),
    "device": ("/dev/zero", "which is a link to no file"),
    "dangling": ("nothing", "which is a link that leads nowhere"),
    "loop": ("loop", "which is a link that leads nowhere"),
    "record": (".git/config", "which is a link to .*config, a file from elsewhere"),
    "detour": ("code/../../secret", "which is a link to .*secret, a file from elsewhere"),
}


@pytest.mark.skipif(os.name == "nt", reason="links are POSIX's")
@pytest.mark.parametrize("name", ["loop", "code/loop", SHARDS[0], INDEX, "other.safetensors"])
@pytest.mark.parametrize("case", FOREIGN)
def test_links_to_elsewhere_are_refused(source, tmp_path, name, case):
    """They would bring foreign files into the result; the error names link and remedy."""
    (tmp_path / "secret").write_text("secret")
    shutil.copy(source / SHARDS[0], tmp_path / "shard")
    (source / ".git").mkdir()
    (source / ".git/config").write_text("token")
    end, problem = FOREIGN[case]
    up = "" if end.startswith("/") else "../" * name.count("/")
    (source / name).unlink(missing_ok=True)
    (source / name).symlink_to(Path(name).name if case == "loop" else up + end)

    with pytest.raises(FileError, match=f"holds {name}, {problem}") as caught:
        run(source, tmp_path / "out", RULE)

    assert caught.value.hint is not None
    assert not (tmp_path / "out").exists()


def test_links_beside_the_cache_are_refused(cached):
    """Not even those to other files of the cache, such as another model's."""
    other = cached.parents[2] / "models--org--other/blobs/1"
    other.parent.mkdir(parents=True)
    other.touch()
    (cached / "other").symlink_to(other)

    with pytest.raises(FileError, match=r"holds other, which is a link to .*, a file from"):
        wproj.open_checkpoint(cached)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
@pytest.mark.parametrize("name", ["pipe", SHARDS[3], INDEX, "config.json"])
def test_pipes_are_refused_without_waiting(source, name):
    """Nobody writes into them."""
    (source / name).unlink(missing_ok=True)
    os.mkfifo(source / name)

    with pytest.raises(FileError, match=f"holds {name}, which is not a file"):
        wproj.open_checkpoint(source)


# Nothing but the whole


def test_a_folder_never_replaces_anything(source, tmp_path):
    """Nor does it get the name of a file."""
    (tmp_path / "out").mkdir()

    with pytest.raises(TargetError, match="never replaces anything"):
        run(source, tmp_path / "out", RULE, overwrite=True)
    for name in ("out.safetensors", INDEX):
        with pytest.raises(TargetError, match="is written as a folder"):
            run(source, tmp_path / name, RULE)
    for target in (source / "out", source / "code" / "out"):
        with pytest.raises(TargetError, match="is inside of the folder that is read"):
            run(source, target, RULE)


def test_the_folder_appears_with_the_last_report(source, tmp_path):
    """Not a moment earlier."""
    reports = wproj.project(source, tmp_path / "out", RULE)
    seen = [(tmp_path / "out").exists() for _ in reports]

    assert seen == [False] * len(mapped())
    assert (tmp_path / "out" / INDEX).exists()


def test_non_finite_values_in_the_last_shard_leave_nothing_behind(source, tmp_path):
    """All the work before was for nothing."""
    tensors = model()[SHARDS[7]]
    tensors["lm_head.weight"][3, 3] = np.inf
    save_file(tensors, source / SHARDS[7], metadata={"format": "pt"})

    with pytest.raises(wproj.InputError, match=r"lm_head\.weight"):
        run(source, tmp_path / "out", RULE)

    assert is_left_alone(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_an_interrupted_folder_is_removed(source, tmp_path, number):
    """A signal in the middle of the shards: nothing under the final name, no draft."""
    program = Path(__file__).with_name("interrupted.py")
    process = subprocess.run(
        [sys.executable, program, str(source), str(tmp_path / "out"), str(int(number))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert process.returncode == 128 + number, process.stderr
    assert is_left_alone(tmp_path)


# The command line


def test_every_verb_takes_a_folder(source, tmp_path):
    """Through the real entry point; the exit codes are those of files."""

    def call(*words):
        command = [sys.executable, "-m", "wproj_cli", *words]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout, done.stderr

    code, out, _ = call("ls", "source")
    assert code == 0
    assert "source: safetensors-folder, torch layout, 15 tensors" in out
    code, out, _ = call("audit", "source", "-m", "*down_proj*", "-a", "in")
    assert (code, out.count("down_proj")) == (0, 6)
    assert call("check", "source", "-r", RULE)[0] == 1
    assert call("project", "source", "-r", RULE, "-o", "out")[0] == 0
    assert call("check", "out", f"out/{INDEX}", "-r", RULE)[0] == 0
    code, out, _ = call("diff", "source", "out")
    assert code == 1
    assert DOWN.format(5) in out
    assert call("diff", "source", f"source/{INDEX}")[0] == 0
    (source / SHARDS[6]).unlink()
    code, out, err = call("ls", "source")
    assert (code, out) == (3, "")
    assert f"error: source/{INDEX}: names the shard {SHARDS[6]}, which is missing" in err
