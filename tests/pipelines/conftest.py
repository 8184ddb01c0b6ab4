"""Where pipelines run: a folder with checkpoints, and a copy of the repository as it stands."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ("WPROJ_FORMAT", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PYTHONPATH")
PIPELINES = ("GITHUB_", "RUNNER_", "INPUT_", "GIT_", "PRE_COMMIT")

# What pip says when it cannot reach an index, in any version and in any of its sentences.
UNREACHABLE = ("connection", "timed out", "timeout", "unreachable", "name resolution", "retrying")


@pytest.fixture
def clean():
    """The environment without what a pipeline around the tests has set, `wproj` on its path."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in SETTINGS and not name.startswith(PIPELINES)
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    return kept | {"PATH": path, "PIP_RETRIES": "1"}


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A model that is outside its declared constraints, and one that is inside; to be copied."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copy(ROOT / "sample_weights/digits_cnn.keras", folder / "red.keras")
    words = ["project", "red.keras", "--declared", "-q", "-o", "green.keras"]
    subprocess.run([sys.executable, "-m", "wproj_cli", *words], cwd=folder, check=True)
    return folder


@pytest.fixture
def home(tmp_path, models):
    """A folder with a model that is outside its declared constraints, and one that is inside."""
    folder = tmp_path / "home"
    shutil.copytree(models, folder / "models")
    return folder


@pytest.fixture(scope="session")
def working_tree(tmp_path_factory):
    """A repository of one commit: the files of this one as they are now, committed or not."""
    if not (ROOT / ".git").exists():
        pytest.skip("these are not the files of a clone")
    folder = tmp_path_factory.mktemp("repository") / "wproj"
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    commit_all(folder)
    return folder


@pytest.fixture
def commit():
    """Makes a folder a repository with all of it in one commit."""
    return commit_all


@pytest.fixture
def skip_without_index():
    """Skips the test if a run failed for want of a package index, but never where `CI` is true."""

    def skip(run):
        said = f"{run.stdout}{run.stderr}".lower()
        offline = run.returncode != 0 and any(word in said for word in UNREACHABLE)
        if offline and os.environ.get("CI", "").lower() not in ("true", "1"):
            pytest.skip("pip cannot reach a package index, which an environment needs")

    return skip


def commit_all(folder):
    """Makes `folder` a repository; returns its commit."""
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.invalid"]
    git("init", "--quiet", cwd=folder)
    git("add", "--all", "--force", cwd=folder)
    git(*who, "commit", "--quiet", "--no-verify", "-m", "All of it", cwd=folder)
    return git("rev-parse", "HEAD", cwd=folder).strip()


def git(*words, cwd):
    """Runs git, apart from the settings of whoever runs the tests; returns what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    run = subprocess.run(
        ["git", *words],
        cwd=cwd,
        env=kept | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout
