"""Reports for the HTML page: projected by the library, made by hand, hostile; and a browser."""

import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

import wproj
from wproj.measures import Difference, Distance, OutsideVector, Violations
from wproj.report import Applied, Looser, RecipeReport, Shadowed, Side, Tool, summarize
from wproj_cli.render import render

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HOSTILE = {
    "script": "<script>alert(1)</script>",
    "handler": "<img src=x onerror=alert(1)>",
    "end": "</script></summary></table><!--",
    "comment": "<!--<script>",
    "quotes": "\"a\" 'b' `c`",
    "attribute": 'x" onclick="alert(1)" style="color:red',
    "template": "{{ 7 * 7 }}{% raw %}",
    "entity": "&amp;&lt;&#x3c;script&#x3e;",
    "ansi": "\x1b[31mred\x1b]0;title\x07",
    "nul": "a\0b",
    "newlines": "a\nb\r\nc\u2028d\u2029e",
    "override": "a\u202etxt.h5",
    "direction": "\u05d0\u05d1\u05d2/\u0627\u0628",
    "noncharacter": "a\ufffe\uffffb",
    "spaces": "  a  ",
    "empty": "",
    "long": "layer/" * 11_000,
}


def pytest_configure(config):
    """Registers the marker of this folder."""
    config.addinivalue_line(
        "markers", "browser: drives a real Chromium, skipped where there is none"
    )


def _tensor(name="dense/kernel", low=0.5, high=1.75, **fields):
    """A tensor of 16 vectors of 9 that max_norm=1 holds for, as `check` measures it."""
    known = {
        "path": f"layers/{name}",
        "shape": [9, 16],
        "dtype": "float32",
        "bytes": 576,
        "rule": "*/kernel max_norm=1",
        "constraint": [Applied(name="max_norm", config={"max_value": 1.0, "axis": [0]})],
        "axis": [0],
        "vectors": 16,
        "vector_length": 9,
        "norm_before": wproj.NormSummary(min=low, mean=1.0, p50=1.0, p99=high, max=high),
        "histogram": wproj.Histogram(low=low, high=high, counts=[5, 3, 0, 6, 2]),
        "zero": 0,
        "nonfinite": 0,
    }
    return wproj.TensorReport(name=name, **(known | fields))


def _outside(count, worst=0.75, after=None):
    vectors = [OutsideVector(index=[3], norm=1 + worst, excess=worst)] if count else []
    return Violations(
        before=count,
        after=after,
        worst_index=[3] if count else None,
        worst_norm=1 + worst if count else None,
        worst_excess=worst if count else None,
        vectors=vectors,
    )


def _violating(name, worst=0.75):
    return _tensor(name, status="violation", high=1 + worst, violations=_outside(5, worst))


def _fine(name):
    return _tensor(name, status="ok", high=0.9, violations=_outside(0))


def _changed(name="dense/kernel", moved=0.25, **fields):
    counts, after = [5, 3, 0, 6, 2], [5, 3, 8, 0, 0]
    known = {
        "status": "changed",
        "norm_after": wproj.NormSummary(min=0.5, mean=0.8, p50=1.0, p99=1.0, max=1.0),
        "histogram": wproj.Histogram(low=0.5, high=1.75, counts=counts, after=after),
        "violations": _outside(5, after=0),
        "changed_vectors": 5,
        "changed_entries": 45,
        "distance": Distance(absolute=1.5, relative=moved),
    }
    return _tensor(name, **(known | fields))


BARE = {"rule": None, "constraint": [], "axis": None, "vectors": None, "vector_length": None}
BARE |= {"norm_before": None, "histogram": None, "zero": None, "nonfinite": None}


def _skipped(name="bn/moving_mean"):
    return _tensor(name, **BARE, status="skipped", reason="moving statistics")


def _compared(name, status="changed", relative=0.5):
    side = Side(path=name, shape=[9, 16], dtype="float32")
    norms = wproj.NormSummary(min=0.5, mean=0.8, p50=1.0, p99=1.0, max=1.0)
    entries = 3 if status == "changed" else 0
    gap = Difference(entries=entries, largest=0.25, relative=relative, index=[0, 3])
    known = BARE | {"norm_before": norms, "norm_after": norms, "axis": [0]}
    b = None if status == "removed" else side
    return _tensor(name, **known, status=status, a=side, b=b, difference=gap if b else None)


def _rule(rule="*/kernel max_norm=1", **fields):
    known = {"line": 4, "match": ["*/kernel"], "constraint": [], "matched": [], "taken": []}
    known |= {"shadowed": [], "looser": None, "problem": None}
    return wproj.RuleReport(rule=rule, **(known | fields))


def _file(*tensors, path="model.keras", **fields):
    known = {"format": "keras", "layout": "keras", "output": None, "tensor_count": len(tensors)}
    return wproj.FileReport(path=path, tensors=list(tensors), **(known | fields))


def _report(command, *files, diagnostics=(), **fields):
    known = {"numerics": None, "exit_code": 0, "tool": Tool(name="wproj", version="0.1.0")}
    return wproj.Report(
        command=command,
        summary=summarize(list(files)),
        files=list(files),
        diagnostics=[wproj.Diagnostic(**diagnostic) for diagnostic in diagnostics],
        **(known | fields),
    )


def _check(**fields):
    """Violations in no order, one that is fine, one that is left out, and faults."""
    tensors = [_fine("fine/kernel"), _violating("near/kernel", 0.125), _skipped()]
    tensors += [_violating("far/kernel", 2.5), _violating("between/kernel", 0.75)]
    faults = [
        {"level": "warning", "message": "a: 1 zero vector", "hint": "see above"},
        {"level": "error", "message": "b.h5: no such file", "hint": "look", "file": "b.h5"},
    ]
    recipe = RecipeReport(path="ci/wproj.toml", sha256="5a" * 32)
    known = {"diagnostics": faults, "recipe": recipe, "exit_code": 3}
    return _report("check", _file(*tensors, rules=[_rule()]), **(known | fields))


