"""The hook for pre-commit, run for real: a repository that uses it, an environment of its own."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))


def documented():
    """The configuration that `docs/ci.md` shows."""
    text = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if "wproj-check" in block]
    return yaml.safe_load(block)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where pre-commit keeps environments: one installation for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def pre_commit(home, clean, cache, working_tree, commit, skip_without_index):
    """Runs pre-commit in the folder with the models, with a configuration as in the document."""

    def run(*words, config=None, **changes):
        config = config or documented()
        (entry,) = config["repos"]
        head = (working_tree / ".git/HEAD").read_text().split()[-1]
        commit_id = (working_tree / ".git" / head).read_text().strip()
        entry |= {"repo": str(working_tree), "rev": commit_id}
        entry["hooks"][0] |= changes
        (home / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
        commit(home)
        answer = subprocess.run(
            [sys.executable, "-m", "pre_commit", "run", "--all-files", "--verbose", *words],
            cwd=home,
            env=clean | {"PRE_COMMIT_HOME": str(cache), "GIT_CONFIG_COUNT": "0"},
            capture_output=True,
            encoding="utf-8",
            timeout=600,
            check=False,
        )
        skip_without_index(answer)
        return answer

    return run


@pytest.fixture
def recipe(home, clean):
    """A recipe for the model, where the hook finds it."""
    subprocess.run(["wproj", "init", "models/red.keras"], cwd=home, env=clean, check=True)
    return home / "wproj.toml"


def test_the_hook_checks_and_does_nothing_else():
    """It writes to no file, and is told all files at once, so that one report is about all."""
    assert HOOK["id"] == "wproj-check"
    assert HOOK["entry"] == "wproj check"
    assert HOOK["language"] == "python"
    assert HOOK["require_serial"] is True


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("models/a.keras", True),
        ("a.weights.h5", True),
        ("A.H5", True),
        ("deep/er/b.hdf5", True),
        ("model-00001-of-00002.safetensors", True),
        ("model.keras.py", False),
        ("h5", False),
        ("model.safetensors.index.json", False),
    ],
)
def test_the_hook_takes_checkpoints_by_their_names(name, taken):
    """The expression of the hook is searched in the path of each file."""
    assert bool(re.search(HOOK["files"], name)) is taken


@pytest.mark.usefixtures("recipe")
def test_a_commit_with_a_model_outside_is_refused_and_left_alone(pre_commit, home):
    """Red with the sentence of the check for both models at once; green when the red one is."""
    before = {path: path.read_bytes() for path in (home / "models").iterdir()}
    red = pre_commit()
    after = {path: path.read_bytes() for path in (home / "models").iterdir()}
    shutil.copy(home / "models/green.keras", home / "models/red.keras")
    green = pre_commit()

    assert red.returncode == 1, red.stdout + red.stderr
    assert "exit code: 1" in red.stdout
    assert "conv1/kernel: 14 of 16 vectors outside max_norm=1" in red.stdout
    assert "12 tensors of 2 files checked, 2 failed" in red.stdout
    assert after == before
    assert green.returncode == 0, green.stdout + green.stderr
    assert "12 tensors of 2 files checked, 0 failed" in green.stdout


@pytest.mark.usefixtures("recipe")
def test_the_hook_by_itself_takes_every_checkpoint(pre_commit, home):
    """Without `files` and `args` it finds the recipe and everything that looks like weights."""
    (home / "models/red.keras").rename(home / "elsewhere.H5")
    config = documented()
    config["repos"][0]["hooks"] = [{"id": "wproj-check"}]
    answer = pre_commit(config=config)

    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "12 tensors of 2 files checked, 2 failed" in answer.stdout
    assert "elsewhere.H5: keras" in answer.stdout


def test_without_a_recipe_the_hook_says_what_is_missing(pre_commit):
    """A repository that has no rules yet is told so; that is no finding."""
    answer = pre_commit(args=[])

    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "exit code: 2" in answer.stdout
    assert "wproj init" in answer.stdout


@pytest.mark.usefixtures("recipe")
def test_without_checkpoints_there_is_nothing_to_do(pre_commit, home):
    """A commit of other files is not held up."""
    shutil.rmtree(home / "models")
    (home / "README.md").write_text("no weights here\n")
    answer = pre_commit()

    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "Skipped" in answer.stdout
