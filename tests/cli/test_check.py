"""`wproj check`: the gate, its policies, its tolerance, its recipe, its baseline, many files."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from safetensors.numpy import save_file

import wproj
from wproj_cli.main import main

SAMPLES = Path(__file__).resolve().parents[2] / "sample_weights"
SETTINGS = ("WPROJ_FORMAT", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")

# Columns of the norms 5, 1 and 0; what lies between 1 and 2 is neither.
W = np.array([[3, 1, 0], [4, 0, 0]], np.float32)
TENSORS = {
    "a.weight": W,
    "a.bias": np.array([1, -1, 0], np.float32),
    "holes": np.array([[np.nan, 9], [1, 9]], np.float32),
    "steps": np.array(3),
}
RULE = ("-r", "a.weight max_norm=2 axis=0")
RECIPE = "version = 1\n[[rule]]\nid = 'a'\nmatch = 'a.weight'\nconstraint = 'max_norm'\naxis = 0\n"


@dataclass(frozen=True)
class Result:
    """What a run left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def report(self):
        """The report in JSON, valid as the schema has it."""
        document = json.loads(self.stdout, parse_constant=pytest.fail)
        jsonschema.validate(document, wproj.json_schema("report"))
        return document

    @property
    def tensors(self):
        """The tensors of the only file, by name."""
        (file,) = self.report["files"]
        return {tensor["name"]: tensor for tensor in file["tensors"]}


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs `wproj WORDS` where `m` is a checkpoint."""
    monkeypatch.chdir(tmp_path)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    save_file(TENSORS, "m")
    (tmp_path / ".git").mkdir()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def run(*words):
        code = main(list(words))
        said = capsys.readouterr()
        return Result(code, said.out, said.err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


# The verdict


def test_a_vector_outside_is_exit_1_and_told(call):
    """Which tensor, which vector, by how much."""
    result = call("check", "m", *RULE)

    assert result.code == 1
    assert "FAIL" in result.stdout
    assert "a.weight: 1 of 3 vectors outside max_norm=2 (worst [0]: norm 5, 3" in result.stdout
    assert "1 tensor of 1 file checked, 1 failed" in result.stdout


def test_all_inside_is_exit_0(call):
    """And every measure is there."""
    result = call("check", "m", "-r", "a.weight max_norm=5 axis=0", "-f", "json")
    tensor = result.tensors["a.weight"]

    assert result.code == 0
    assert (tensor["status"], tensor["vectors"], tensor["zero"]) == ("ok", 3, 1)
    assert tensor["norm_before"]["max"] == 5
    assert tensor["norm_after"] is None
    assert tensor["violations"]["before"] == 0


def test_nothing_is_written(call, tmp_path):
    """Neither the checkpoint nor anything beside it."""

    def state():
        """All but the time of the last access, which reading may change."""
        found = {path: path.stat() for path in tmp_path.rglob("*")}
        kept = ("st_mode", "st_ino", "st_nlink", "st_size", "st_mtime_ns", "st_ctime_ns")
        return {path: [getattr(stat, key) for key in kept] for path, stat in found.items()}

    before, content = state(), Path("m").read_bytes()
    call("check", "m", *RULE)

    assert state() == before
    assert Path("m").read_bytes() == content


def test_exit_zero_forgives_findings_alone(call):
    """Not requests that cannot be meant, nor files that are missing."""
    assert call("check", "m", *RULE, "--exit-zero").code == 0
    assert call("check", "m", "-r", "v max_norm", "--exit-zero").code == 2
    assert call("check", "m", "gone", *RULE, "--exit-zero").code == 3


@pytest.mark.parametrize(
    ("rtol", "code"), [("0", 1), ("1e-6", 1), ("1e-3", 0), ("1", 0), (None, 1)]
)
def test_the_tolerance_is_relative(call, rtol, code):
    """To the bound: 2.001 is half a thousandth from 2."""
    save_file({"w": np.array([[2.001]], np.float32)}, "t")
    words = [] if rtol is None else ["--rtol", rtol]

    assert call("check", "t", "-r", "w max_norm=2 axis=0", *words).code == code


@pytest.mark.parametrize("rtol", ["-1", "2", "nan", "inf", "x", ""])
def test_a_tolerance_is_a_number_from_0_to_1(call, rtol):
    """Anything else is refused."""
    result = call("check", "m", *RULE, "--rtol", rtol)

    assert result.code == 2
    assert result.stderr.startswith("error: --rtol takes a number from 0 to 1, not ")


# Policies

POLICIES = {
    "--nonfinite": ("holes max_norm=20 axis=0", "1 vector with non-finite entries"),
    "--unreachable": ("a.weight min_max_norm=0.5..9 axis=0", "1 zero vector below the lower"),
    "--unmatched": ("a.weight max_norm=9 axis=0", "no rule matches it"),
}


@pytest.mark.parametrize("option", POLICIES)
@pytest.mark.parametrize("severity", ["error", "warn", "ignore"])
@pytest.mark.parametrize("source", ["option", "recipe", "set"])
def test_a_policy_is_an_error_a_warning_or_nothing(call, option, severity, source):
    """Given by its option, by the recipe, or by a setting of it."""
    text, warning = POLICIES[option]
    match, spec, axis = text.split()
    name, _, value = spec.partition("=")
    low, _, high = value.rpartition("..")
    key = option[2:] + ("_tensors" if option == "--unmatched" else "")
    recipe = [
        "version = 1\nexclude = ['holes']" if match != "holes" else "version = 1",
        f"[[rule]]\nmatch = '{match}'\nconstraint = '{name}'\nmax_value = {high}\n{axis}",
        f"min_value = {low}" if low else "",
        f"[check]\n{key} = '{severity}'" if source == "recipe" else "",
    ]
    Path("r").write_text("\n".join(recipe))
    words = {
        "option": [option, severity],
        "recipe": [],
        "set": ["--set", f"check.{key}={severity}"],
    }[source]
    result = call("check", "m", "--recipe", "r", *words)

    assert result.code == (severity == "error")
    assert (warning in result.stderr) is (severity == "warn")
    assert ("FAIL" in result.stdout) is (severity == "error")


def test_zeros_that_are_forgiven_hide_nothing_else(call):
    """Even where they are the farthest outside, and many."""
    w = np.zeros((2, 9), np.float32)
    w[0, 7:] = 0.4, 3
    save_file({"w": w}, "z")
    words = ["-r", "w min_max_norm=0.5..2 axis=0", "--unreachable", "ignore", "-f", "json"]
    found = call("check", "z", *words).tensors["w"]["violations"]

    assert found["before"] == 2
    assert [vector["index"] for vector in found["vectors"]] == [[8], [7]]
    assert found["worst_norm"] == 3


@pytest.mark.parametrize("words", [["--rtol", "1"], []])
def test_zeros_within_the_tolerance_are_not_subtracted(call, words):
    """From violations that they are none of."""
    save_file({"w": np.array([[0, 0, 9]], np.float32)}, "z")
    rule = "w min_max_norm=1e-9..2 axis=0"
    found = call("check", "z", "-r", rule, "--unreachable", "ignore", *words, "-f", "json")

    assert found.code == 1
    assert found.tensors["w"]["violations"]["before"] == 1


def test_unmatched_tensors_are_those_that_could_be_constrained(call):
    """Not counters, nor what is left out on purpose."""
    result = call("check", "m", *RULE, "-x", "holes", "--unmatched", "error", "-f", "json")
    found = {name: t["reason"] for name, t in result.tensors.items() if t["status"] == "violation"}

    assert found == {
        "a.weight": None,
        "a.bias": "no rule matches it",
        "holes": "no rule matches it",
    }


# Recipes


def test_a_recipe_nearby_is_found_and_named(call, tmp_path, monkeypatch):
    """By its path from here, so that reports are the same everywhere."""
    Path("wproj.toml").write_text(RECIPE)
    (tmp_path / "below").mkdir()
    shutil.copy("m", "below")
    here = call("check", "m", "-f", "json")
    monkeypatch.chdir("below")
    below = call("check", "m", "-f", "json")

    assert (here.code, below.code) == (1, 1)
    assert here.report["recipe"]["path"] == "wproj.toml"
    assert below.report["recipe"]["path"] == os.path.join("..", "wproj.toml")  # noqa: PTH118 # a string
    assert here.report["recipe"]["sha256"] == below.report["recipe"]["sha256"]
    assert here.tensors["a.weight"]["rule"] == "a"


def test_a_pyproject_nearby_is_found(call):
    """Its table `tool.wproj`."""
    text = RECIPE.replace("[[rule]]", "[[tool.wproj.rule]]")
    Path("pyproject.toml").write_text(f"[tool.wproj]\n{text}")

    assert call("check", "m").code == 1
    assert call("check", "m", "--set", "rule.a.max_value=9").code == 0


def test_rules_that_are_given_come_before_a_recipe_nearby(call):
    """Also its policy does not hold for them."""
    Path("wproj.toml").write_text(f"{RECIPE}[check]\nrtol = 1\nunmatched_tensors = 'error'\n")

    assert call("check", "m", "-r", "a.weight max_norm=9 axis=0").code == 0
    assert call("check", "m", "-r", "a.weight max_norm=4 axis=0").code == 1


def test_project_finds_no_recipe(call):
    """It applies one only when told to."""
    Path("wproj.toml").write_text(RECIPE)
    result = call("project", "m", "-n")

    assert result.code == 2
    assert "give a rule" in result.stderr


def test_the_options_of_a_check_come_before_the_recipe(call):
    """`--rtol` and the policies."""
    Path("r").write_text(f"{RECIPE}[check]\nrtol = 1\n")

    assert call("check", "m", "--recipe", "r", "--set", "rule.a.max_value=3").code == 0
    assert call("check", "m", "--recipe", "r", "--set", "rule.a.max_value=3", "--rtol=0").code == 1


def test_a_recipe_may_come_by_standard_input(call):
    """As `-`; an empty or closed one is no recipe."""

    def piped(content, **options):
        return subprocess.run(
            [sys.executable, "-m", "wproj_cli", "check", "m", "--recipe", "-", "-f", "json"],
            input=content,
            capture_output=True,
            check=False,
            timeout=60,
            **options,
        )

    found, empty = piped(RECIPE.encode()), piped(b"")

    assert call("check", "m", *RULE).code == 1
    assert found.returncode == 1
    assert json.loads(found.stdout)["recipe"]["path"] == "-"
    assert empty.returncode == 2
    assert empty.stderr.startswith(b"error: recipe -: version is missing")


@pytest.mark.skipif(os.name == "nt", reason="closed descriptors are POSIX's")
def test_a_closed_standard_input_is_an_empty_recipe(call):
    """As a service may start it: `<&-`."""
    command = f"{sys.executable} -m wproj_cli check m --recipe - <&-"
    closed = subprocess.run(["sh", "-c", command], capture_output=True, check=False, timeout=60)

    assert call("check", "m", *RULE).code == 1
    assert closed.returncode == 2
    assert closed.stderr.startswith(b"error: recipe -: version is missing")


# Declared constraints


@pytest.mark.parametrize("name", ["digits_cnn.keras", "digits_cnn.h5"])
def test_what_keras_enforced_passes_and_what_it_did_not_is_found(call, name):
    """The sample was frozen in one layer, and given a constraint too late in another."""
    result = call("check", str(SAMPLES / name), "--declared", "-f", "json")
    failed = [name for name, t in result.tensors.items() if t["status"] == "violation"]

    assert result.code == 1
    assert failed == ["conv1/kernel", "hidden/kernel"]
    assert len(result.tensors) == 6


def test_a_declared_projection_passes_strictly(call):
    """`project --declared && check --declared --rtol 0`."""
    assert call("project", str(SAMPLES / "digits_cnn.keras"), "--declared", "-o", "out").code == 0
    assert call("check", "out", "--declared", "--rtol", "0").code == 0


def test_a_declared_constraint_of_ones_own_is_named_on_the_command_line(call, tmp_path):
    """The config names a class; `--custom` says which one that is, and only then is it run."""
    with zipfile.ZipFile(SAMPLES / "digits_cnn.keras") as archive:
        config = json.loads(archive.read("config.json"))
    layer = next(one for one in config["config"]["layers"] if one["config"]["name"] == "conv1")
    layer["config"]["kernel_constraint"] = {
        "module": "lab",
        "class_name": "Clip",
        "config": {},
        "registered_name": "lab>Clip",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "clip.py").write_text(
        "import wproj\n\nclass Clip(wproj.Constraint):\n"
        "    def __call__(self, w):\n        return w.clip(-0.01, 0.01)\n"
        "    def contains(self, w):\n        return abs(w) <= 0.01\n"
    )
    bare = str(SAMPLES / "digits_cnn.weights.h5")
    words = ("check", bare, "--declared", "--config", "config.json", "-f", "json")

    unknown = call(*words)
    known = call(*words, "--custom", "lab>Clip=clip.py:Clip")

    assert unknown.tensors["conv1/kernel"]["status"] == "skipped"
    assert known.tensors["conv1/kernel"]["status"] == "violation"


def test_a_declared_constraint_that_is_violated_is_found(call):
    """As the model declares it, along its axis."""
    rule = "conv*/kernel min_max_norm=9..9 axis=0,1,2"
    call("project", str(SAMPLES / "digits_cnn.keras"), "-r", rule, "-o", "bad.keras")
    result = call("check", "bad.keras", "--declared", "-f", "json")

    assert result.code == 1
    statuses = {name: tensor["status"] for name, tensor in result.tensors.items()}
    assert "violation" in statuses.values()


# Many files


@pytest.fixture
def runs(call, tmp_path):
    """`runs/a/last` and `runs/b/last`, of which the second is inside."""
    for name, factor in (("a", 1), ("b", 0.1)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        save_file({"a.weight": W * np.float32(factor)}, f"runs/{name}/last")
    return call


@pytest.mark.parametrize(
    "words", [["runs/*/last"], ["runs/a/last", "runs/b/last"], ["runs/**/la*"]]
)
def test_files_are_named_or_matched(runs, words):
    """Patterns in quotes stand for what they match, in order."""
    result = runs("check", *words, *RULE, "-f", "json")

    assert result.code == 1
    assert [file["path"] for file in result.report["files"]] == ["runs/a/last", "runs/b/last"]


def test_a_list_has_files_and_patterns(runs):
    """Comments, empty lines and blanks do not count, nor ends of lines of Windows."""
    Path("list").write_bytes(b"\xef\xbb\xbf# runs\r\n  # more\r\n\r\n runs/b/* \r\n")
    listed = runs("check", "--files-from", "list", *RULE, "-f", "json")
    both = runs("check", "runs/a/last", "--files-from", "list", *RULE, "-f", "json")

    assert (listed.code, both.code) == (0, 1)
    assert [file["path"] for file in listed.report["files"]] == ["runs/b/last"]
    assert both.report["summary"]["files"] == 2


def test_the_order_of_files_does_not_matter(runs):
    """Each has the same report."""
    one = runs("check", "runs/a/last", "runs/b/last", *RULE, "-f", "json").report
    two = runs("check", "runs/b/last", "runs/a/last", *RULE, "-f", "json").report

    assert one["files"] == two["files"][::-1]
    assert one["summary"] == two["summary"]
    assert one["exit_code"] == two["exit_code"] == 1


def test_a_rule_has_to_match_in_each_file(runs):
    """Unless that is allowed."""
    save_file({"b.weight": W}, "runs/b/last")
    words = ["check", "runs/*/last", "-r", "a.weight max_norm=9 axis=0"]
    refused, allowed = runs(*words), runs(*words, "--allow-unmatched")

    assert (refused.code, allowed.code) == (2, 0)
    assert "'a.weight' matches no tensor in runs/b/last" in refused.stderr
    assert "warning: 'a.weight' matches no tensor in runs/b/last" in allowed.stderr


def test_the_highest_code_wins(runs):
    """3 before 2 before 1, in any order."""
    save_file({"b.weight": W}, "runs/b/last")

    assert runs("check", "runs/b/last", "runs/a/last", *RULE).code == 2
    assert runs("check", "runs/a/last", "runs/b/last", *RULE).code == 2
    assert runs("check", "gone", "runs/b/last", "runs/a/last", *RULE).code == 3
    assert runs("check", "runs/a/last", "runs/b/last", "gone", *RULE).code == 3


# Baselines


def test_a_baseline_makes_the_gate_fail_on_what_is_new(runs):
    """What was recorded passes; what is new or worse fails; what is better passes."""
    words = ["runs/*/last", *RULE, "--baseline", "known"]
    recorded = runs("check", *words, "--update-baseline")
    again = runs("check", *words, "-f", "json")
    save_file({"a.weight": W}, "runs/b/last")
    new = runs("check", *words)
    save_file({"a.weight": W * np.float32(0.9)}, "runs/a/last")
    save_file({"a.weight": W * np.float32(0.1)}, "runs/b/last")
    better = runs("check", *words)
    save_file({"a.weight": W * np.float32(1.1)}, "runs/a/last")
    worse = runs("check", *words)

    assert [recorded.code, again.code, new.code, better.code, worse.code] == [0, 0, 1, 0, 1]
    assert "recorded in known" in recorded.stderr
    (known,) = json.loads(Path("known").read_text())["tensors"]
    assert (known["file"], known["tensor"], known["excess"]) == ("runs/a/last", "a.weight", 3.0)
    tensor = again.report["files"][0]["tensors"][0]
    assert (tensor["status"], tensor["reason"]) == ("ok", "1 violation that the baseline knows")


def test_a_baseline_is_for_the_rule_that_it_was_recorded_with(call):
    """Another rule is another matter."""
    call("check", "m", *RULE, "--baseline", "known", "--update-baseline")

    assert call("check", "./m", *RULE, "--baseline", "known").code == 0
    assert call("check", "m", "-r", "a.weight max_norm=1 axis=0", "--baseline", "known").code == 1


def test_a_baseline_is_replaced_by_another(call):
    """When told to; it is the same bytes for the same files."""
    words = ["check", "m", *RULE, "--baseline", "known"]
    call(*words, "--update-baseline")
    first = Path("known").read_bytes()
    call(*words, "--update-baseline")
    second = Path("known").read_bytes()
    call(
        "check", "m", "-r", "a.weight max_norm=9 axis=0", "--baseline", "known", "--update-baseline"
    )

    assert first == second
    assert json.loads(Path("known").read_text())["tensors"] == []
    assert call(*words).code == 1


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--update-baseline"], "--update-baseline needs --baseline FILE"),
        (["--baseline", "gone"], "baseline gone: there is no such file"),
        (["--baseline", "m", "--report", "json=m"], "would replace a checkpoint"),
    ],
    ids=str,
)
def test_a_baseline_that_cannot_be_meant_is_refused(call, words, problem):
    """With a sentence."""
    result = call("check", "m", *RULE, *words)

    assert result.code == 2
    assert problem in result.stderr


# What is said


def test_the_bytes_do_not_depend_on_the_run(call):
    """In any format, whatever the seed of the hashes is."""
    forms = ["text", "json", "jsonl", "csv", "md", "junit", "github", "gitlab", "html"]
    rules = ["-r", "a.* max_norm=2 axis=0", "-r", "holes max_norm=9 axis=0"]
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}

    def bytes_of(seed):
        reports = [word for form in forms for word in ("--report", f"{form}={form}")]
        command = [sys.executable, "-m", "wproj_cli", "check", "m", *rules, *reports]
        environment = clean | {"PYTHONHASHSEED": str(seed)}
        run = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
        return run.returncode, run.stdout, run.stderr, [Path(form).read_bytes() for form in forms]

    first, second = bytes_of(0), bytes_of(1)

    assert call("check", "m", *rules).code == 1
    assert first[0] == 1
    assert all(first[3])
    assert first == second


def test_quiet_says_nothing_of_what_is_fine(call):
    """And all of what is not."""
    fine = call("check", "m", "-r", "a.weight max_norm=9 axis=0", "-q")
    found = call("check", "m", *RULE, "-q")

    assert (fine.stdout, fine.stderr) == ("", "")
    assert "FAIL" in found.stdout


def test_odd_axes_are_warned_of(call):
    """As `project` warns of them."""
    rule = "conv*/kernel max_norm=9 axis=0"
    result = call("check", str(SAMPLES / "digits_cnn.keras"), "-r", rule)

    assert "warning: conv" in result.stderr
    assert "axis 0 sums over" in result.stderr


# Faults


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["m"], 2, "give a rule"),
        (["m", "--recipe", "missing.toml"], 2, "recipe missing.toml"),
        (["m", "--recipe", "broken.toml"], 2, "recipe broken.toml, line 2: unknown key ruel"),
        (["m", *RULE, "--baseline", "missing.json"], 2, "baseline missing.json"),
        (["m", *RULE, "--rtol", "2"], 2, "--rtol takes a number from 0 to 1"),
        (["missing", *RULE], 3, "missing: there is no such file"),
        (["m", "-r", "nothing max_norm=1 axis=0"], 2, "'nothing' matches no tensor in m"),
    ],
)
def test_a_fault_is_in_the_json_whatever_it_is_of(call, words, code, problem):
    """One strict document with the sentence among its diagnostics, which is also on stderr."""
    Path("broken.toml").write_text("version = 1\nruel = 3\n")
    result = call("check", *words, "-f", "json")
    (fault,) = result.report["diagnostics"]

    assert (result.code, result.report["exit_code"]) == (code, code)
    assert problem in fault["message"]
    assert f"error: {fault['message']}" in result.stderr


def test_a_constraint_that_cannot_tell_is_a_fault_of_its_own(call):
    """Its `contains` raises, or returns what broadcasts to nothing: no defect of wproj."""
    for body in ("raise ZeroDivisionError('no')", "return [True] * 17"):
        source = f"import wproj\nclass Own(wproj.Constraint):\n  def contains(self, w): {body}\n"
        Path("own.py").write_text(source)
        result = call("check", "m", "-r", "a.weight own.py:Own")

        assert result.code == 3
        assert "m: a.weight: own.contains failed: " in result.stderr
        assert "the constraint's own code raised this" in result.stderr
        assert "internal fault" not in result.stderr
