"""Requests that cannot be meant: each is exit code 2, one sentence, and no file."""

import json
import os
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="paths are written as on POSIX")

RNG = np.random.default_rng(2)


def weights(*shape):
    """Float32 weights of this shape."""
    return RNG.normal(size=shape).astype(np.float32)


@pytest.fixture
def model(write_safetensors):
    """A checkpoint that does not tell its layout."""
    return write_safetensors(
        "model",
        {
            "conv1/kernel": weights(3, 3, 2, 4),
            "conv1/bias": weights(4),
            "dense/kernel": weights(5, 4),
            "dense/bias": weights(4),
            "head/scale": weights(),
            "step": np.zeros((), np.int64),
            "table": np.zeros((3, 2), np.int32),
        },
    )


def rule(*texts):
    """Options for rules in one line each."""
    return [word for text in texts for word in ("-r", text)]


# What is asked for, what the error names, and its hint.
REQUESTS = {
    "a pattern that matches nothing": (
        ["-m", "dense/kernal", "-c", "max_norm=1", "-a", "0"],
        ["'dense/kernal' matches no tensor in model; nearest: dense/kernel"],
        "'*dense*' would match 2; 'wproj ls model' lists the names",
    ),
    "one pattern of two that matches nothing": (
        ["-m", "dense/kernel", "-m", "convolution*", "-c", "max_norm=1", "-a", "0"],
        ["'convolution*' matches no tensor in model"],
        "'wproj ls model' lists the names",
    ),
    "a rule that matches nothing": (
        rule("conv9/* non_neg"),
        ["'conv9/*' matches no tensor in model; nearest: conv1/"],
        "lists the names",
    ),
    "an axis that does not fit all": (
        ["-m", "*", "-c", "max_norm=1", "-a", "1"],
        [
            "axis 1 does not fit 3 matched tensors",
            "conv1/bias (4)",
            "dense/bias (4)",
            "head/scale ()",
        ],
        "narrow the pattern, or leave these tensors out with -x",
    ),
    "an axis that fits none": (
        ["-m", "dense/kernel", "-c", "unit_norm", "-a", "-3"],
        ["axis -3 does not fit 1 matched tensor: dense/kernel (5,4)"],
        "narrow",
    ),
    "incoming axes without a layout": (
        ["-m", "dense/kernel", "-c", "max_norm=1", "-a", "in"],
        ["axis 'in' needs the layout of model"],
        "--layout keras",
    ),
    "a norm without an axis": (
        ["-m", "*/kernel", "-c", "max_norm=1"],
        ["needs an axis for conv1/kernel (3,3,2,4), dense/kernel (5,4)"],
        "give the axes summed over with -a",
    ),
    "a negative bound": (
        ["-m", "dense/kernel", "-c", "max_norm=-1", "-a", "0"],
        ["max_norm: max_value must be a number that is not negative, not -1"],
        None,
    ),
    "a bound that is not a number": (
        ["-m", "dense/kernel", "-c", "max_norm=nan", "-a", "0"],
        ["max_norm: max_value must be a number that is not negative, not nan"],
        None,
    ),
    "a bound that is text": (
        ["-m", "dense/kernel", "-c", "max_norm=two", "-a", "0"],
        ["'two' is not a number"],
        None,
    ),
    "a bound left empty": (
        ["-m", "dense/kernel", "-c", "max_norm=", "-a", "0"],
        ["'' is not a number"],
        None,
    ),
    "a range from high to low": (
        ["-m", "dense/kernel", "-c", "min_max_norm=2..1", "-a", "0"],
        ["min_value must be at most max_value, which is 1, not 2"],
        None,
    ),
    "a rate beyond 1": (
        rule("dense/kernel min_max_norm=1..2 axis=0 rate=1.5"),
        ["rate must be a number from 0 to 1, not 1.5"],
        None,
    ),
    "an axis twice": (
        ["-m", "dense/kernel", "-c", "max_norm=1", "-a", "0,0"],
        ["'0,0' names an axis twice"],
        None,
    ),
    "an axis that is none": (
        ["-m", "dense/kernel", "-c", "max_norm=1", "-a", "rows"],
        ["'rows' is not an axis"],
        "axes are 0, -1, 0,1,2, all or in",
    ),
    "integers by a pattern": (
        ["-m", "st*", "-c", "max_norm=1", "-a", "all"],
        ["has no tensor left", "step (int64: integer entries)"],
        "first match wins",
    ),
    "integers by their name": (
        ["-m", "table", "-c", "non_neg"],
        ["has no tensor left", "table (int32: integer entries)"],
        "first match wins",
    ),
    "everything excluded": (
        ["-m", "dense", "-c", "non_neg", "-x", "*"],
        ["dense/kernel (excluded)", "dense/bias (excluded)"],
        None,
    ),
    "a rule behind one that takes all": (
        rule("dense/* non_neg", "dense/bias max_norm=1 axis=0"),
        ["'dense/bias max_norm=1 axis=0' has no tensor left", "taken by rule 'dense/* non_neg'"],
        "the first match wins",
    ),
    "an unknown constraint": (
        ["-m", "dense/kernel", "-c", "maxnrom=1", "-a", "0"],
        ["unknown constraint 'maxnrom'; choose from max_norm, min_max_norm, non_neg, unit_norm"],
        "did you mean max_norm?",
    ),
    "a rule without a constraint": (
        rule("dense/kernel"),
        ["rule 'dense/kernel': has no constraint"],
        "a rule reads 'GLOB CONSTRAINT",
    ),
    "a rule with an open quotation": (
        rule("'dense/kernel max_norm=1"),
        ["no closing quotation"],
        "a rule reads",
    ),
    "a rule with a parameter of another's": (
        rule("dense/kernel max_norm=1 rate=0.5 axis=0"),
        ["takes no parameter 'rate'"],
        None,
    ),
    "an empty pattern": (
        ["-m", "", "-c", "non_neg"],
        ["the pattern is empty"],
        None,
    ),
    "a pattern of a billion alternatives": (
        ["-m", "{0..999999999}", "-c", "non_neg"],
        ["is not a glob"],
        None,
    ),
    "a regular expression that is none": (
        ["-m", "re:(", "-c", "non_neg"],
        ["rule 're:(': is not a regular expression"],
        None,
    ),
    "an exclusion that is no pattern": (
        ["-m", "dense", "-c", "non_neg", "-x", "re:["],
        ["re:[", "is not a regular expression"],
        None,
    ),
    "a constraint in a file that is not there": (
        ["-m", "dense/kernel", "-c", "mine.py:Mine"],
        ["constraint mine.py:Mine: cannot be imported", "no file mine.py"],
        None,
    ),
    "a constraint in a module that is not there": (
        ["-m", "dense/kernel", "-c", "nowhere.mine:Mine"],
        ["constraint nowhere.mine:Mine: cannot be imported: ModuleNotFoundError"],
        None,
    ),
    "a constraint in a file that fails": (
        ["-m", "dense/kernel", "-c", "failing.py:Mine"],
        ["constraint failing.py:Mine: cannot be imported: ZeroDivisionError"],
        None,
    ),
    "a class that is no constraint": (
        ["-m", "dense/kernel", "-c", "plain.py:Mine"],
        ["plain.py has no subclass of wproj.Constraint named 'Mine'"],
        None,
    ),
    "no rule at all": ([], ["give a rule: -m GLOB and -c SPEC, or -r RULE"], "for example"),
    "a pattern alone": (["-m", "dense"], ["give a rule"], "for example"),
    "a constraint alone": (["-c", "non_neg"], ["give a rule"], "for example"),
    "rules of both kinds": (
        [*rule("dense non_neg"), "-m", "dense", "-c", "non_neg"],
        ["-r excludes -m, -c and -a"],
        None,
    ),
    "two constraints at once": (
        ["-m", "dense", "-c", "non_neg", "-c", "unit_norm", "-a", "0"],
        ["-c is given more than once"],
        "join constraints with '+': -c non_neg+unit_norm",
    ),
    "an impossible epsilon": (
        ["-m", "dense", "-c", "non_neg", "--epsilon", "nan"],
        ["epsilon must be finite and not negative, not nan"],
        None,
    ),
    "an epsilon that is text": (
        ["-m", "dense", "-c", "non_neg", "--epsilon", "small"],
        ["small"],
        None,
    ),
    "a report of an unknown format": (
        ["-m", "dense", "-c", "non_neg", "--report", "yaml=x"],
        ["--report takes FMT=PATH", "'yaml=x'"],
        None,
    ),
}
# What everybody gets wrong at some time is tried as they would; the rest within this process.
ALONE = {
    "a pattern that matches nothing",
    "an axis that does not fit all",
    "incoming axes without a layout",
    "a norm without an axis",
    "a negative bound",
    "a bound that is not a number",
    "a range from high to low",
    "integers by a pattern",
    "integers by their name",
    "a constraint in a file that fails",
    "a pattern of a billion alternatives",
    "no rule at all",
}
# The request is wrong before there is a report to print.
WITHOUT_REPORT = {"a report of an unknown format"}


