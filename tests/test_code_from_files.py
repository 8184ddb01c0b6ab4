"""No code comes from a file: nothing is evaluated, unpickled, run, or imported by a read name.

Beside ruff's rules, which see some of this, and the exceptions, each with its reason.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Modules whose purpose is to run code or programs, or whose formats can.
DANGEROUS = {
    *("cloudpickle", "code", "codeop", "copyreg", "ctypes", "dill", "imp", "joblib", "marshal"),
    *("multiprocessing", "pdb", "pickle", "pkgutil", "pty", "ruamel", "runpy", "shelve"),
    *("socket", "subprocess", "webbrowser", "yaml", "zipimport"),
}
EVALUATING = {"__import__", "breakpoint", "compile", "eval", "exec", "execfile"}
# Attributes of whatever object: `os` by another name is caught as well.
STARTING = {
    *("exec_module", "execl", "execle", "execlp", "execv", "execve", "execvp", "fork", "forkpty"),
    *("import_module", "load_module", "popen", "posix_spawn", "posix_spawnp", "spawnl", "spawnv"),
    *("allow_pickle", "create_subprocess_exec", "create_subprocess_shell", "startfile", "system"),
}

ALLOWED = {
    # The public names, imported when they are used: from a table in the source.
    ("wproj", "import_module"): 2,
    # A constraint that the user has named on the command line or in a recipe; see CALLERS.
    ("wproj.constraints.registry", "import_module"): 1,
    ("wproj.constraints.registry", "exec_module"): 1,
    # The child that reads HDF5 first: a fork, or this interpreter with a program that is a
    # constant, which has the path of the checkpoint among its arguments.
    ("wproj.formats.examining", "fork"): 1,
    ("wproj.formats.examining", "subprocess"): 1,
    # The report formats, imported when they are asked for: from a table in the source.
    ("wproj_cli.render", "import_module"): 1,
}
# Where references to constraints come from: rules, recipes, options; never a checkpoint.
CALLERS = {"wproj.selection.recipe_rules", "wproj.selection.rules", "wproj_cli.options"}

# An exception to the linter or the type checker with nothing after it.
UNREASONED = re.compile(r"# (noqa(: [A-Z0-9, ]+)?|type: ignore(\[[a-z, -]+\])?)\s*$", re.MULTILINE)


def read_sources() -> dict[str, str]:
    """The source of every module of both packages, by dotted name."""
    found = {}
    for folder in (ROOT / "core", ROOT / "cli"):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return found


def dangers(source: str) -> Iterator[str]:
    """What in a source can run code that is not in it, by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.partition(".")[0] in DANGEROUS)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").partition(".")[0] in DANGEROUS:
                yield str(node.module)
            yield from (a.name for a in node.names if a.name in STARTING)
        elif isinstance(node, ast.Name) and node.id in EVALUATING:
            yield node.id
        elif isinstance(node, ast.Attribute) and node.attr in STARTING:
            yield node.attr
        elif isinstance(node, ast.keyword) and node.arg in STARTING:
            yield str(node.arg)


def count_dangers(sources: Mapping[str, str]) -> dict[tuple[str, str], int]:
    """How often each module does what can run code."""
    counts: dict[tuple[str, str], int] = {}
    for module, source in sources.items():
        for name in dangers(source):
            counts[module, name] = counts.get((module, name), 0) + 1
    return counts


def uses(source: str, name: str) -> bool:
    """Whether a source reads this name, by itself or of a module."""
    nodes = list(ast.walk(ast.parse(source)))
    return any(isinstance(n, ast.Name) and n.id == name for n in nodes) or any(
        isinstance(n, ast.Attribute) and n.attr == name for n in nodes
    )


def test_nothing_runs_code_but_the_exceptions_that_are_named() -> None:
    """All of core/ and cli/, with a count for each exception, so that none is added unseen."""
    assert count_dangers(read_sources()) == ALLOWED


def test_constraints_are_loaded_for_rules_recipes_and_options_only() -> None:
    """The one function that runs a user's module has these callers; formats are none of them."""
    callers = {m for m, source in read_sources().items() if uses(source, "load_constraint")}

    assert callers == CALLERS


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "def f(x):\n    exec(x)",
        "run = eval",
        "compile(text, 'file', 'exec')",
        "__import__(name)",
        "import pickle",
        "import marshal as m",
        "from pickle import loads",
        "def f():\n    import yaml",
        "import subprocess",
        "import ctypes.util",
        "os.system('ls')",
        "from os import system",
        "os.popen('ls')",
        "importlib.import_module(name)",
        "from importlib import import_module",
        "spec.loader.exec_module(module)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_what_runs_code_is_found(source: str) -> None:
    """The guard itself can fail: each of these is one exception more than there are."""
    assert count_dangers({"wproj.formats.opening": source}) != {}


@pytest.mark.parametrize(
    "source", ["re.compile('a')", "import importlib", "'pickle'", "plan.system_of", "os.open(path)"]
)
def test_what_runs_no_code_is_not_found(source: str) -> None:
    """Words that only look like it."""
    assert count_dangers({"wproj.formats.opening": source}) == {}


def test_every_exception_to_the_linter_and_the_types_has_its_reason() -> None:
    """Behind each `noqa` and `type: ignore` there is a comment that says why."""
    folders = ("core", "cli", "tests", "benchmarks", "sample_weights")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    silent = [str(p) for p in paths if UNREASONED.search(p.read_text(encoding="utf-8"))]

    assert len(paths) > 150
    assert silent == []


@pytest.mark.parametrize(
    "line", ["x  # noqa", "x  # noqa: S101", "x  # type: ignore[arg-type]", "# type: ignore"]
)
def test_an_exception_without_a_reason_is_found(line: str) -> None:
    """The search finds each form of it, and lets the same with a reason through."""
    assert UNREASONED.search(f"a = 1\n{line}\nb = 2\n")
    assert not UNREASONED.search(f"a = 1\n{line} # as it is\nb = 2\n")
