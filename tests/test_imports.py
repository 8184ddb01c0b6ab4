"""The doors between the rooms, what a start imports, and the lazy public names."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

import wproj

ROOT = Path(__file__).resolve().parent.parent

# A room imports from lower floors, and from itself.
FLOORS = {
    "wproj.errors": 1,
    "wproj.dtypes": 1,
    "wproj.measures": 1,
    "wproj.report": 1.5,
    "wproj.packed_reports": 1.6,
    "wproj.summarizing": 2,
    "wproj.formats": 2,
    "wproj.numerics": 2,
    "wproj.constraints": 3,
    "wproj.selection": 4,
    "wproj.resources": 2.5,
    "wproj.scratch": 2.5,
    "wproj.unpacking": 3,
    "wproj.streaming": 4,
    "wproj.judging": 3.5,
    "wproj.tallying": 4,
    "wproj.measuring": 4.2,
    "wproj.engine": 4.5,
    "wproj.reporting": 4.5,
    "wproj.journal": 4.6,
    "wproj.writing": 4.8,
    "wproj.schemas": 5,
    "wproj.baselines": 5,
    "wproj.projecting": 5,
    "wproj.auditing": 5,
    "wproj.checking": 5,
    "wproj.diffing": 5,
    "wproj.explaining": 5,
    "wproj.ties": 5,
    "wproj_cli": 6,
}
BLIND_TO_FORMATS = ("wproj.constraints", "wproj.selection")
TERMINAL = ("typer", "rich", "wproj_cli")
FRAMEWORKS = ("torch", "jax", "jaxlib", "keras", "tensorflow", "cupy")


def read_sources() -> dict[str, str]:
    """The source of every module of both packages, by dotted name."""
    found = {}
    for folder in (ROOT / "core", ROOT / "cli"):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return found


def room_of(module: str) -> str | None:
    """The room that a module belongs to; None for other libraries, and for `wproj` itself."""
    return next((r for r in FLOORS if module == r or module.startswith(f"{r}.")), None)


def is_below(module: str, package: str) -> bool:
    """Whether `module` is `package` or something in it."""
    return module == package or module.startswith(f"{package}.")


def imports_of(module: str, sources: Mapping[str, str]) -> Iterator[str]:
    """Every module that `module` imports, wherever in its source, by absolute name."""
    package = any(other.startswith(f"{module}.") for other in sources)
    home = module.split(".") if package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(sources[module])):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = home[: len(home) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                member = f"{base}.{alias.name}"
                yield member if member in sources else base


def open_doors(sources: Mapping[str, str]) -> list[str]:
    """A sentence for every import that goes through a door that is to be shut."""
    found = []
    for module in sources:
        if module == "wproj":
            continue
        for imported in imports_of(module, sources):
            named = any(is_below(imported, name) for name in FRAMEWORKS)
            problem = "no framework is imported by name" if named else objection(module, imported)
            if problem:
                found.append(f"{module} imports {imported}: {problem}")
    return found


def objection(module: str, imported: str) -> str | None:
    """Why `module` may not import `imported`; None if it may."""
    room, target = room_of(module), room_of(imported)
    if room is None:
        return "the room has no floor; give it one here and in the architecture"
    if room == "wproj_cli":
        return "the command line knows `wproj` only" if imported.startswith("wproj.") else None
    if any(is_below(imported, name) for name in TERMINAL):
        return "the library knows no terminal"
    if imported == "wproj":
        return None if room == "wproj.reporting" else "only the report needs the version"
    if target is None:
        return "the room has no floor" if imported.startswith("wproj.") else None
    if room in BLIND_TO_FORMATS and target == "wproj.formats" and imported != "wproj.formats.base":
        return "it never sees a file format"
    if room != target and FLOORS[target] >= FLOORS[room]:
        return f"floor {FLOORS[target]:g} is not below floor {FLOORS[room]:g}"
    return None


def test_a_room_imports_only_from_floors_below_it() -> None:
    """No module of the two packages goes through a shut door."""
    sources = read_sources()

    assert len(sources) > 25
    assert open_doors(sources) == []


def test_every_room_has_modules() -> None:
    """A floor without a module would say that a room was renamed, and that nothing guards it."""
    rooms = {room_of(module) for module in read_sources()} - {None}

    assert rooms == set(FLOORS)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wproj.dtypes", "from wproj.numerics.norms import Norms"),
        ("wproj.errors", "import wproj.dtypes"),
        ("wproj.numerics.norms", "from wproj.formats.base import Store"),
        ("wproj.numerics.norms", "from wproj.constraints import MaxNorm"),
        ("wproj.formats.hdf5", "def f():\n    from wproj.constraints.base import Constraint"),
        ("wproj.constraints.base", "from wproj.formats import hdf5"),
        ("wproj.constraints.base", "from wproj.formats.opening import open_checkpoint"),
        ("wproj.selection.globs", "import wproj.formats.safetensors"),
        ("wproj.selection.globs", "from wproj.streaming import project_tensor"),
        ("wproj.selection.globs", "from wproj import MaxNorm"),
        ("wproj.selection.globs", "from .. import streaming"),
        ("wproj.streaming", "from wproj.selection.plan import Plan"),
        ("wproj.streaming", "from wproj import reporting"),
        ("wproj.auditing", "from wproj.projecting import plan"),
        ("wproj.projecting", "if TYPE_CHECKING:\n    from wproj.auditing import audit"),
        ("wproj.projecting", "import typer"),
        ("wproj.projecting", "from rich.console import Console"),
        ("wproj.projecting", "import wproj_cli.main"),
        ("wproj.constraints.arrays", "import torch"),
        ("wproj.constraints.arrays", "def f():\n    from jax import numpy"),
        ("wproj_cli.main", "import keras.saving"),
        ("wproj.extra", "import os"),
        ("wproj.projecting", "import wproj.extra"),
        ("wproj_cli.main", "import wproj.errors"),
        ("wproj_cli.main", "from wproj.errors import WprojError"),
        ("wproj_cli.main", "from wproj import formats"),
    ],
)
def test_a_door_that_is_open_is_reported(module: str, source: str) -> None:
    """The guard itself can fail: each of these imports is one objection."""
    sources = dict.fromkeys(read_sources(), "") | {module: source}

    assert len(open_doors(sources)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wproj.constraints.base", "from wproj.formats.base import Store"),
        ("wproj.selection.globs", "from wproj.formats import base"),
        ("wproj.selection.globs", "from .axes import incoming"),
        ("wproj.streaming", "from wproj.formats.hdf5 import open_hdf5"),
        ("wproj.reporting", "import wproj"),
        ("wproj.projecting", "from wproj.selection import plan"),
        ("wproj_cli.main", "import wproj, typer\nfrom wproj import MaxNorm"),
    ],
)
def test_a_door_that_may_be_used_is_not_reported(module: str, source: str) -> None:
    """The guard lets through what the architecture allows."""
    sources = dict.fromkeys(read_sources(), "") | {module: source}

    assert open_doors(sources) == []


def imported_at_start(*words: str) -> set[str]:
    """The top-level packages that `wproj WORDS` imports."""
    command = [sys.executable, "-X", "importtime", "-m", "wproj_cli", *words]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = re.findall(r"^import time:.*\| +(\S+)$", run.stderr, flags=re.MULTILINE)
    return {line.partition(".")[0] for line in lines}


def test_the_version_is_told_without_importing_the_parser() -> None:
    """`--version` imports neither Typer nor anything numeric."""
    imported = imported_at_start("--version")

    assert "wproj" in imported
    assert imported.isdisjoint({"typer", "numpy", "h5py", "safetensors", "msgspec", "rich"})


@pytest.mark.parametrize("words", [["--help"], ["project", "--help"], ["ls", "--help"]], ids=str)
def test_help_is_told_without_importing_numbers(words: list[str]) -> None:
    """`--help` imports the parser, and neither numbers nor formats nor colors."""
    imported = imported_at_start(*words)

    assert "typer" in imported
    assert imported.isdisjoint({"numpy", "h5py", "safetensors", "ml_dtypes", "rich"})


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system tells of no thread")
def test_at_a_start_no_other_thread_keeps_a_processor_busy() -> None:
    """Those of NumPy's BLAS wait asleep."""
    program = """
import pathlib, time, wproj_cli.main
wproj_cli.main.main(["--help"])
import numpy
time.sleep(0.2)
tasks = sorted(pathlib.Path("/proc/self/task").iterdir(), key=lambda task: int(task.name))
stats = [(task / "stat").read_text().rpartition(")")[2].split() for task in tasks]
print([int(user) + int(system) for user, system in (stat[11:13] for stat in stats)])
"""
    command = [sys.executable, "-c", program]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS_", "OMP_"))}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=clean)
    main, *others = json.loads(run.stdout.splitlines()[-1])

    assert sum(others) * 4 <= main


