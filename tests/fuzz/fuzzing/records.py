"""What wproj itself has written: baselines, reports, and the journals of interrupted runs."""

from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from fuzzing.checkpoints import weights
from fuzzing.damage import documents, encoded, scrambled, texts
from fuzzing.rendering import render_page, render_plan
from fuzzing.scratch import file_of
from fuzzing.target import Target
from wproj.baselines import apply_baseline, load_baseline
from wproj.constraints.keras import MaxNorm
from wproj.journal import _read
from wproj.measures import Violations
from wproj.report import Applied, FileReport, Report, TensorReport
from wproj.reporting import make_report
from wproj.selection.plan import sketch_plan
from wproj.selection.rules import Rule

_OUTSIDE = Violations(before=3, after=None, worst_index=[1], worst_norm=2.0, worst_excess=1.0)
_TENSOR = TensorReport(
    name="w",
    path="w",
    shape=[4, 2],
    dtype="float32",
    bytes=32,
    rule="w max_norm=1",
    constraint=[Applied(name="max_norm", config={"max_value": 1})],
    axis=[0],
    vectors=2,
    vector_length=4,
    status="violation",
    violations=_OUTSIDE,
)
_FILE = FileReport(
    path="a.h5", format="hdf5", layout="keras", output=None, tensor_count=1, tensors=[_TENSOR]
)
_KNOWN = {"file": "a.h5", "tensor": "w", "rule": "w max_norm=1", "violations": 3}
_BASELINE = {
    "schema": "wproj.baseline",
    "schema_version": "1.0",
    "tensors": [{**_KNOWN, "excess": 1.0, "nonfinite": 0}],
}
_RUN = {"target": "out", "rules": "0" * 64, "source": "1" * 64}
_SHARD = {"member": "a.safetensors", "sha256": "2" * 64, "tensors": [msgspec.to_builtins(_TENSOR)]}


def _run_baseline(data: bytes) -> None:
    apply_baseline(_FILE, load_baseline(file_of(data, "baseline.json")))


def _run_report(data: bytes) -> None:
    """A report that can be read at all is written as it was read."""
    try:
        report = msgspec.json.decode(data, type=Report)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def _run_journal(data: bytes) -> None:
    _read(file_of(data, "journal"))


def _run_names(data: bytes) -> None:
    """Names of tensors, each on a line, told in a report as wherever a tensor is told of."""
    names = data.decode("utf-8", "surrogateescape").split("\n")[:4]
    found = weights((name, (4, 2)) for name in dict.fromkeys(names))
    plan = sketch_plan(found, [Rule("*", MaxNorm(1), 0), Rule(names[-1] or "x", MaxNorm(1), 0)])
    for number in range(8):
        render_plan(plan, number)
    if len(data) % 16 == 0:
        render_page(plan)


def _encoded(*values: Any) -> bytes:
    return b"\n".join(map(msgspec.json.encode, values))


def _report_seed() -> bytes:
    return _encoded(make_report("check", [_FILE], [], 1))


def _journals() -> SearchStrategy[bytes]:
    line = st.one_of(documents(st.just(_RUN)), documents(st.just(_SHARD)))
    lines = st.lists(line.map(lambda text: text.replace(b"\n", b"")), max_size=3).map(b"\n".join)
    return st.one_of(lines, scrambled(lines))


BASELINE = Target(
    run=_run_baseline,
    seeds=lambda: [_encoded(_BASELINE)],
    inputs=documents(st.just(_BASELINE)),
    words=tuple(f'"{key}"' for key in _BASELINE["tensors"][0]),
    guided=60,
    structured=5,
)
REPORT = Target(
    run=_run_report,
    seeds=lambda: [_report_seed()],
    inputs=st.deferred(lambda: documents(st.just(msgspec.json.decode(_report_seed())))),
    words=tuple(f'"{key}"' for key in (*Report.__struct_fields__, *TensorReport.__struct_fields__)),
    guided=60,
    structured=6,
)
JOURNAL = Target(
    run=_run_journal,
    seeds=lambda: [_encoded(_RUN, _SHARD)],
    inputs=_journals(),
    words=('"target"', '"rules"', '"source"', '"member"', '"sha256"', '"tensors"'),
    guided=60,
    structured=5,
)
NAMES = Target(
    run=_run_names,
    seeds=lambda: [b"conv1/kernel\nlayer/\x1b[31m", b"::error::a\n<b>&amp;\n|`\x00"],
    inputs=encoded(
        texts("conv", "/", "\n", "::", "##[", "<b>", "&", "|", "`", "]]>", "=1", size=8)
    ),
    words=("::", "##[", "<", "&", "|", "`", "]]>", "\\x1b["),
    guided=2,
    structured=2,
)
