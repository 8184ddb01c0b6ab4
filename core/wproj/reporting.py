"""From plans and measures to report values: what the jobs have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import wproj
from wproj.constraints.base import RadialConstraint
from wproj.errors import FileError, TensorError, listed, storable
from wproj.formats.base import Checkpoint, Layout, TensorEntry
from wproj.measuring import Measures
from wproj.report import (
    Applied,
    Diagnostic,
    FileReport,
    Report,
    TensorReport,
    Tool,
    summarize,
)
from wproj.selection.assigning import Assignment


@contextmanager
def located(path: Path, entry: TensorEntry) -> Iterator[None]:
    """Adds the file and the tensor to the errors from within."""
    try:
        yield
    except TensorError as error:
        raise error.locate(str(path), entry.name) from error
    except EOFError as error:
        raise FileError(str(path), f"{entry.name}: {error}") from error


def file_report(
    checkpoint: Checkpoint, layout: Layout, output: str | None, tensors: list[TensorReport]
) -> FileReport:
    """A checkpoint and those of its tensors that there is something to say about."""
    return FileReport(
        path=storable(str(checkpoint.path)),
        format=checkpoint.format,
        layout=layout,
        output=None if output is None else storable(output),
        tensor_count=len(checkpoint.entries),
        tensors=tensors,
    )


def make_report(
    command: str,
    files: list[FileReport],
    diagnostics: list[Diagnostic],
    exit_code: int,
    numerics: str | None = None,
) -> Report:
    """The whole report of one command."""
    return Report(
        command=command,
        tool=Tool(name="wproj", version=wproj.__version__),
        numerics=numerics,
        exit_code=exit_code,
        summary=summarize(files),
        files=files,
        diagnostics=diagnostics,
    )


def listed_report(entry: TensorEntry) -> TensorReport:
    """A tensor by name, shape and dtype, nothing measured; and what is special about it."""
    also = f"also {listed(entry.aliases)}" if entry.aliases else None
    return TensorReport(**_identity(entry), reason=entry.obstacle or also)


def skipped_report(entry: TensorEntry, rule: str | None, reason: str) -> TensorReport:
    """A tensor that a rule matches and leaves alone."""
    rule = None if rule is None else storable(rule)
    return TensorReport(**_identity(entry), rule=rule, status="skipped", reason=storable(reason))


def audited_report(item: Assignment, measures: Measures) -> TensorReport:
    """A tensor whose norms were measured, and held against its constraints if it has any."""
    judged = measures.violations.before is not None
    return TensorReport(
        **_identity(item.entry),
        constraint=_applied(item) if judged else [],
        status="violation" if measures.violations.before else "ok",
        violations=measures.violations if judged else None,
        axis=None if item.axis is None else list(item.axis),
        vectors=item.vectors,
        vector_length=item.vector_length,
        norm_before=measures.norm_before,
        zero=measures.zero,
        nonfinite=measures.nonfinite,
        histogram=measures.histogram,
    )


def projected_report(item: Assignment, measures: Measures) -> TensorReport:
    """A tensor that was projected."""
    return TensorReport(
        **_identity(item.entry),
        rule=storable(item.rule),
        constraint=_applied(item),
        axis=None if item.axis is None else list(item.axis),
        vectors=item.vectors,
        vector_length=item.vector_length,
        status="changed" if measures.changed_entries else "unchanged",
        step=any(isinstance(s, RadialConstraint) and s.step for s in item.steps),
        **asdict(measures),
    )


def _applied(item: Assignment) -> list[Applied]:
    return [Applied(name=step.name, config=step.get_config()) for step in item.steps]


def _identity(entry: TensorEntry) -> dict[str, Any]:
    return {
        "name": storable(entry.name),
        "path": storable(entry.path),
        "shape": list(entry.shape),
        "dtype": entry.dtype,
        "bytes": entry.nbytes,
        "file": None if entry.file is None else storable(entry.file),
        "named_by": entry.named_by,
        "layer": None if entry.layer is None else storable(entry.layer),
        "declared": entry.declared,
    }
