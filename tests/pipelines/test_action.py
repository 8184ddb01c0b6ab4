"""The action for GitHub: its step, run by bash as a runner does, with the environment of one."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow  # Each starts processes of its own, one after the other.

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
(STEP,) = ACTION["runs"]["steps"]
DOCUMENTS = ("README.md", "docs/ci.md")

HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    '"; touch pwned; "',
    "'; touch pwned; '",
    "x\ntouch pwned\n",
    "${{ github.token }} $HOME",
    "* --exit-zero",
    "--exit-zero",
    "-",
    "%0A::set-output name=exit-code::0",
]


class Result:
    """What a run of the step left behind."""

    def __init__(self, run, outputs, summary):
        self.exit_code = run.returncode
        self.log = run.stdout + run.stderr
        self.outputs = dict(line.split("=", 1) for line in outputs.splitlines())
        self.summary = summary


@pytest.fixture
def act(clean, home, tmp_path):
    """Runs the step with inputs, as the runner does, in the folder with the models.

    Unless told otherwise with the `wproj` on the path, so that nothing is downloaded.
    """
    temp = tmp_path / "runner temp"
    temp.mkdir()

    def run(variables=None, cwd=home, **inputs):
        given = {"version": "installed"} | {k.replace("_", "-"): v for k, v in inputs.items()}
        paths = {
            "GITHUB_OUTPUT": temp / "output.txt",
            "GITHUB_STEP_SUMMARY": temp / "summary.md",
            "RUNNER_TEMP": temp,
            "GITHUB_ACTION_PATH": ROOT,
        }
        for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
            paths[name].write_text("")
        told = {name: evaluate(text, given) for name, text in STEP["env"].items()}
        script = temp / "step.sh"
        script.write_text(STEP["run"], encoding="utf-8")
        answer = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", script],
            cwd=cwd,
            env=clean | {k: str(v) for k, v in paths.items()} | told | (variables or {}),
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        return Result(
            answer,
            paths["GITHUB_OUTPUT"].read_text(encoding="utf-8"),
            paths["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8"),
        )

    return run


def evaluate(text, given):
    """The text with the values of inputs, or their defaults, in place of its expressions."""
    unknown = set(given) - set(ACTION["inputs"])
    assert not unknown, f"no inputs of the action: {unknown}"

    def value(found):
        return given.get(found[1], ACTION["inputs"][found[1]].get("default"))

    return re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", value, text)


def uses(document):
    """The steps in the yaml blocks of a document that use the action."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    steps = [step for block in blocks for step in listed(yaml.safe_load(block))]
    return [step for step in steps if "/wproj@" in step.get("uses", "")]


def listed(found):
    """The steps of a block: a list of them, a job, or a workflow."""
    if isinstance(found, list):
        return found
    jobs = found.get("jobs", {"job": found}).values()
    return [step for job in jobs if isinstance(job, dict) for step in job.get("steps", [])]


def test_the_script_holds_no_expression():
    """Inputs reach the shell as variables alone, and each of them does."""
    in_variables = re.findall(r"\$\{\{ inputs\.([a-z-]+) \}\}", " ".join(STEP["env"].values()))

    assert "${{" not in STEP["run"]
    assert sorted(in_variables) == sorted(ACTION["inputs"])
    assert STEP["shell"] == "bash"
    assert ACTION["runs"]["using"] == "composite"


def test_every_input_and_output_is_described_and_documented():
    """`docs/ci.md` has a row for each, and the action has nothing else."""
    text = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    for kind in ("inputs", "outputs"):
        (table,) = re.findall(rf"^\| {kind[:-1]} \|.*\n\|.*\n((?:\|.*\n)+)", text, re.MULTILINE)

        assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == list(ACTION[kind])
        assert all(described["description"] for described in ACTION[kind].values())


def test_a_model_outside_is_red_with_annotations_a_summary_and_a_report(act, home):
    """The exit code is that of the check, and everything that a reader needs is there."""
    result = act(files="models/red.keras", declared="true")
    report = json.loads(Path(result.outputs["report"]).read_text(encoding="utf-8"))

    assert result.exit_code == 1
    assert result.outputs["exit-code"] == "1"
    assert result.log.count("::error ") == 2
    assert "conv1/kernel: 14 of 16 vectors outside max_norm=1" in result.log
    assert "| `conv1/kernel` |" in result.summary
    assert (report["command"], report["exit_code"]) == ("check", 1)
    assert [file["path"] for file in report["files"]] == ["models/red.keras"]
    assert {path.name for path in home.iterdir()} == {"models"}


