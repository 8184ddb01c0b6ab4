"""`wproj check`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

import wproj
from wproj_cli.options import (
    AllowUnmatched,
    Axis,
    Colors,
    Config,
    Custom,
    Declared,
    Exclude,
    Format,
    Layout,
    Match,
    Memory,
    NoHdf5,
    Quiet,
    RecipePath,
    Reports,
    RuleTexts,
    Settings,
    Specs,
    Threads,
    Verbose,
    expand,
    parse_resources,
)
from wproj_cli.output import Outcome
from wproj_cli.reports import write_report
from wproj_cli.sources import Given, Rules, read_rules

Files = Annotated[
    list[str] | None,
    typer.Argument(metavar="FILE...", help="Checkpoints, or patterns of checkpoints."),
]
FilesFrom = Annotated[
    str | None,
    typer.Option("--files-from", metavar="FILE", help="Read more of them here, one a line."),
]
Tolerance = Annotated[
    str | None,
    typer.Option("--rtol", metavar="NUMBER", help="What norms may miss; 0 is strict."),
]
Severity = Literal["error", "warn", "ignore"]
NonFinite = Annotated[
    Severity | None, typer.Option("--nonfinite", help="Vectors with NaN or infinite entries.")
]
Unreachable = Annotated[
    Severity | None, typer.Option("--unreachable", help="Zero vectors under a lower bound.")
]
Unmatched = Annotated[
    Severity | None, typer.Option("--unmatched", help="Tensors that no rule matches.")
]
ExitZero = Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 despite findings.")]
BaselinePath = Annotated[
    str | None,
    typer.Option("--baseline", metavar="FILE", help="Only what is new or worse is a finding."),
]
UpdateBaseline = Annotated[
    bool, typer.Option("--update-baseline", help="Record the violations of today there.")
]


def check(
    files: Files = None,
    files_from: FilesFrom = None,
    match: Match = None,
    constraint: Specs = None,
    axis: Axis = None,
    rule: RuleTexts = None,
    recipe: RecipePath = None,
    settings: Settings = None,
    declared: Declared = False,
    custom: Custom = None,
    config: Config = None,
    no_hdf5: NoHdf5 = False,
    exclude: Exclude = None,
    layout: Layout = None,
    allow_unmatched: AllowUnmatched = False,
    rtol: Tolerance = None,
    nonfinite: NonFinite = None,
    unreachable: Unreachable = None,
    unmatched: Unmatched = None,
    baseline: BaselinePath = None,
    update_baseline: UpdateBaseline = False,
    exit_zero: ExitZero = False,
    fmt: Format = "text",
    report: Reports = None,
    threads: Threads = None,
    memory: Memory = "256MB",
    quiet: Quiet = False,
    verbose: Verbose = False,
    color: Colors = "auto",
) -> int:
    """Hold checkpoints against rules, for CI: exit 1 if a vector is outside. Writes nothing.

    The rules come from -m, -c and -a, from -r, from the model itself (--declared), or from a
    recipe: --recipe FILE, or wproj.toml or [tool.wproj] in pyproject.toml, here or above.

    Without --rtol a checkpoint that Keras trained and saved itself passes.

    \b
    Examples:
      wproj check sample_weights/digits_cnn.keras --declared
      wproj check 'sample_weights/*.weights.h5' -r 'hidden*/0 max_norm=3 axis=0' --report md=n.md
      wproj check sample_weights/digits_cnn.h5 -r 'conv*/kernel max_norm=2' --rtol 0 -f github
      wproj check sample_weights/digits_cnn.keras --declared --baseline b.json --update-baseline
    """  # noqa: D301 # \b is the character that keeps the lines apart
    names = expand([*(files or []), *_listed(files_from)])
    involved = [*names, config, recipe, baseline, files_from]
    outcome = Outcome("check", fmt, report, involved, quiet=quiet, verbose=verbose, color=color)
    given = Given(
        match=match,
        constraint=constraint,
        axis=axis,
        rule=rule,
        recipe=recipe,
        settings=settings,
        declared=declared,
        custom=custom,
        config=config,
        no_hdf5=no_hdf5,
        exclude=exclude,
        layout=layout,
        allow_unmatched=allow_unmatched,
    )
    with outcome.attempt(recipe):
        resources = parse_resources(threads, memory)
        rules = read_rules(given, discover=True)
        outcome.recipe = rules.recipe
        policy = _policy(rules, rtol, nonfinite, unreachable, unmatched)
        known = _known(baseline, update=update_baseline)
        if not names:
            raise wproj.RequestError("no checkpoint is given", "name files, or patterns of files")
        for name in names:
            job = partial(wproj.check, policy=policy, resources=resources)
            _check_file(name, rules, policy, known, job, outcome)
        if update_baseline and baseline is not None:
            _record(Path(baseline), outcome)
        elif not exit_zero and _violated(outcome):
            outcome.found()
    return outcome.conclude()


def _check_file(
    name: str,
    rules: Rules,
    policy: wproj.CheckPolicy,
    known: wproj.Baseline | None,
    job: Callable[..., Iterator[wproj.TensorReport]],
    outcome: Outcome,
) -> None:
    with outcome.attempt(name):
        plan = rules.plan(name)
        outcome.opened(plan.checkpoint)
        for warning in plan.warnings:
            outcome.warn(warning, name)
        size = sum(item.entry.nbytes for item in plan.assignments)
        tensors = wproj.TensorReports(outcome.follow(lambda tell: job(plan, progress=tell), size))
        seen = {tensor.path for tensor in tensors}
        outcome.detail(t for t in wproj.explain(plan) if t.path not in seen)
        uses = wproj.rule_reports(plan)
        file = wproj.file_report(plan.checkpoint, plan.layout, None, tensors, uses)
        outcome.add(file if known is None else wproj.apply_baseline(file, known))
        for text in _warnings(tensors, policy):
            outcome.warn(wproj.WprojError(text), name)


def _listed(path: str | None) -> list[str]:
    """The lines of a list of files; empty ones and those that begin with # do not count."""
    if path is None:
        return []
    try:
        given = Path(path)
        if given.exists() and not (given.is_file() or given.is_dir()):
            raise OSError(0, "is not a regular file")
        lines = given.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", "is not a list of files in UTF-8")
        raise wproj.InputError(f"--files-from {wproj.printable(path)}: {problem}") from error
    names = [line.strip() for line in lines]
    return [name for name in names if name and not name.startswith("#")]


