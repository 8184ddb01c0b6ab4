"""Reports by hand: what the formats are given, without a checkpoint."""

from types import SimpleNamespace

import pytest

import wproj
from wproj.measures import Difference, Distance, OutsideVector, Violations
from wproj.report import Applied, RecipeReport, Side, Tool, summarize

HOSTILE = {
    "formula": "=cmd|'/c calc'!A1",
    "plus": "+1+1",
    "minus": "-1+1",
    "at": "@SUM(1)",
    "tab": "\t=1",
    "return": "\r=1",
    "full width": "\uff1d1+1",
    "comma": "a,b",
    "quotes": "\"a\" 'b'",
    "newlines": "a\nb\r\nc\u2028d",
    "ansi": "a\x1b[31mb\x1b]0;t\x07",
    "cdata": "a]]>b<![CDATA[c",
    "script": "<script>alert(1)</script>",
    "entity": "&amp;&#124;",
    "pipe": "a|b\\|c\\",
    "backtick": "`a``b`",
    "link": "[a](https://example.org) www.example.org",
    "autolink": "www.example.org",
    "mention": "@octocat #1 :tada:",
    "emphasis": "*a* __b__ ~~c~~",
    "percent": "%0A%0D%25",
    "command": "::error::a",
    "old command": "##[error]a",
    "surrogate": "a\ud800b",
    "nul": "a\0b",
    "override": "a\u202etxt.h5",
    "noncharacter": "a\ufffe\uffffb",
    "glyphs": "\u5c64/\u91cd\u307f \U0001f600",
    "spaces": "  a  ",
    "empty": "",
    "number": "007",
    "missing": "NA",
    "long": "layer/" * 11_000,
}


def _tensor(name="conv1/kernel", **fields):
    """A tensor of 16 vectors of 9, that max_norm=1 holds for."""
    known = {
        "path": f"stored/{name}",
        "shape": [3, 3, 1, 16],
        "dtype": "float32",
        "bytes": 576,
        "rule": "conv*/kernel max_norm=1",
        "constraint": [Applied(name="max_norm", config={"max_value": 1.0, "axis": [0, 1, 2]})],
        "axis": [0, 1, 2],
        "vectors": 16,
        "vector_length": 9,
    }
    return wproj.TensorReport(name=name, **(known | fields))


def _outside(before=14, index=(12,), norm=1.764693, excess=0.764693, **fields):
    worst = None if index is None else list(index)
    vectors = [OutsideVector(index=worst or [], norm=norm, excess=excess)]
    return Violations(
        before=before,
        after=None,
        worst_index=worst,
        worst_norm=norm,
        worst_excess=excess,
        **({"vectors": vectors} | fields),
    )


def _violating(name="conv1/kernel", **fields):
    return _tensor(name, **({"status": "violation", "violations": _outside()} | fields))


def _entries(name="dense/bias", **fields):
    """A tensor of 16 entries of which three are negative."""
    known = {
        "shape": [16],
        "bytes": 64,
        "rule": "*/bias non_neg",
        "constraint": [Applied(name="non_neg", config={})],
        "axis": None,
        "vector_length": 1,
        "status": "violation",
        "violations": _outside(3, (4,), None, 0.2, worst_value=-0.2, vectors=[]),
    }
    return _tensor(name, **(known | fields))


def _skipped(name="bn/mean", reason="moving statistics"):
    bare = {"rule": None, "constraint": [], "axis": None, "vectors": None, "vector_length": None}
    return _tensor(name, status="skipped", reason=reason, **bare)


def _compared(status="changed", **fields):
    side = Side(path="w", shape=[2, 3], dtype="float32")
    gap = Difference(entries=2, largest=0.5, relative=0.25, index=[0, 2])
    bare = {"rule": None, "constraint": [], "axis": [0], "vectors": None, "vector_length": None}
    known = {"shape": [2, 3], "bytes": 24, "a": side, "b": side, "difference": gap}
    return _tensor("w", status=status, **(bare | known | fields))