@pytest.fixture
def own_constraints(tmp_path, monkeypatch):
    """Files with what users may name as a constraint of their own."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "failing.py").write_text("1 / 0\n")
    (tmp_path / "plain.py").write_text("class Mine:\n    pass\n")


@pytest.mark.usefixtures("model", "own_constraints")
@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_that_cannot_be_meant_is_refused(
    run_or_call, snapshot, assert_refused, assert_told_in_json, case
):
    """It names what is wrong and what would be right; JSON says the same; nothing is written."""
    words, named, hint = REQUESTS[case]
    before = snapshot()
    run = run_or_call(alone=case in ALONE)
    result = run("project", "model", *words, "-o", "out", "-f", "json")

    assert_refused(result, 2, *named, hint=hint)
    assert len([line for line in result.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert snapshot() == before
    if case not in WITHOUT_REPORT:
        assert assert_told_in_json(result)["exit_code"] == 2


@pytest.mark.usefixtures("model")
def test_several_problems_are_told_at_once(run, snapshot, assert_refused, assert_told_in_json):
    """Numbered, under one `error:`, each with its hint."""
    before = snapshot()
    texts = [
        "nothing* non_neg",
        "step non_neg",
        "dense/kernel max_norm=1",
        "conv1/kernel max_norm=1 axis=in",
        "dense/bias max_norm=1 axis=3",
    ]
    result = run("project", "model", *rule(*texts), "-o", "out", "-f", "json")
    lines = result.stderr.splitlines()

    assert_refused(result, 2, "error: 5 problems", *[f"\n  {n}. " for n in range(1, 6)])
    assert sum(line.startswith("     hint: ") for line in lines) == 5
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert "5 problems" in assert_told_in_json(result)["diagnostics"][0]["message"]
    assert snapshot() == before


def test_all_tensors_that_an_axis_does_not_fit_are_listed(run, write_safetensors, assert_refused):
    """However many: who mends the rule wants to see them all."""
    names = [f"layers.{number}.norm.weight" for number in range(18)]
    write_safetensors("model", dict.fromkeys(names, weights(4)) | {"head": weights(4, 4)})
    result = run("project", "model", *rule("* unit_norm axis=1"), "-o", "out")

    assert_refused(result, 2, "18 matched tensors", *[f"{name} (4)" for name in names])
    assert "head (4,4)" not in result.stderr


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["project", "model", "--bogus"], "No such option"),
        (["project"], "Missing argument"),
        (["project", "model", "extra"], "extra"),
        (["project", "model", "-f", "yaml"], "yaml"),
        (["project", "model", "--numerics", "magic"], "magic"),
        (["project", "model", "--nonfinite", "maybe"], "maybe"),
        (["project", "model", "--layout", "tf"], "tf"),
        (["project", "model", "-o"], "-o"),
        (["audit"], "Missing argument"),
        (["ls", "--all"], "No such option"),
        (["explode"], "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_line_that_cannot_be_parsed_shows_the_usage(run_or_call, snapshot, words, said):
    """With exit code 2, and nothing on standard output."""
    before = snapshot()
    result = run_or_call(alone=words[1:] == ["model", "--bogus"])(*words)

    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage:")
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert snapshot() == before


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("verb", ["ls", "audit"])
def test_a_pattern_without_a_match_is_refused_by_every_verb(
    call, assert_refused, assert_told_in_json, verb
):
    """Listing nothing would look like an empty file."""
    result = call(verb, "model", "-m", "dense/kernal", "-f", "json")

    assert_refused(result, 2, "nearest: dense/kernel", hint="lists the names")
    assert_told_in_json(result)


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["-a", "rows"], "'rows' is not an axis"),
        (["-a", "in"], "axis 'in' needs the layout of model"),
        (["-m", "*bias", "-a", "1"], "conv1/bias (4), dense/bias (4)"),
        (["-m", "step"], "integer entries"),
        (["-x", "re:["], "is not a regular expression"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_audit_that_cannot_be_meant_is_refused(
    call, assert_refused, assert_told_in_json, words, named
):
    """With the same sentences."""
    result = call("audit", "model", *words, "-f", "json")

    assert_refused(result, 2, named)
    assert_told_in_json(result)


@pytest.mark.usefixtures("model")
def test_unmatched_rules_are_warnings_on_request(run, tmp_path):
    """The others hold, and the exit code is 0."""
    texts = ["nothing* non_neg", "step non_neg", "dense/kernel max_norm=0.1 axis=0"]
    words = [*rule(*texts), "--allow-unmatched", "-o", "out", "-f", "json"]
    result = run("project", "model", *words)
    document = json.loads(result.stdout)
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]

    assert result.code == 0
    assert "'nothing*' matches no tensor" in warnings[0]
    assert "'step non_neg' has no tensor left" in warnings[1]
    assert "error: " not in result.stderr
    assert [d["level"] for d in document["diagnostics"]] == ["warning", "warning"]
    assert document["summary"]["changed"] == 1
    assert (tmp_path / "out").exists()


MINE = {
    "another shape": ("return w[:1]", "returned float64 of shape (1, 4), not floats of (5, 4)"),
    "integers": ("return w.astype(int)", "returned int64 of shape (5, 4)"),
    "nothing": ("return None", "returned object of shape ()"),
    "NaN": ("return w * float('nan')", "returned values that float32 cannot hold"),
    "an exception": ("raise ValueError('not today')", "not today"),
}


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("case", MINE)
def test_a_constraint_of_ones_own_that_goes_wrong_is_told(
    call, tmp_path, snapshot, assert_refused, monkeypatch, case
):
    """As a fault of the constraint, with the tensor; nothing is written."""
    body, problem = MINE[case]
    source = "import wproj\nclass Mine(wproj.Constraint):\n    def __call__(self, w):\n        "
    (tmp_path / "mine.py").write_text(f"{source}{body}\n")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    words = ("-m", "dense/kernel", "-c", "mine.py:Mine")
    before = snapshot()
    result = call("project", "model", *words, "-o", "out")

    assert_refused(result, 3, "error: model: dense/kernel: ", problem)
    assert snapshot() == before