def test_a_model_inside_is_green(act):
    """No error, exit code 0, and the verdict in the summary."""
    result = act(files="models/green.keras", declared="true")

    assert (result.exit_code, result.outputs["exit-code"]) == (0, "0")
    assert "::error" not in result.log
    assert "no findings" in result.summary


def test_files_are_patterns_a_line_each(act):
    """They are expanded by wproj, not by the shell; empty lines do not count."""
    result = act(files="models/g*.keras\n\n  models/r?d.keras\n", declared="true")
    report = json.loads(Path(result.outputs["report"]).read_text(encoding="utf-8"))

    assert result.exit_code == 1
    assert [f["path"] for f in report["files"]] == ["models/green.keras", "models/red.keras"]


def test_a_recipe_is_found_or_named(act, home, clean):
    """`wproj.toml` is taken if there is one; an input names another."""
    other = home / "my rules/weights.toml"
    other.parent.mkdir()
    words = ["wproj", "init", "models/red.keras", "-o"]
    subprocess.run([*words, "wproj.toml"], cwd=home, env=clean, check=True)
    shutil.move(home / "wproj.toml", other)
    without = act(files="models/red.keras")
    named = act(files="models/red.keras", recipe="my rules/weights.toml")
    shutil.move(other, home / "wproj.toml")
    found = act(files="models/red.keras")

    assert [without.exit_code, named.exit_code, found.exit_code] == [2, 1, 1]
    assert "file=my rules/weights.toml,line=" in named.log


def test_args_are_words_as_in_a_shell(act):
    """Quotes keep words together, lines part them, and patterns stay patterns."""
    rule = "-r 'conv*/kernel max_norm=9 axis=0,1,2'\n--rtol 0 \"--exclude\" conv2/*"
    result = act(files="models/red.keras", args=rule)
    report = json.loads(Path(result.outputs["report"]).read_text(encoding="utf-8"))
    (file,) = report["files"]

    assert result.exit_code == 0
    assert [t["name"] for t in file["tensors"] if t["status"] == "ok"] == ["conv1/kernel"]
    assert file["rules"][0]["rule"] == "conv*/kernel max_norm=9 axis=0,1,2"


@pytest.mark.parametrize("name", ["files", "recipe", "declared", "args", "version"])
@pytest.mark.parametrize("value", HOSTILE)
def test_no_input_is_ever_run(act, home, tmp_path, name, value):
    """Whatever an input says, it is text: nothing is executed, and no red becomes green."""
    before = sorted(path.relative_to(tmp_path) for path in home.rglob("*"))
    inputs = {"files": "models/red.keras", "declared": "true"} | {name: value}
    result = act(**inputs)

    assert not list(tmp_path.rglob("*pwned*"))
    assert sorted(path.relative_to(tmp_path) for path in home.rglob("*")) == before
    assert result.outputs["exit-code"] == str(result.exit_code)
    if name == "args" and "--exit-zero" in value:
        assert result.exit_code in (0, 2, 3)  # That is what it asks for.
    else:
        assert result.exit_code in (1, 2, 3)


def test_a_file_of_a_hostile_name_is_a_file(act, home):
    """Spaces, quotes, dollars and a leading dash: the name is taken as it is."""
    name = "-x $(touch pwned) 'a' \"b\" `c` 100%.keras"
    shutil.copy(home / "models/red.keras", home / name)
    result = act(files=name, declared="true")
    report = json.loads(Path(result.outputs["report"]).read_text(encoding="utf-8"))

    assert result.exit_code == 1
    assert [file["path"] for file in report["files"]] == [name]
    assert not (home / "pwned").exists()


@pytest.mark.parametrize(
    ("inputs", "code", "said"),
    [
        ({"files": ""}, 2, "no checkpoint is given"),
        ({"files": "models/none.keras"}, 3, "models/none.keras"),
        ({"files": "models/red.keras", "declared": "yes"}, 2, "declared is true or false"),
        ({"files": "models/red.keras", "args": "it's"}, 2, "a quote without its other half"),
        ({"files": "models/red.keras", "version": "latest"}, 2, "the input version is"),
        ({"files": "models/red.keras", "version": "-evil"}, 2, "the input version is"),
        ({"files": "models/red.keras", "version": "@ file:///x"}, 2, "the input version is"),
    ],
)
def test_a_fault_is_never_the_exit_code_of_a_finding(act, inputs, code, said):
    """A request that cannot be meant is 2, work that could not be done is 3."""
    result = act(**{"declared": "true"} | inputs)

    assert (result.exit_code, result.outputs["exit-code"]) == (code, str(code))
    assert said in result.log
    assert "::error" in result.log


