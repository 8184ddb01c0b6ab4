"""`wproj diff`: what was added, removed, reshaped, retyped and changed, also across formats."""

import json
import signal
from pathlib import Path

import h5py
import jsonschema
import numpy as np
import pytest
from safetensors.numpy import save_file

import wproj
from wproj_cli.main import main

SAMPLES = Path(__file__).resolve().parents[2] / "sample_weights"
KERAS, WEIGHTS, LEGACY = (
    str(SAMPLES / f"digits_cnn.{end}") for end in ("keras", "weights.h5", "h5")
)

OLD = {
    "same": np.ones((2, 2), np.float32),
    "moved": np.array([[3, 0], [4, 2]], np.float32),
    "typed": np.ones(3, np.float32),
    "shaped": np.ones((2, 3), np.float32),
    "gone": np.ones(2, np.float32),
}
NEW = {
    "same": OLD["same"],
    "moved": np.array([[3, 0], [4, 1]], np.float32),
    "typed": np.ones(3, np.float16),
    "shaped": np.ones((3, 2), np.float32),
    "come": np.ones(2, np.float32),
}


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs `wproj diff WORDS` where `old` and `new` are checkpoints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WPROJ_FORMAT", raising=False)
    save_file(OLD, "old")
    save_file(NEW, "new")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def run(*words):
        code = main(["diff", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def report(call):
    """The code and the tensors by name of `wproj diff WORDS -f json`, as the schema has them."""

    def run(*words):
        code, stdout, _ = call(*words, "-f", "json")
        document = json.loads(stdout, parse_constant=pytest.fail)
        jsonschema.validate(document, wproj.json_schema("report"))
        assert document["exit_code"] == code
        assert min(document["summary"].values()) >= 0
        (file,) = document["files"]
        assert file["tensor_count"] >= len(file["tensors"])
        return code, {tensor["name"]: tensor for tensor in file["tensors"]}

    return run


def statuses(tensors):
    """The names of tensors by status."""
    found = {}
    for name, tensor in tensors.items():
        found.setdefault(tensor["status"], []).append(name)
    return found


def test_every_kind_of_difference_is_told(report):
    """In the order of the first, then of the second."""
    code, tensors = report("old", "new")

    assert code == 1
    assert statuses(tensors) == {
        "removed": ["gone"],
        "changed": ["moved"],
        "unchanged": ["same"],
        "reshaped": ["shaped"],
        "retyped": ["typed"],
        "added": ["come"],
    }
    assert tensors["gone"]["b"] is None
    assert tensors["come"]["a"] is None
    assert (tensors["shaped"]["a"]["shape"], tensors["shaped"]["b"]["shape"]) == ([2, 3], [3, 2])
    assert (tensors["typed"]["a"]["dtype"], tensors["typed"]["b"]["dtype"]) == (
        "float32",
        "float16",
    )


def test_a_change_is_measured(report):
    """How many entries, the largest, where, and the norms before and after along the axis."""
    _, tensors = report("old", "new", "-a", "0")
    moved = tensors["moved"]

    assert moved["difference"] == {"entries": 1, "largest": 1.0, "relative": 0.5, "index": [1, 1]}
    assert moved["axis"] == [0]
    assert (moved["norm_before"]["min"], moved["norm_before"]["max"]) == (2, 5)
    assert (moved["norm_after"]["min"], moved["norm_after"]["max"]) == (1, 5)


def test_the_text_lists_what_differs(call):
    """And counts the rest."""
    code, stdout, _ = call("old", "new")

    assert code == 1
    assert "(2,3) -> (3,2)" in stdout
    assert "f32 -> f16" in stdout
    assert "1 tensor the same" in stdout
    assert "same\n" not in stdout.replace("the same\n", "")


@pytest.mark.parametrize("path", ["old", KERAS, WEIGHTS, LEGACY])
def test_a_file_does_not_differ_from_itself(report, path):
    """By no name."""
    code, tensors = report(path, path)

    assert code == 0
    assert set(statuses(tensors)) == {"unchanged"}


@pytest.mark.parametrize(
    ("a", "b", "kernel"),
    [
        (KERAS, WEIGHTS, "conv1/kernel"),
        (WEIGHTS, KERAS, "conv1/0"),
        (KERAS, LEGACY, "conv1/kernel"),
    ],
)
def test_formats_are_compared_by_name_and_by_path(report, a, b, kernel):
    """The same model in three formats; what only training needs is only in some."""
    _, tensors = report(a, b, "-x", "optimizer*", "-x", "re:.*seed.*")

    assert {t["status"] for t in tensors.values()} <= {"unchanged", "added", "removed"}
    assert tensors[kernel]["status"] == "unchanged"


def test_safetensors_are_compared_with_hdf5(report):
    """Names and values count, not files."""
    with h5py.File("new.h5", "w") as file:
        for name, w in NEW.items():
            file[name] = w
    code, tensors = report("new", "new.h5")

    assert code == 0
    assert set(statuses(tensors)) == {"unchanged"}


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        (["-m", "same"], 0, ["same"]),
        (["-m", "same", "-m", "moved"], 1, ["moved", "same"]),
        (["-m", "*m*"], 1, ["moved", "same", "come"]),
        (["-m", "come"], 1, ["come"]),
        (["-x", "*d", "-x", "come", "-x", "gone"], 0, ["same"]),
        (["-m", "s*", "-x", "shaped"], 0, ["same"]),
        (["-x", "nothing"], 1, ["gone", "moved", "same", "shaped", "typed", "come"]),
    ],
    ids=str,
)
def test_patterns_restrict_what_is_compared(report, words, code, names):
    """In either file; what is left out is no difference."""
    found, tensors = report("old", "new", *words)

    assert (found, list(tensors)) == (code, names)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 1),
        (["--rtol", "0.5"], 0),
        (["--rtol", "0.49"], 1),
        (["--atol", "1"], 0),
        (["--atol", "0.9"], 1),
        (["--atol", "0.5", "--rtol", "0.25"], 0),
    ],
    ids=str,
)
def test_tolerances_are_relative_and_absolute(call, words, code):
    """2 became 1."""
    assert call("old", "new", "-m", "moved", *words)[0] == code