def test_importing_the_library_imports_nothing_else() -> None:
    """`import wproj` costs nothing until a name is used."""
    program = "import sys, wproj; print(*[m for m in sys.modules if m.startswith('wproj.')])"
    command = [sys.executable, "-c", f"{program}; print('numpy' in sys.modules)"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)

    assert run.stdout.split() == ["False"]


@pytest.mark.parametrize("given", ["[3.0]", "(3.0,)", "numpy.ones(2)", "numpy.float32(3)", "3.0"])
def test_constraints_of_numpys_arrays_import_no_array_library(given: str) -> None:
    """What other frameworks need is imported with the first of their arrays."""
    program = f"import sys, numpy, wproj; wproj.MaxNorm(2, axis=None)({given})"
    command = [sys.executable, "-c", f"{program}; print(*sys.modules)"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {module.partition(".")[0] for module in run.stdout.split()}

    assert "numpy" in imported
    assert imported.isdisjoint({"array_api_compat", *FRAMEWORKS})


def declared_homes() -> dict[str, str]:
    """The names that the TYPE_CHECKING block of `wproj` imports, and from where."""
    tree = ast.parse((ROOT / "core/wproj/__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(block.body)
    aliases = [(node.module or "", alias) for node in imports for alias in node.names]
    assert all(alias.asname == alias.name for _, alias in aliases)
    return {alias.name: module for module, alias in aliases}


def test_what_type_checkers_see_is_what_is_imported() -> None:
    """The lazy names and the TYPE_CHECKING block list the same names from the same modules."""
    lazy = {name: f"wproj.{home}" for name, home in wproj._HOMES.items()}

    assert declared_homes() == lazy | {"constraints": "wproj"}


@pytest.mark.parametrize("name", sorted(wproj._HOMES))
def test_every_public_name_resolves(name: str) -> None:
    """A lazy name is the object of that name in its home."""
    home = importlib.import_module(f"wproj.{wproj._HOMES[name]}")

    assert getattr(wproj, name) is getattr(home, name)
    assert name in dir(wproj)


def test_all_names_what_is_public() -> None:
    """`from wproj import *` gives the public names, each once, and nothing more."""
    public = sorted(["__version__", "constraints", *wproj._HOMES])

    assert sorted(wproj.__all__) == public
    assert dir(wproj) == public
    assert isinstance(wproj.constraints, ModuleType)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    """The lazy import does not turn a typing mistake into something else."""
    with pytest.raises(AttributeError, match="module 'wproj' has no attribute 'MaxNrm'"):
        wproj.MaxNrm  # noqa: B018 # the attribute is what is tried