def _rule(rule, line):
    empty = {"match": [], "constraint": [], "matched": [], "taken": [], "shadowed": []}
    return wproj.RuleReport(rule=rule, line=line, looser=None, problem=None, **empty)


def _file(*tensors, path="model.h5", **fields):
    known = {"format": "hdf5", "layout": "keras", "output": None, "tensor_count": len(tensors)}
    return wproj.FileReport(path=path, tensors=list(tensors), **(known | fields))


def _report(*files, command="check", diagnostics=(), **fields):
    known = {"numerics": None, "exit_code": 1, "tool": Tool(name="wproj", version="0.1.0")}
    return wproj.Report(
        command=command,
        summary=summarize(list(files)),
        files=list(files),
        diagnostics=[wproj.Diagnostic(**diagnostic) for diagnostic in diagnostics],
        **(known | fields),
    )


def _gate():
    """A report of `check` with everything in it that a gate may find."""
    recipe = RecipeReport(path="ci/wproj.toml", sha256="0" * 64)
    faults = [
        {"level": "error", "message": "no.h5: there is no such file", "file": "no.h5"},
        {"level": "warning", "message": "b: 1 vector", "hint": "look, here", "file": "model.h5"},
    ]
    rules = [_rule("conv*/kernel max_norm=1", 12), _rule("*/bias non_neg", 20)]
    ok = _tensor("conv2/kernel", violations=_outside(0, vectors=[]))
    tensors = (_entries(), _violating(), ok, _skipped())
    file = _file(*tensors, rules=rules, path="./model.h5")
    return _report(file, recipe=recipe, diagnostics=faults, exit_code=3)


def _every_command():
    """A report of each command, by its name."""
    norms = wproj.NormSummary(min=0.5, mean=1.0, p50=1.0, p99=1.75, max=1.75)
    moved = {"norm_before": norms, "norm_after": norms, "changed_vectors": 14, "status": "changed"}
    moved |= {"violations": _outside(), "distance": Distance(absolute=1.5, relative=0.25)}
    absent = wproj.NormSummary(min=None, mean=None, p50=None, p99=None, max=None)
    audited = _tensor(norm_before=norms, zero=0, nonfinite=0)
    nothing = _tensor("nothing", norm_before=absent, vectors=0)
    pairs = [_compared(), _compared("added", a=None, difference=None), _compared("unchanged")]
    return {
        "ls": _report(_file(_tensor(rule=None, constraint=[])), command="ls", exit_code=0),
        "audit": _report(_file(audited, nothing, _skipped()), command="audit", exit_code=0),
        "project": _report(_file(_tensor(**moved), _skipped()), command="project", exit_code=0),
        "check": _gate(),
        "diff": _report(_file(*pairs, output="b.h5"), command="diff"),
        "explain": _report(_file(_tensor(), _skipped()), command="explain", exit_code=0),
        "nothing": _report(exit_code=0),
        "diagnostics": _report(
            diagnostics=[{"level": "error", "message": "2 problems\n  1. a\n  2. b"}], exit_code=2
        ),
    }


@pytest.fixture
def make():
    """The makers of reports and their parts."""
    return SimpleNamespace(
        tensor=_tensor,
        violating=_violating,
        entries=_entries,
        skipped=_skipped,
        compared=_compared,
        outside=_outside,
        rule=_rule,
        file=_file,
        report=_report,
        gate=_gate,
    )


@pytest.fixture(params=["ls", "audit", "project", "check", "diff", "explain", "nothing", "faults"])
def any_report(request):
    """A report of each command, one of nothing, and one of faults alone."""
    return _every_command()[{"faults": "diagnostics"}.get(request.param, request.param)]


@pytest.fixture(params=HOSTILE, ids=str)
def hostile(request):
    """A name that somebody put into a file to see what breaks; stored as the library does."""
    return wproj.storable(HOSTILE[request.param])
