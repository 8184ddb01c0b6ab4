"""Recipes, baselines and lists of files that are none: a sentence each, and no waiting."""

import json
import os

import numpy as np
import pytest

import wproj

pytestmark = pytest.mark.skipif(os.name == "nt", reason="FIFOs, devices and modes are POSIX's")

RULE = "[[rule]]\nid = 'w'\nmatch = 'w'\nconstraint = 'max_norm'\nmax_value = 1\naxis = 0\n"
GIVEN = ("-r", "w max_norm=1 axis=0")


@pytest.fixture
def model(write_safetensors, tmp_path):
    """A checkpoint whose one tensor is outside, and a recipe that says so."""
    (tmp_path / "recipe").write_text(f"version = 1\n{RULE}")
    return write_safetensors("model", {"w": np.full((3, 2), 5, np.float32)})


def huge(path):
    """A file of a terabyte, none of it on the disk."""
    with path.open("wb") as file:
        file.truncate(1 << 40)


# What stands in for a document, and what every reader of one says of it.
OBJECTS = {
    "missing": (os.fspath, "o such file"),
    "a directory": (lambda path: path.mkdir(), "s a directory"),
    "a FIFO": (os.mkfifo, "is not a regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "symbolic links"),
    "a link to nowhere": (lambda path: path.symlink_to("nowhere"), "o such file"),
}

RECIPES = {
    "empty": (b"", "version is missing"),
    "text": (b"conv max_norm=2", "line 1: is not TOML: "),
    "YAML": (b"version: 1\nrules:\n", "line 1: is not TOML: "),
    "JSON": (b'{"version": 1}', "line 1: is not TOML: "),
    "binary": (bytes(range(256)), "is not UTF-8"),
    "UTF-16": ("version = 1".encode("utf-16"), "is not UTF-8"),
    "zeros": (bytes(4096), "line 1: is not TOML: "),
    "escapes": (b"version = 1\n'\x1b[31m' = 1\n", "line 2: is not TOML: "),
    "too long": (b"#" * (1 << 20) + b"\n\n", "has more than 1048576 bytes"),
    "deep lists": (b"x = " + b"[" * 10000, "is nested too deeply"),
    "deep tables": (b"x = " + b"{x=" * 10000, "is nested too deeply"),
    "a deep header": (b"[" + b".".join([b"x"] * 3000) + b"]", "a key has 3000 parts, more than 64"),
    "a deep config": (
        b"version = 1\n[[rule]]\nmatch = 'w'\nconstraint = 'max_norm'\nconfig."
        + b".".join([b"x"] * 3000)
        + b" = 1",
        "a key has 3001 parts, more than 64",
    ),
    "many digits": (b"version = " + b"1" * 10000, "has a number of too many digits"),
    "no rule": (b"version = 1\n", "recipe r has no rule"),
    "a rule without a constraint": (b"version = 1\n[[rule]]\nmatch = 'w'\n", "no constraint"),
    "code that is missing": (
        b"version = 1\n[[rule]]\nmatch = 'w'\nconstraint = 'gone.py:C'\n",
        "line 2: rule 1: constraint gone.py:C: cannot be imported",
    ),
    "a pattern that cannot be read": (
        b"version = 1\n[[rule]]\nmatch = 're:('\nconstraint = 'non_neg'\n",
        "is not a regular expression",
    ),
    "a rule that matches nothing": (
        b"version = 1\n[[rule]]\nid = 'x'\nmatch = 'v*'\nconstraint = 'non_neg'\n",
        "'v*' matches no tensor in model",
    ),
    "rules that contradict": (
        f"version = 1\n{RULE}\n{RULE.replace('max_norm', 'unit_norm')}".encode(),
        "line 9: rule 2 has the id 'w' of the rule on line 2",
    ),
    "a rule that has nothing left": (
        f"version = 1\n{RULE}\n[[rule]]\nmatch = '*'\nconstraint = 'non_neg'\n".encode(),
        "has no tensor left to constrain: w (taken by rule 'w')",
    ),
    "another count than expected": (f"version = 1\n{RULE}expect = 2".encode(), "expects 2"),
    "an axis that does not fit": (
        f"version = 1\n{RULE}".replace("axis = 0", "axis = 7").encode(),
        "axis 7 does not fit 1 matched tensor: w (3,2)",
    ),
}


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("verb", ["check", "explain", "project"])
def test_a_recipe_that_is_no_file_is_refused(call, assert_refused, tmp_path, name, verb):
    """At once: no FIFO is waited for, and no device read to its end."""
    make, problem = OBJECTS[name]
    make(tmp_path / "r")
    words = ["-n"] if verb == "project" else []

    assert_refused(call(verb, "model", "--recipe", "r", *words), 2, "recipe r: ", problem)


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_that_says_nothing_is_refused(call, assert_refused, tmp_path, name):
    """One sentence that is printable, whatever is in it."""
    content, problem = RECIPES[name]
    (tmp_path / "r").write_bytes(content)
    result = call("check", "model", "--recipe", "r")

    assert_refused(result, 2, problem)
    assert "\x1b" not in result.stderr


@pytest.mark.usefixtures("model")
def test_a_huge_recipe_is_refused_without_reading_it(call, assert_refused, tmp_path):
    """Of any size: no more is read than a recipe may have."""
    huge(tmp_path / "r")

    assert_refused(call("check", "model", "--recipe", "r"), 2, "recipe r: has more than 1048576")


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("option", ["--recipe", "--baseline", "--files-from"])
def test_what_may_not_be_read_is_told(run, assert_refused, tmp_path, without_privileges, option):
    """Permissions are told as such."""
    path = tmp_path / "r"
    path.write_text("x")
    path.chmod(0)
    words = [] if option == "--recipe" else GIVEN
    result = run("check", "model", *words, option, "r", before=without_privileges)

    assert_refused(result, 3 if option == "--files-from" else 2, "r: ", "ermission denied")


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_recipe_without_a_name_is_not_looked_for(call, assert_refused, tmp_path, path):
    """An empty variable in a script is no request to find a recipe somewhere."""
    (tmp_path / "wproj.toml").write_text(f"version = 1\n{RULE}")

    assert_refused(call("check", "model", "--recipe", path), 2, "recipe ")


@pytest.mark.usefixtures("model")
def test_a_recipe_that_was_found_runs_no_code(call, assert_refused, tmp_path):
    """Who checks a file in a folder of somebody else's did not ask for that."""
    (tmp_path / "c.py").write_text("open('ran', 'w').close()\nfrom wproj import NonNeg as C\n")
    (tmp_path / "wproj.toml").write_text(
        "version = 1\n[[rule]]\nmatch = 'w'\nconstraint = 'c.py:C'\n"
    )

    for verb in ("check", "explain"):
        assert_refused(call(verb, "model"), 2, "c.py:C is code", hint="--recipe")
    assert not (tmp_path / "ran").exists()
    assert call("check", "model", "--recipe", "wproj.toml").code == 0
    assert (tmp_path / "ran").exists()


# Which rules

SOURCES = {
    "none": ([], "give a rule", "wproj.toml, which 'wproj init' writes"),
    "a pattern alone": (["-m", "w"], "give a rule: -m GLOB and -c SPEC", "for example"),
    "an axis alone": (["-a", "0"], "give a rule: -m GLOB and -c SPEC", "for example"),
    "a setting alone": (["--set", "check.rtol=0"], "give a rule", "wproj.toml"),
    "rules and a recipe": ([*GIVEN, "--recipe", "recipe"], "--recipe excludes -r", None),
    "a pair and rules": ([*GIVEN, "-c", "non_neg"], "-r excludes -m, -c and -a", None),
    "declared and rules": ([*GIVEN, "--declared"], "--declared excludes -r", None),
    "declared and a recipe": (["--declared", "--recipe", "recipe"], "excludes --recipe", None),
    "declared and a layout": (["--declared", "--layout", "keras"], "excludes --layout", None),
    "settings and rules": ([*GIVEN, "--set", "check.rtol=0"], "--set changes a recipe", None),
    "a class without a file": (
        ["--declared", "--custom", "A"],
        "--custom takes Name=file.py:Class, not 'A'",
        None,
    ),
    "classes and rules": ([*GIVEN, "--custom", "A=a.py:A"], "--custom goes with --declared", None),
}


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("verb", ["check", "explain"])
def test_rules_come_from_exactly_one_source(call, assert_refused, name, verb):
    """None or two are refused before anything is read."""
    words, problem, hint = SOURCES[name]
    result = call(verb, "model", *words)

    assert_refused(result, 2, problem, hint=hint)
    assert result.stdout == ""


def test_check_without_a_file_is_refused(call, assert_refused):
    """Nothing was held against anything."""
    assert_refused(call("check", *GIVEN), 2, "no checkpoint is given")


# Baselines

BASELINES = {
    "empty": b"",
    "text": b"nothing",
    "binary": bytes(range(256)),
    "a list": b"[]",
    "nothing of a baseline": b"{}",
    "no schema": b'{"tensors": []}',
    "another schema": b'{"schema": "wproj.report", "schema_version": "1.0", "tensors": []}',
    "another version": b'{"schema": "wproj.baseline", "schema_version": "2.0", "tensors": []}',
    "tensors of another form": (
        b'{"schema": "wproj.baseline", "schema_version": "1.0", "tensors": [{"file": "m"}]}'
    ),
    "NaN": (
        b'{"schema": "wproj.baseline", "schema_version": "1.0", "tensors": [{"file": "model", '
        b'"tensor": "w", "rule": null, "violations": 1, "excess": NaN, "nonfinite": 0}]}'
    ),
    "half of one": b'{"schema": "wproj.baseline", "schema_version": "1.0", "tens',
    "nesting without an end": b'{"x": ' + b"[" * 100000 + b"]" * 100000 + b"}",
}


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("update", [False, True])
def test_a_damaged_baseline_is_refused_and_kept(call, assert_refused, tmp_path, name, update):
    """It is neither taken for an empty one, nor replaced."""
    path = tmp_path / "baseline"
    path.write_bytes(BASELINES[name])
    words = ["--baseline", "baseline", *["--update-baseline"] * update]
    result = call("check", "model", *GIVEN, *words)

    assert_refused(result, 2, "baseline baseline: is none: ", hint="record another")
    assert path.read_bytes() == BASELINES[name]


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("name", OBJECTS)
def test_a_baseline_that_is_no_file_is_refused(call, assert_refused, tmp_path, name):
    """As a recipe is."""
    make, problem = OBJECTS[name]
    make(tmp_path / "b")

    result = call("check", "model", *GIVEN, "--baseline", "b")

    assert_refused(result, 2, "baseline b: ", problem, hint="--update-baseline records")


@pytest.mark.usefixtures("model")
def test_a_huge_baseline_is_refused_without_reading_it(call, assert_refused, tmp_path):
    """As a recipe is."""
    huge(tmp_path / "b")

    assert_refused(call("check", "model", *GIVEN, "--baseline", "b"), 2, "b: has 1099511627776")


@pytest.mark.parametrize("victim", ["model", "recipe"])
def test_no_other_file_is_replaced_by_a_baseline(call, assert_refused, model, victim):
    """Neither the checkpoint, by a slip, nor anything else."""
    path = model.with_name(victim)
    before = path.read_bytes()
    words = ["--baseline", victim, "--update-baseline"]

    assert_refused(call("check", "model", *GIVEN, *words), 2, f"baseline {victim}: is none")
    assert path.read_bytes() == before


def test_a_baseline_is_recorded_of_all_files_or_not_at_all(call, model):
    """What could not be read would else be forgotten, and found again tomorrow."""
    words = ["--baseline", "b", "--update-baseline"]
    result = call("check", "model", "gone", *GIVEN, *words)

    assert result.code == 3
    assert "nothing is recorded in b" in result.stderr
    assert not model.with_name("b").exists()


# Lists of files


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("name", OBJECTS)
def test_a_list_of_files_that_is_none_is_refused(call, assert_refused, tmp_path, name):
    """As a recipe is; the input is missing, so it is another code."""
    make, problem = OBJECTS[name]
    make(tmp_path / "list")
    result = call("check", *GIVEN, "--files-from", "list")

    assert_refused(result, 3, "--files-from list: ", problem)


@pytest.mark.usefixtures("model")
def test_a_list_of_files_is_text(call, assert_refused, tmp_path):
    """Anything else was meant as something else."""
    (tmp_path / "list").write_bytes(bytes(range(256)))
    result = call("check", *GIVEN, "--files-from", "list")

    assert_refused(result, 3, "--files-from list: is not a list of files in UTF-8")


# Checkpoints


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["model", "recipe"], "recipe: is text"),
        (["recipe", "model"], "recipe: is text"),
        (["model", "gone"], "gone: there is no such file"),
        (["gone", "gone"], "gone: there is no such file"),
        (["model", "."], ".: "),
        (["model", "/dev/zero"], "/dev/zero: is not a regular file"),
    ],
    ids=str,
)
def test_a_difference_to_what_is_no_checkpoint_is_a_fault(
    call, assert_told_in_json, words, problem
):
    """Never a difference."""
    result = call("diff", *words, "-f", "json")
    document = assert_told_in_json(result)

    assert result.code == 3
    assert document["files"] == []
    assert problem in document["diagnostics"][0]["message"]


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--rtol", "x"], "--rtol takes a number, not 'x'"),
        (["--rtol", "-1"], "rtol is a number that is not negative"),
        (["--atol", "nan"], "atol is a number that is not negative"),
        (["-a", "x"], "'x' is not an axis"),
        (["-m", "v"], "'v' matches no tensor in model"),
        (["-m", "re:("], "is not a regular expression"),
    ],
    ids=str,
)
def test_a_difference_that_cannot_be_meant_is_refused(call, assert_refused, words, problem):
    """As everywhere else."""
    assert_refused(call("diff", "model", "model", *words), 2, problem)