def _explain():
    lost = _rule(
        "conv/kernel unit_norm",
        looser=Looser(pattern="*conv*", count=2),
        problem="matches nothing",
        shadowed=[Shadowed(name="dense/kernel", by="*/kernel max_norm=1")],
    )
    taken = _tensor(norm_before=None, histogram=None, zero=None, nonfinite=None)
    return _report("explain", _file(taken, _skipped(), rules=[_rule(), lost]))


def _every_command():
    """A report of each command, one of nothing, and one of faults alone."""
    box = Applied(name="min_max_norm", config={"min_value": 0.1, "max_value": 1.5, "axis": [0]})
    one = Applied(name="unit_norm", config={"axis": [0]})
    plain = {"rule": None, "constraint": []}
    long = "model.layers.10.self_attn.q_proj.weight"
    changed = [_changed(long, 0.125, zero=1), _changed("b/kernel", 0.5, constraint=[box])]
    pairs = [_compared("a", "unchanged"), _compared("b"), _compared("c", "removed")]
    return {
        "ls": _report("ls", _file(_tensor(**(BARE | {"layer": "Dense"})))),
        "audit": _report("audit", _file(_tensor(**plain), _skipped()), _file(path="empty.h5")),
        "audit declared": _report("audit", _file(_fine("a"), _violating("b"))),
        "project": _report("project", _file(*changed, _tensor("c/kernel", constraint=[one]))),
        "check": _check(),
        "diff": _report("diff", _file(*pairs, output="other.keras"), exit_code=1),
        "explain": _explain(),
        "nothing": _report("check"),
        "faults": _report("check", diagnostics=[{"level": "error", "message": "a\n  b"}]),
    }


COMMANDS = list(_every_command())


@pytest.fixture
def make():
    """The makers of reports and their parts."""
    return SimpleNamespace(
        tensor=_tensor,
        changed=_changed,
        violating=_violating,
        fine=_fine,
        skipped=_skipped,
        compared=_compared,
        outside=_outside,
        file=_file,
        report=_report,
        check=_check,
        hostile=_hostile,
    )


@pytest.fixture(params=COMMANDS)
def any_report(request):
    """Each report in turn."""
    return _every_command()[request.param]


def _hostile(text):
    """A report with a text from a stranger in every place that holds one."""
    text = wproj.storable(text)
    names = {"path": text, "file": text, "layer": text, "rule": text, "reason": text}
    step = Applied(name=text, config={"max_value": 1.0, text: text})
    rule = _rule(text, match=[text], problem=text, shadowed=[Shadowed(name=text, by=text)])
    tensor = _violating(text)
    tensor = wproj.TensorReport(
        **{key: getattr(tensor, key) for key in tensor.__struct_fields__}
        | names
        | {"constraint": [step], "declared": {"class_name": text}, "dtype": text}
    )
    fault = {"level": "error", "message": text, "hint": text, "file": text}
    recipe = RecipeReport(path=text, sha256="0" * 64)
    file = _file(tensor, path=text, output=text, rules=[rule])
    return _report("check", file, diagnostics=[fault], recipe=recipe)


@pytest.fixture(params=HOSTILE)
def hostile(request):
    """A name that somebody put into a file to see what breaks."""
    return HOSTILE[request.param]


@pytest.fixture(scope="session")
def thousand(tmp_path_factory):
    """A thousand tensors of a language model, every one of them changed by `project`."""
    rng = np.random.default_rng(0)
    parts = [f"self_attn.{p}_proj" for p in "qkvo"] + ["mlp.gate_proj", "mlp.up_proj"]
    names = [f"model.layers.{i}.{part}.weight" for i in range(167) for part in parts][:1000]
    scales = rng.uniform(0.15, 0.4, (1000, 1, 1)) * rng.uniform(0.5, 1.5, (1000, 128, 1))
    values = (scales * rng.standard_normal((1000, 128, 16))).astype(np.float32)
    path = tmp_path_factory.mktemp("thousand") / "model.safetensors"
    save_file(dict(zip(names, values, strict=True)), path, metadata={"format": "pt"})
    tensors = list(wproj.project(path, None, "*.weight max_norm=1 axis=1"))
    assert sum(tensor.status == "changed" for tensor in tensors) > 950
    return _report("project", _file(*tensors, path="model.safetensors"), numerics="exact")


@pytest.fixture(scope="session")
def chromium():
    """A real Chromium, headless, found on PATH or named by WPROJ_BROWSER.

    Where there is none the tests are skipped, but fail where CI promises one by WPROJ_BROWSER.
    """
    named = os.environ.get("WPROJ_BROWSER")
    found = next(filter(None, map(shutil.which, [named] if named else BROWSERS)), None)
    if found is None:
        promised = named and os.environ.get("CI", "").lower() in ("true", "1")
        (pytest.fail if promised else pytest.skip)(f"no browser: {named or ', '.join(BROWSERS)}")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the group `browser`")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, tmp_path):
    """Opens the page of a report from `file://`, with the options of a browser context.

    Whatever the page says on the console fails the test in the end.
    """
    said, contexts = [], []

    def get(report, **options):
        path = tmp_path / f"report{len(contexts)}.html"
        path.write_text(render(report, "html"), encoding="utf-8", newline="\n")
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append("a dialog"), dialog.dismiss()))
        page.on("requestfailed", lambda request: said.append(request.url))
        page.goto(path.as_uri())
        return page

    get.said = said
    yield get
    for context in contexts:
        context.close()
    assert said == []
