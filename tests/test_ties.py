"""Tied weights that are stored twice are pointed out where a plan would let them differ."""

import json

import h5py
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import wproj
from wproj.formats.positional import ExtentStore
from wproj_cli.main import main

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
HINT = "if they are tied, give them the same rule, or they come to differ"
ONLY_HEAD = f"{HEAD}, {EMBEDDING} hold the same values, and rules take {HEAD} only"


def weights(shape=(40, 16), seed=0, dtype=np.float32):
    """Weights that nothing else holds."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def write(folder, tensors):
    """A file with these tensors."""
    path = folder / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def told(source, *rules):
    """What is said of the ties that a plan of these rules would undo."""
    return [str(warning) for warning in wproj.find_ties(wproj.plan(source, rules))]


@pytest.fixture
def reads(monkeypatch):
    """The entries of each reading."""
    found = []
    real = ExtentStore.read

    def read(store, start, stop):
        found.append(stop - start)
        return real(store, start, stop)

    monkeypatch.setattr(ExtentStore, "read", read)
    return found


# What is told


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_rule_for_one_of_two_equal_tensors_is_warned_of(tmp_path, dtype):
    """Whatever they are called, and whoever else is there."""
    tied = weights(dtype=dtype)
    tensors = {EMBEDDING: tied, HEAD: tied, "other.weight": weights(seed=1, dtype=dtype)}
    source = write(tmp_path, tensors)

    (warning,) = wproj.find_ties(wproj.plan(source, f"{HEAD} max_norm=1 axis=1"))

    assert (str(warning), warning.hint) == (ONLY_HEAD, HINT)
    assert told(source, "other.weight max_norm=1 axis=1") == []


def test_ties_reach_across_shards(tmp_path):
    """Which are opened one after the other."""
    tied, shards = weights((1 << 9, 1 << 10)), {"a.safetensors": EMBEDDING, "b.safetensors": HEAD}
    for shard, name in shards.items():
        save_file({name: tied, f"{shard}.weight": weights((1 << 9, 1 << 10), 3)}, tmp_path / shard)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: shard for shard, name in shards.items()}}))

    (warning,) = told(index, f"{EMBEDDING} max_norm=1 axis=1")

    assert warning == f"{EMBEDDING}, {HEAD} hold the same values, and rules take {EMBEDDING} only"


def test_a_rule_that_leaves_one_of_them_out_is_warned_of(tmp_path):
    """Excluded is as unmatched."""
    source = write(tmp_path, {EMBEDDING: weights(), HEAD: weights()})
    plan = wproj.plan(source, "*.weight max_norm=1 axis=1", exclude=[EMBEDDING])

    assert list(map(str, wproj.find_ties(plan))) == [ONLY_HEAD]


@pytest.mark.parametrize("other", ["max_norm=2 axis=1", "max_norm=1 axis=0", "non_neg"])
def test_different_rules_for_equal_tensors_are_warned_of(tmp_path, other):
    """The tensors differ afterwards."""
    source = write(tmp_path, {EMBEDDING: weights(), HEAD: weights()})

    (warning,) = told(source, f"{HEAD} max_norm=1 axis=1", f"{EMBEDDING} {other}")

    assert warning == (
        f"{HEAD}, {EMBEDDING} hold the same values, and not the same is done to all of them"
    )


def test_of_many_equal_tensors_some_are_named(tmp_path):
    """A line stays a line."""
    source = write(tmp_path, {f"layers.{i}.weight": weights() for i in range(9)})

    (warning,) = told(source, "layers.3.weight max_norm=1 axis=1")

    assert warning.endswith(
        "layers.4.weight (4 more) hold the same values, and rules take layers.3.weight only"
    )


def test_contiguous_hdf5_is_looked_at_too_and_chunks_are_not(tmp_path):
    """What has to be unpacked would cost more than a word is worth."""
    for name, packing in (("contiguous.h5", {}), ("chunks.h5", {"chunks": (8, 16)})):
        with h5py.File(tmp_path / name, "w") as file:
            for tensor in ("a", "b"):
                file.create_dataset(tensor, data=weights().astype(">f4"), **packing)

    assert len(told(tmp_path / "contiguous.h5", "a max_norm=1 axis=1")) == 1
    assert told(tmp_path / "chunks.h5", "a max_norm=1 axis=1") == []


def test_project_warns_and_goes_on_and_ls_reads_nothing(tmp_path, capsys, reads):
    """On standard error and in the report, also of a rehearsal."""
    source = write(tmp_path, {EMBEDDING: weights(), HEAD: weights()})

    assert main(["ls", str(source)]) == 0
    assert reads == []
    capsys.readouterr()
    assert main(f"project {source} -m {HEAD} -c max_norm=1 -a 1 -n -f json".split()) == 0
    out, err = capsys.readouterr()
    assert err.startswith(f"warning: {ONLY_HEAD}\nhint: {HINT}\n")
    assert [d["message"] for d in json.loads(out)["diagnostics"]] == [ONLY_HEAD]


# What is none


@pytest.mark.parametrize(
    "rules",
    [["*.weight max_norm=1 axis=1"], [f"{name} max_norm=1 axis=1" for name in (HEAD, EMBEDDING)]],
    ids=["one", "two"],
)
def test_what_stays_tied_is_not_told_and_not_read(tmp_path, reads, rules):
    """One rule, or two that say the same."""
    source = write(tmp_path, {EMBEDDING: weights(), HEAD: weights()})

    assert told(source, *rules) == []
    assert reads == []


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (np.zeros((40, 16), np.float32), np.zeros((40, 16), np.float32)),
        (np.ones((700, 700), np.float32), np.ones((700, 700), np.float32)),
        (weights((640,)), weights((640,))),
        (weights((40, 16)), weights((16, 40))),
        (weights().view(np.int32), weights()),
        (weights((40, 0)), weights((40, 0))),
        (weights(), weights(seed=1)),
    ],
    ids=["zeros", "ones", "vectors", "shapes", "dtypes", "empty", "values"],
)
def test_tensors_that_are_no_ties_are_not_told(tmp_path, one, two):
    """Initial values are the same in many layers, and so are vectors of them."""
    source = write(tmp_path, {EMBEDDING: one, HEAD: two})

    assert told(source, f"{HEAD} non_neg") == []


@pytest.mark.parametrize("place", [0, 100_000, 299_999, 300_000, 500_000, -1])
def test_one_entry_makes_a_difference_wherever_it_is(tmp_path, place):
    """A few entries are compared first, but not these alone."""
    one = weights((1 << 10, 600))
    two = one.copy()
    two.reshape(-1)[place] += 1

    assert told(write(tmp_path, {EMBEDDING: one, HEAD: two}), f"{HEAD} max_norm=1 axis=1") == []


def test_a_tensor_that_begins_and_ends_with_zeros_is_compared_whole(tmp_path):
    """As embeddings of padding do."""
    tied = np.zeros((1 << 10, 600), np.float32)
    tied[7, 7] = 1

    found = told(write(tmp_path, {EMBEDDING: tied, HEAD: tied}), f"{HEAD} max_norm=1 axis=1")

    assert found == [ONLY_HEAD]


# What it costs


def test_hardly_anything_is_read_of_tensors_that_differ(tmp_path, reads):
    """Of each, as much as a block of a disk has."""
    shape = (1 << 8, 1 << 8)
    source = write(tmp_path, {f"layers.{i}.weight": weights(shape, i) for i in range(20)})

    assert told(source, "layers.3.weight max_norm=1 axis=1") == []
    assert len(reads) == 20
    assert max(reads) <= 64


def test_what_is_read_at_once_does_not_grow_with_the_tensor(tmp_path, reads):
    """Equal tensors are read once each."""
    tied = weights((1 << 11, 1 << 10))

    assert told(write(tmp_path, {EMBEDDING: tied, HEAD: tied}), f"{HEAD} non_neg") == [ONLY_HEAD]
    assert max(reads) <= 1 << 18
    assert sum(reads) <= 2 * tied.size + 1000


def test_a_file_that_has_become_shorter_is_an_error(tmp_path):
    """As for every reader."""
    source = write(tmp_path, {EMBEDDING: weights(), HEAD: weights()})
    plan = wproj.plan(source, f"{HEAD} max_norm=1 axis=1")
    source.write_bytes(source.read_bytes()[:-9])

    with pytest.raises(wproj.InputError):
        wproj.find_ties(plan)
