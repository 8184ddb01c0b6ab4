"""`wproj explain`: which rule takes which tensor, what it makes of it, and why others are left."""

import json
import signal
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from safetensors.numpy import save_file

import wproj
from wproj_cli.main import main

SAMPLE = str(Path(__file__).resolve().parents[2] / "sample_weights/digits_cnn.keras")

TENSORS = {
    "a.weight": np.ones((2, 3), np.float32),
    "a.bias": np.ones(3, np.float32),
    "b.weight": np.ones((4, 3), np.float32),
    "c.running_mean": np.ones(3, np.float32),
    "steps": np.array(3),
}


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs `wproj explain WORDS` where `m` is a checkpoint."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WPROJ_FORMAT", raising=False)
    (tmp_path / ".git").mkdir()
    save_file(TENSORS, "m")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def run(*words):
        code = main(["explain", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def report(call):
    """The only file of `wproj explain WORDS -f json`, as the schema has it, and the warnings."""

    def run(*words):
        code, stdout, _ = call(*words, "-f", "json")
        document = json.loads(stdout, parse_constant=pytest.fail)
        jsonschema.validate(document, wproj.json_schema("report"))
        assert code == 0
        (file,) = document["files"]
        return file, [d["message"] for d in document["diagnostics"]]

    return run


def test_every_tensor_has_its_rule_or_a_reason(report):
    """With the axes and the vectors that they make."""
    file, _ = report("m", "-r", "*.weight max_norm=2 axis=0", "-r", "* non_neg", "-x", "a.bias")
    told = {t["name"]: (t["axis"], t["vectors"], t["vector_length"]) for t in file["tensors"]}
    reasons = {t["name"]: t["reason"] for t in file["tensors"] if t["status"] == "skipped"}

    assert told["a.weight"] == ([0], 3, 2)
    assert told["b.weight"] == ([0], 3, 4)
    assert reasons == {
        "a.bias": "excluded",
        "c.running_mean": "moving statistics",
        "steps": "int64: integer entries",
    }


def test_every_rule_has_its_matches_and_what_others_took(report):
    """Shadowed tensors name the rule that took them."""
    first, second = "a.* max_norm=2 axis=0", "*.weight max_norm=3 axis=0"
    file, _ = report("m", "-r", first, "-r", second)
    one, two = file["rules"]

    assert one["taken"] == one["matched"] == ["a.bias", "a.weight"]
    assert (two["matched"], two["taken"]) == (["a.weight", "b.weight"], ["b.weight"])
    assert two["shadowed"] == [{"name": "a.weight", "by": first}]
    assert (one["problem"], two["problem"]) == (None, None)


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        (["v.weights* max_norm=1 axis=0"], "'v.weights*' matches no tensor in m"),
        (["* non_neg", "a.weight max_norm=1 axis=0"], "has no tensor left to constrain"),
        (["steps max_norm=1 axis=0"], "has no tensor left to constrain"),
        (["a.weight max_norm=1 axis=5"], "axis 5 does not fit 1 matched tensor"),
        (["a.weight max_norm=1"], "needs an axis for a.weight"),
        (["a.weight max_norm=1 axis=in"], "axis 'in' needs the layout of m"),
    ],
    ids=str,
)
def test_a_rule_that_cannot_be_applied_says_so_once(call, report, rules, problem):
    """As its problem, not as a warning beside it; the rest is explained."""
    words = [word for rule in rules for word in ("-r", rule)]
    file, warnings = report("m", *words)
    _, stdout, stderr = call("m", *words)

    assert problem in file["rules"][-1]["problem"]
    assert [rule["problem"] for rule in file["rules"][:-1]] == [None] * (len(rules) - 1)
    assert warnings == []
    assert stderr == ""
    assert stdout.count(problem) >= 1


def test_a_pattern_that_matches_nothing_has_a_looser_one(report):
    """And how many that would match."""
    file, _ = report("m", "-r", "v.weight* max_norm=1 axis=0")

    assert file["rules"][0]["looser"] == {"pattern": "*weight*", "count": 2}


def test_the_lines_of_a_recipe_are_told(call, report):
    """So that an editor finds the rule."""
    Path("wproj.toml").write_text(
        "version = 1\n\n[[rule]]\nid = 'w'\nmatch = '*.weight'\nexpect = 3\n"
        "constraint = 'max_norm'\naxis = 0\n"
    )
    file, _ = report("m")
    _, stdout, _ = call("m")

    assert (file["rules"][0]["rule"], file["rules"][0]["line"]) == ("w", 3)
    assert "expects 3 and takes 2 tensors in m" in file["rules"][0]["problem"]
    assert "rule w (line 3): matches 2, takes 2 tensors" in stdout


def test_odd_axes_are_warned_of(report):
    """A norm along axis 0 of a convolution is not that of a filter."""
    _, warnings = report(SAMPLE, "-r", "conv*/kernel max_norm=9 axis=0", "-r", "v* non_neg")
    _, fine = report(SAMPLE, "-r", "conv*/kernel max_norm=9")

    assert warnings
    assert all("axis 0 sums over" in warning for warning in warnings)
    assert fine == []


def test_declared_constraints_are_explained(report):
    """Each on its variable."""
    file, warnings = report(SAMPLE, "--declared")
    declared = {t["name"] for t in file["tensors"] if t["declared"]}

    assert {t["name"] for t in file["tensors"] if t["rule"] == "declared"} == declared != set()
    assert warnings == []


def test_no_value_is_read(call):
    """A checkpoint may be larger than any memory."""
    import struct

    shape = [1 << 20, 1 << 20]
    header = {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 1 << 42]}}
    text = json.dumps(header).encode()
    with Path("big").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + (1 << 42))
    code, stdout, _ = call("big", "-r", "w max_norm=1 axis=0")

    assert code == 0
    assert "1048576" in stdout


def test_several_files_and_missing_ones(call):
    """One bad file does not stop the others."""
    code, stdout, stderr = call("gone", "m", "-r", "a.weight non_neg")

    assert code == 3
    assert "gone: there is no such file" in stderr
    assert "m: safetensors" in stdout