def _policy(
    rules: Rules,
    rtol: str | None,
    nonfinite: Severity | None,
    unreachable: Severity | None,
    unmatched: Severity | None,
) -> wproj.CheckPolicy:
    """The policy of the recipe, with what the options say instead."""
    kept = rules.recipe.check if rules.recipe else wproj.CheckPolicy()
    return wproj.CheckPolicy(
        rtol=kept.rtol if rtol is None else _tolerance(rtol),
        nonfinite=nonfinite or kept.nonfinite,
        unreachable=unreachable or kept.unreachable,
        unmatched_tensors=unmatched or kept.unmatched_tensors,
    )


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise wproj.RequestError(f"--rtol takes a number from 0 to 1, not {text!r}")
    return value


def _known(path: str | None, *, update: bool) -> wproj.Baseline | None:
    if path is None:
        if update:
            raise wproj.RequestError("--update-baseline needs --baseline FILE")
        return None
    if update and not os.path.lexists(path):
        return None
    known = wproj.load_baseline(Path(path))  # Nothing but a baseline is replaced by one.
    return None if update else known


def _record(path: Path, outcome: Outcome) -> None:
    """Records the violations of today, of all files or not at all."""
    if outcome.exit_code:
        outcome.mention(f"nothing is recorded in {wproj.printable(str(path))}")
        return
    write_report(path, [wproj.encode_baseline(wproj.record_baseline(outcome.files))])
    outcome.mention(f"recorded in {wproj.printable(str(path))}")


def _violated(outcome: Outcome) -> bool:
    return any(t.status == "violation" for file in outcome.files for t in file.tensors)


def _warnings(tensors: Iterable[wproj.TensorReport], policy: wproj.CheckPolicy) -> list[str]:
    """What the policy counts as a warning only."""
    found = []
    for tensor in tensors:
        name = wproj.printable(tensor.name)
        if tensor.nonfinite and policy.nonfinite == "warn":
            count = wproj.plural(tensor.nonfinite, "vector")
            found.append(f"{name}: {count} with non-finite entries")
        if tensor.unreachable and policy.unreachable == "warn":
            count = wproj.plural(tensor.unreachable, "zero vector")
            found.append(f"{name}: {count} below the lower bound")
        if (
            tensor.rule is None
            and tensor.status == "skipped"
            and policy.unmatched_tensors == "warn"
        ):
            found.append(f"{name}: no rule matches it")
    return found