@pytest.mark.parametrize("job", ["check", "diff"])
def test_a_file_that_vanishes_is_told(model, job):
    """Between the plan and the work."""
    plan = wproj.plan(model, "w max_norm=1 axis=0")
    found = wproj.check(plan) if job == "check" else wproj.diff(plan.checkpoint, plan.checkpoint)
    model.unlink()

    with pytest.raises(wproj.InputError, match="there is no such file"):
        list(found)


@pytest.mark.parametrize("job", ["check", "diff"])
def test_a_file_that_becomes_shorter_is_told(model, job):
    """While it is open."""
    plan = wproj.plan(model, "w max_norm=1 axis=0")
    found = wproj.check(plan) if job == "check" else wproj.diff(plan.checkpoint, plan.checkpoint)
    model.write_bytes(model.read_bytes()[:-4])

    with pytest.raises(wproj.InputError, match="was changed by another process"):
        list(found)


def test_one_bad_file_does_not_stop_the_others(call, model):
    """The report has those that could be read, and why the others could not."""
    model.with_name("good").write_bytes(model.read_bytes())
    result = call("check", "model", "gone", "recipe", "good", *GIVEN, "-f", "json")
    document = json.loads(result.stdout)

    assert result.code == document["exit_code"] == 3
    assert [file["path"] for file in document["files"]] == ["model", "good"]
    assert [d["file"] for d in document["diagnostics"]] == ["gone", "recipe"]
