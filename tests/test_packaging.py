"""The packages: what is in the sdist and the wheel, and that the wheel alone is enough."""

import email
import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import wproj

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]

# What pip says when it cannot reach an index.
UNREACHABLE = ("connection", "timed out", "timeout", "unreachable", "name resolution", "retrying")


def with_network(*command, cwd):
    """Runs a command that needs a package index; the test is skipped where there is none."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean | {"PIP_RETRIES": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = f"{run.stdout}{run.stderr}"
    if run.returncode and any(word in said.lower() for word in UNREACHABLE):
        pytest.skip("pip cannot reach a package index, which an isolated build needs")
    assert run.returncode == 0, said


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("packages")
    with_network(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def sdist(packages):
    """The path of the sdist."""
    (path,) = packages.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(packages):
    """The path of the wheel."""
    (path,) = packages.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The programs of a fresh environment into which only the wheel was installed."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    with_network(programs / "python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    return programs


@pytest.fixture
def run(installed, tmp_path):
    """Runs a program of the fresh environment, in a folder that holds a sample and nothing else."""
    shutil.copy(ROOT / "sample_weights/digits_cnn.h5", tmp_path)

    def run_program(program, *words):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "WPROJ"))}
        return subprocess.run(
            [str(installed / program), *words],
            cwd=tmp_path,
            env=clean,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    return run_program


def files_in_wheel(path):
    """The names of the files in a wheel."""
    with zipfile.ZipFile(path) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def files_in_sdist(path):
    """The names of the files in an sdist, without its folder."""
    with tarfile.open(path) as archive:
        return {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}


def read_metadata(text):
    """The metadata of a package."""
    return email.message_from_string(text)


# Of the program, and of the page that it writes.
PARTS = (".py", ".jinja", ".css", ".js")


def sources(folder, package):
    """The files of a package in the repository, as the wheel names them."""
    found = (ROOT / folder / package).rglob("*")
    kept = (path for path in found if path.suffix in PARTS or path.name == "py.typed")
    return {path.relative_to(ROOT / folder).as_posix() for path in kept}


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel):
    """Every source file and both `py.typed`; no tests, no `core`, no `cli`."""
    expected = sources("core", "wproj") | sources("cli", "wproj_cli")
    info = f"wproj-{wproj.__version__}.dist-info"
    code = {name for name in files_in_wheel(wheel) if not name.startswith(f"{info}/")}

    assert {"wproj/py.typed", "wproj_cli/py.typed", "wproj/formats/hdf5.py"} <= expected
    assert code == expected
    assert {name.partition("/")[0] for name in files_in_wheel(wheel)} == {
        "wproj",
        "wproj_cli",
        info,
    }


def test_the_wheel_has_its_license_and_its_program(wheel):
    """The license file is in the wheel, and `wproj` is its one console script."""
    info = f"wproj-{wproj.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        programs = archive.read(f"{info}/entry_points.txt").decode()

    assert f"{info}/licenses/LICENSE" in names
    assert programs.split() == ["[console_scripts]", "wproj", "=", "wproj_cli.main:main"]


def test_the_sdist_holds_the_tests_and_the_samples(sdist):
    """Whoever unpacks it can run the tests; nothing of a working folder comes along."""
    names = files_in_sdist(sdist)
    samples = {
        f"sample_weights/{p.name}" for p in (ROOT / "sample_weights").iterdir() if p.is_file()
    }

    assert f"tests/{Path(__file__).name}" in names
    assert "tests/real/test_real_weights.py" in names
    assert {"sample_weights/digits_cnn.h5", "sample_weights/make.py"} <= samples <= names
    assert {"pyproject.toml", "Makefile", "README.md", "LICENSE", "CHANGELOG.md"} <= names
    assert sources("core", "wproj") == {
        name.removeprefix("core/") for name in names if name.startswith("core/")
    }
    assert {name.partition("/")[0] for name in names if "/" in name} <= {
        "cli",
        "core",
        "docs",
        "sample_weights",
        "tests",
    }
    assert not any("__pycache__" in name or name.endswith(".whl") for name in names)


def test_the_version_is_the_same_everywhere(sdist, wheel, run):
    """In the names and the metadata of both packages, in the program, the module, the report."""
    version = wproj.__version__
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        in_wheel = read_metadata(archive.read(name).decode())
    with tarfile.open(sdist) as archive:
        in_sdist = read_metadata(archive.extractfile(f"wproj-{version}/PKG-INFO").read().decode())
    program = "import importlib.metadata, wproj; print(importlib.metadata.version('wproj'))"
    asked = run("python", "-c", f"{program}; print(wproj.__version__)")
    report = json.loads(run("wproj", "ls", "digits_cnn.h5", "-f", "json").stdout)

    assert sdist.name == f"wproj-{version}.tar.gz"
    assert wheel.name == f"wproj-{version}-py3-none-any.whl"
    assert (in_wheel["Version"], in_sdist["Version"]) == (version, version)
    assert asked.stdout.split() == [version, version]
    assert run("wproj", "--version").stdout == f"wproj {version}\n"
    assert report["tool"] == {"name": "wproj", "version": version}


def test_the_installed_program_projects_a_checkpoint(run, tmp_path):
    """`wproj project` from the wheel alone, in a folder that is not the repository."""
    words = ("digits_cnn.h5", "-m", "conv*/kernel", "-c", "max_norm=1", "-a", "0,1,2")
    first = run("wproj", "project", *words, "-o", "out.h5")
    again = run("wproj", "project", "out.h5", *words[1:], "--check")
    before = run("wproj", "project", *words, "--check")

    assert (first.returncode, first.stderr.count("max_norm=1")) == (0, 2)
    assert "2 changed; outside: 16 before, 0 after" in first.stdout
    assert (again.returncode, before.returncode) == (0, 1)
    assert (tmp_path / "out.h5").stat().st_size == (tmp_path / "digits_cnn.h5").stat().st_size


def test_the_module_runs_like_the_program(run):
    """`python -m wproj_cli` is `wproj`, and neither comes from the repository."""
    module = run("python", "-m", "wproj_cli", "ls", "digits_cnn.h5")
    program = run("wproj", "ls", "digits_cnn.h5")
    where = run(
        "python", "-c", "import wproj, wproj_cli; print(wproj.__file__, wproj_cli.__file__)"
    )

    assert module.returncode == program.returncode == 0
    assert module.stdout == program.stdout != ""
    assert str(ROOT) not in where.stdout
    assert where.stdout.count("site-packages") == 2


def test_the_fresh_environment_needs_no_framework(run):
    """What is installed is what the library needs: no Keras, no PyTorch, no test tools."""
    program = "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()))"
    names = run("python", "-c", program).stdout.lower().split()

    assert {"wproj", "numpy", "h5py", "safetensors", "typer"} <= set(names)
    assert set(names).isdisjoint({"keras", "tensorflow", "torch", "jax", "pytest", "hypothesis"})