def test_complex_entries_differ_by_their_distance(report):
    """Not by their magnitudes: 3+4j and 5 are far apart."""
    for name, value in (("a.h5", 3 + 4j), ("b.h5", 5)):
        with h5py.File(name, "w") as file:
            file["w"] = np.full(2, value, np.complex64)
    code, tensors = report("a.h5", "b.h5", "--rtol", "0.1")

    assert code == 1
    assert tensors["w"]["difference"]["largest"] == pytest.approx(abs(3 + 4j - 5))


@pytest.mark.parametrize(
    ("old", "new", "words", "code"),
    [
        ([np.nan, 1], [np.nan, 1], [], 0),
        ([np.nan, 1], [np.nan, 1], ["--rtol", "0.1"], 0),
        ([np.nan, 1], [1, 1], ["--rtol", "1"], 1),
        ([1, 1], [np.inf, 1], ["--rtol", "1"], 1),
        ([np.inf, 1], [np.inf, 1], ["--atol", "1"], 0),
        ([np.inf, 1], [-np.inf, 1], ["--atol", "1"], 1),
        ([0.0, 1], [-0.0, 1], [], 1),
        ([0.0, 1], [-0.0, 1], ["--atol", "1e-300"], 0),
    ],
    ids=str,
)
def test_numbers_that_are_none_are_compared(report, old, new, words, code):
    """Without a tolerance by their bytes; the report stays strict JSON."""
    for name, values in (("a", old), ("b", new)):
        save_file({"w": np.array(values, np.float64)}, name)

    assert report("a", "b", *words)[0] == code


def test_what_is_not_a_number_is_not_compared_and_told(call):
    """A verdict on the rest is no verdict on it."""
    for name in ("a.h5", "b.h5"):
        with h5py.File(name, "w") as file:
            file["w"] = np.ones(2)
            file["label"] = name
    code, _, stderr = call("a.h5", "b.h5")

    assert code == 0
    assert "warning: label: not compared: " in stderr


def test_tensors_that_share_a_name_are_paired_by_path(call):
    """Each with one partner, from both sides."""
    for name, value in (("a.h5", 1.0), ("b.h5", 2.0)):
        with h5py.File(name, "w") as file:
            file["d/d/kernel"] = np.full(2, 7.0)
            file["d/d/kernel:0"] = np.full(3, value)
    code, stdout, _ = call("a.h5", "b.h5", "-f", "json")
    (file,) = json.loads(stdout)["files"]

    assert code == 1
    assert sorted(tensor["status"] for tensor in file["tensors"]) == ["changed", "unchanged"]
