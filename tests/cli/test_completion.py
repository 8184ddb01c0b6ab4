"""What the shells are told to complete: verbs, options, and tensors of the file already typed."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

import wproj
from wproj_cli import completion

ROOT = Path(__file__).resolve().parents[2]
MODEL = "sample_weights/digits_cnn.keras"
SHELLS = ("bash", "zsh", "fish")
VERBS = {"ls", "audit", "project", "check", "diff", "explain", "init", "schema"}
CONV1 = {"conv1/kernel", "conv1/bias"}


def asked(shell, line):
    """The variables by which the script of a shell asks how `line` goes on."""
    if shell == "bash":
        words = line.split(" ")
        return {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    told = {"_TYPER_COMPLETE_ARGS": line}
    return told if shell == "zsh" else told | {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}


def values(shell, text):
    """What a shell would offer, from the answer in its own protocol."""
    if shell != "zsh":
        return {line.partition("\t")[0] for line in text.splitlines() if line}
    inside = text.strip().removeprefix("_arguments '*: :((").removesuffix("))'")
    return {line.split('"')[1] for line in inside.splitlines()} if inside != "_files" else set()


@pytest.fixture
def complete(tmp_path):
    """Asks the program itself how a line goes on; returns what it offers."""
    (tmp_path / "sample_weights").mkdir()
    for name in ("digits_cnn.keras", "digits_mlp_pt.safetensors"):
        shutil.copy(ROOT / "sample_weights" / name, tmp_path / "sample_weights")

    def run(shell, line):
        program = shutil.which("wproj", path=Path(sys.executable).parent)
        answer = subprocess.run(
            [program],
            cwd=tmp_path,
            env=os.environ | asked(shell, line) | {"_WPROJ_COMPLETE": f"complete_{shell}"},
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert (answer.returncode, answer.stderr) == (0, "")
        return values(shell, answer.stdout)

    return run


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shells_are_told_verbs_options_and_tensors(complete, shell):
    """Through the entry point, in the protocol of each shell."""
    assert complete(shell, "wproj ") == VERBS
    assert complete(shell, "wproj project x --nu") == {"--numerics"}
    assert complete(shell, "wproj project x --numerics ") == {"exact", "keras"}
    assert complete(shell, f"wproj project {MODEL} -m conv1") == CONV1
    assert complete(shell, f"wproj check {MODEL} --declared --exclude conv1") == CONV1


@pytest.mark.parametrize(
    "line",
    [
        f"wproj ls {MODEL} -m conv1",
        f"wproj audit none.h5 {MODEL} -m hidden -x conv1",
        f"wproj explain --layout keras {MODEL} -c max_norm=1 -m conv1",
        f"wproj check README.md {MODEL} -f json -m conv1",
        f"wproj project {MODEL} -o out.keras --match conv1",
    ],
)
def test_the_file_may_stand_anywhere_before(complete, line):
    """Also beside files that are none, after other options, and behind other patterns."""
    assert complete("fish", line) == CONV1


@pytest.mark.parametrize(
    "line",
    [
        "wproj ls -m conv1",
        "wproj ls none.h5 -m conv1",
        f"wproj ls {MODEL} -m nothing",
        "wproj ls sample_weights -m conv1",
        f"wproj ls {MODEL} -a conv1",
        f"wproj nonsense {MODEL} -m conv1",
    ],
)
def test_where_there_is_nothing_to_offer_it_is_silent(complete, line):
    """No message ever ends up in the line that somebody types."""
    assert complete("fish", line) <= VERBS
    assert complete("zsh", line) <= VERBS


def test_a_file_below_the_home_folder_is_found(complete, tmp_path, monkeypatch):
    """The shell leaves a tilde as it was typed."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    assert complete("bash", f"wproj ls ~/{MODEL} -m conv1") == CONV1


def test_only_names_that_no_shell_evaluates_are_offered(complete, tmp_path):
    """A checkpoint from anywhere cannot make a shell run what its names say."""
    evil = ["$(touch pwned)", "`touch pwned`", "\\$(touch pwned)", "a b", "a;b", "a'b", 'a"b', "-x"]
    evil += ["*", "a\nb", "~", "a:b", "a|b", "<a", "#a"]
    names = [*evil, "layer-1.w_0/kernel"]
    tensors = {name: np.zeros(1, np.float32) for name in names}
    save_file(tensors, tmp_path / "evil.safetensors")

    for shell in SHELLS:
        assert complete(shell, "wproj ls evil.safetensors -m ") == {"layer-1.w_0/kernel"}


def test_many_names_are_offered_by_layers(complete, tmp_path):
    """A model of thousands of tensors offers its layers, then what is in one of them."""
    kinds = ("q_proj", "k_proj", "mlp.up", "mlp.down")
    names = [f"model.layers.{i}.{kind}.weight" for i in range(100) for kind in kinds]
    tensors = {name: np.zeros(1, np.float32) for name in names}
    save_file(tensors, tmp_path / "large.safetensors")
    layers = complete("bash", "wproj ls large.safetensors -m ")

    assert layers == {f"model.layers.{i}" for i in range(100)}
    assert complete("bash", "wproj ls large.safetensors -m model.layers.7.") == {
        f"model.layers.7.{kind}.weight" for kind in kinds
    }
    assert all(
        wproj.select_any([name], wproj.open_checkpoint(tmp_path / "large.safetensors"))
        for name in layers
    )


def test_never_more_than_can_be_read():
    """The number of offers is bounded, and each of them begins with what was typed."""
    flat = [f"w{i}" for i in range(1000)]
    deep = [f"a.b.c{i}.d{j}" for i in range(300) for j in range(2)]

    assert len(completion.offered(flat, "")) == 200
    assert len(completion.offered(deep, "a.")) == 200
    assert completion.offered(deep, "a.b.c299.") == ["a.b.c299.d0", "a.b.c299.d1"]
    assert all(name.startswith("w1") for name in completion.offered(flat, "w1"))
    assert completion.offered(["x", "x"], "") == ["x"]


def test_a_file_that_takes_too_long_is_given_up(monkeypatch):
    """A shell waits for the answer, so there is one in time."""
    monkeypatch.setattr(wproj, "open_checkpoint", lambda *_args, **_how: time.sleep(30))
    monkeypatch.setattr(completion, "_PATIENCE", 0.05)
    line = SimpleNamespace(args=["slow.h5"], params={"files": None})
    start = time.monotonic()

    assert completion.tensor_names(line, "") == []
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_each_shell_can_be_shown(shell):
    """`--show-completion` prints what a shell is to evaluate."""
    program = shutil.which("wproj", path=Path(sys.executable).parent)
    run = subprocess.run(
        [program],
        env=os.environ | {"_WPROJ_COMPLETE": f"source_{shell}"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert (run.returncode, run.stderr) == (0, "")
    assert f"_WPROJ_COMPLETE=complete_{shell}" in run.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_itself_completes_a_tensor(tmp_path):
    """The script, evaluated by bash, and its function called as a tab does."""
    shutil.copy(ROOT / MODEL, tmp_path / "model.keras")
    script = """
        eval "$(_WPROJ_COMPLETE=source_bash wproj)"
        COMP_WORDS=(wproj ls model.keras -m conv1) COMP_CWORD=4
        _wproj_completion wproj
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    run = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert (run.returncode, run.stderr) == (0, "")
    assert set(run.stdout.split()) == CONV1
