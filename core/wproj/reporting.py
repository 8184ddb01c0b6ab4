"""From plans and measures to report values: what the jobs have in common."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import wproj
from wproj.constraints.base import RadialConstraint
from wproj.errors import FileError, TensorError, listed, storable
from wproj.formats.base import Checkpoint, Layout, TensorEntry
from wproj.measures import Difference, NormSummary, Violations
from wproj.report import (
    Applied,
    Diagnostic,
    FileReport,
    Looser,
    RecipeReport,
    Report,
    RuleReport,
    Shadowed,
    Side,
    Status,
    TensorReport,
    Tool,
    summarize,
)
from wproj.selection.assigning import Assignment, Skipped
from wproj.selection.globs import looser
from wproj.selection.plan import RuleUse
from wproj.selection.recipe import Recipe
from wproj.tallying import Measures


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
    checkpoint: Checkpoint,
    layout: Layout,
    output: str | None,
    tensors: Sequence[TensorReport],
    rules: Sequence[RuleReport] = (),
) -> FileReport:
    """A checkpoint and those of its tensors that there is something to say about."""
    return FileReport(
        path=storable(str(checkpoint.path)),
        format=checkpoint.format,
        layout=layout,
        output=None if output is None else storable(output),
        tensor_count=max(len(checkpoint.entries), len(tensors)),
        tensors=tensors,
        rules=list(rules),
    )


def make_report(
    command: str,
    files: list[FileReport],
    diagnostics: list[Diagnostic],
    exit_code: int,
    numerics: str | None = None,
    recipe: Recipe | None = None,
) -> Report:
    """The whole report of one command."""
    return Report(
        command=command,
        tool=Tool(name="wproj", version=wproj.__version__),
        numerics=numerics,
        exit_code=exit_code,
        recipe=None if recipe is None else _recipe_report(recipe),
        summary=summarize(files),
        files=files,
        diagnostics=diagnostics,
    )


def _recipe_report(recipe: Recipe) -> RecipeReport:
    return RecipeReport(path=storable(recipe.path), sha256=recipe.sha256)


def listed_report(entry: TensorEntry) -> TensorReport:
    """A tensor by name, shape and dtype, nothing measured; and what is special about it."""
    also = f"also {listed(entry.aliases)}" if entry.aliases else None
    return TensorReport(**_identity(entry), reason=entry.obstacle or also)


def skipped_report(entry: TensorEntry, rule: str | None, reason: str) -> TensorReport:
    """A tensor that a rule matches and leaves alone."""
    rule = None if rule is None else storable(rule)
    return TensorReport(**_identity(entry), rule=rule, status="skipped", reason=storable(reason))


def unmatched_report(entry: TensorEntry, *, violation: bool = False) -> TensorReport:
    """A tensor that no rule matches."""
    status = "violation" if violation else "skipped"
    return TensorReport(**_identity(entry), status=status, reason="no rule matches it")  # type: ignore[arg-type] # a literal


def planned_report(item: Assignment) -> TensorReport:
    """A tensor that a rule takes; nothing is measured."""
    told = None if item.given else f"axis in, told by {item.entry.layer or 'the layout'}"
    return TensorReport(**_identity(item.entry), **_assigned(item), reason=told)


def checked_report(
    item: Assignment,
    measures: Measures,
    violations: Violations,
    reason: str | None,
    *,
    violation: bool,
) -> TensorReport:
    """A tensor that was held against its constraints."""
    return TensorReport(
        **_identity(item.entry),
        **_assigned(item),
        status="violation" if violation else "ok",
        reason=reason,
        norm_before=measures.norm_before,
        zero=measures.zero,
        unreachable=measures.unreachable,
        nonfinite=measures.nonfinite,
        violations=violations,
        histogram=measures.histogram,
        step=any(isinstance(s, RadialConstraint) and s.step for s in item.steps),
    )


def rule_report(
    use: RuleUse, items: Mapping[str, Assignment | Skipped], checkpoint: Checkpoint
) -> RuleReport:
    """What became of a rule; `items` has what became of the tensors, by path."""
    rule, taken = use.rule, {entry.path for entry in use.taken}
    found = [items[entry.path] for entry in use.matched if entry.path not in taken]
    shadowed = [item for item in found if isinstance(item, Assignment)]
    wider = None if use.matched else looser(rule.patterns[0], checkpoint.entries)
    problems = [f"{p} ({p.hint})" if p.hint else str(p) for p in use.problems]
    return RuleReport(
        rule=storable(str(rule)),
        line=rule.line,
        match=[storable(pattern) for pattern in rule.patterns],
        constraint=[Applied(name=s.name, config=s.get_config()) for s in rule.steps],
        matched=[storable(entry.name) for entry in use.matched],
        taken=[storable(entry.name) for entry in use.taken],
        shadowed=[Shadowed(name=storable(i.entry.name), by=storable(i.rule)) for i in shadowed],
        looser=None if wider is None else Looser(pattern=storable(wider[0]), count=wider[1]),
        problem=storable("; ".join(problems)) or None,
    )


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
        **_assigned(item),
        status="changed" if measures.changed_entries else "unchanged",
        step=any(isinstance(s, RadialConstraint) and s.step for s in item.steps),
        **{field.name: getattr(measures, field.name) for field in fields(measures)},
    )


def compared_report(
    one: TensorEntry | None,
    two: TensorEntry | None,
    status: Status,
    *,
    axis: tuple[int, ...] | None = None,
    norms: tuple[NormSummary | None, NormSummary | None] = (None, None),
    difference: Difference | None = None,
    reason: str | None = None,
) -> TensorReport:
    """A tensor of two checkpoints, or of one of them."""
    entry = one or two
    assert entry is not None  # noqa: S101 # a pair has one at least
    return TensorReport(
        **_identity(entry),
        status=status,
        reason=None if reason is None else storable(reason),
        axis=None if axis is None else list(axis),
        norm_before=norms[0],
        norm_after=norms[1],
        a=_side(one),
        b=_side(two),
        difference=difference,
    )


def _side(entry: TensorEntry | None) -> Side | None:
    if entry is None:
        return None
    return Side(path=storable(entry.path), shape=list(entry.shape), dtype=entry.dtype)


def _assigned(item: Assignment) -> dict[str, Any]:
    vectors, length = item.vectors_by_length
    return {
        "rule": storable(item.rule),
        "constraint": _applied(item),
        "axis": None if item.axis is None else list(item.axis),
        "vectors": vectors,
        "vector_length": length,
    }


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