def test_an_installation_that_fails_is_exit_3(act):
    """Nothing is told of the weights, so it is not 1, whatever pip exits with."""
    variables = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    result = act(variables, files="models/green.keras", declared="true", version="0.0.0.dev0")

    assert (result.exit_code, result.outputs["exit-code"]) == (3, "3")
    assert "pip could not install wproj" in result.log


def test_without_a_wproj_on_the_path_installed_is_exit_3(act, tmp_path):
    """The word is not taken for a version."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "mktemp", "xargs", "printf"):
        (programs / name).symlink_to(shutil.which(name))
    result = act({"PATH": str(programs)}, files="models/green.keras", declared="true")

    assert (result.exit_code, result.outputs["exit-code"]) == (3, "3")
    assert "there is no wproj on the path" in result.log


def test_a_python_that_is_too_old_is_named(act, tmp_path):
    """The message says which step is missing."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("python", "python3"):
        (programs / name).write_text("#!/bin/sh\nexit 1\n")
        (programs / name).chmod(0o755)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    result = act({"PATH": path}, files="models/green.keras", declared="true", version="")

    assert result.exit_code == 3
    assert "actions/setup-python" in result.log


def test_it_also_runs_where_there_is_no_summary(act):
    """Runners other than GitHub's may know neither outputs nor summaries."""
    nothing = {"GITHUB_STEP_SUMMARY": "", "GITHUB_OUTPUT": ""}
    result = act(nothing, files="models/red.keras", declared="true")

    assert result.exit_code == 1
    assert (result.outputs, result.summary) == ({}, "")


def test_the_code_of_the_action_is_what_runs(act, home, working_tree, clean, skip_without_index):
    """Without a version the checkout of the action is installed, apart from everything else."""
    (home / "pip.py").write_text("raise SystemExit('the working directory is not a library')\n")
    result = act(
        {"GITHUB_ACTION_PATH": str(working_tree)},
        files="models/*.keras",
        declared="true",
        version="",
    )
    skip_without_index(subprocess.CompletedProcess([], result.exit_code, result.log, ""))
    report = json.loads(Path(result.outputs["report"]).read_text(encoding="utf-8"))
    (program,) = Path(result.outputs["report"]).parent.glob("venv/*/wproj*")

    assert result.exit_code == 1, result.log
    assert [f["path"] for f in report["files"]] == ["models/green.keras", "models/red.keras"]
    asked = subprocess.run([program, "-V"], env=clean, capture_output=True, text=True, check=True)
    assert asked.stdout == f"wproj {report['tool']['version']}\n"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_workflows_in_the_documents_run(act, home, clean, document):
    """Their inputs are inputs of the action: red before the projection, green after it."""
    found = uses(document)
    for name in ("wproj.toml", "policies/weights.toml"):
        (home / name).parent.mkdir(exist_ok=True)
        words = ["wproj", "init", "models/red.keras", "-o", name]
        subprocess.run(words, cwd=home, env=clean, check=True)
        # One of the examples changes a rule of this name.
        text = (
            (home / name).read_text(encoding="utf-8").replace('id = "conv1/kernel"', 'id = "conv"')
        )
        (home / name).write_text(text, encoding="utf-8")
    (home / "runs/one").mkdir(parents=True)
    shutil.copy(home / "models/red.keras", home / "runs/one/last.safetensors")  # By its content.

    assert found != []
    red = [act(**step["with"]).exit_code for step in found]
    for path in (home / "models/red.keras", home / "runs/one/last.safetensors"):
        shutil.copy(home / "models/green.keras", path)
    green = [act(**step["with"]).exit_code for step in found]

    assert (red, green) == ([1] * len(found), [0] * len(found))


def test_the_shortest_workflow_is_four_lines():
    """What the README shows is the checkout and the gate."""
    text = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    block = next(b for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "wproj@" in b)

    assert len(block.splitlines()) == 4
    assert len(uses("docs/ci.md")) == 2
