"""`wproj project`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import typer

import wproj
from wproj_cli.options import (
    Axis,
    Config,
    Custom,
    Declared,
    Exclude,
    Format,
    Layout,
    Match,
    Reports,
    parse_custom,
)
from wproj_cli.output import Outcome, PipeClosedError, tell
from wproj_cli.progress import track

Source = Annotated[
    str, typer.Argument(metavar="SRC", help="The checkpoint, recognized by its content.")
]
Specs = Annotated[
    list[str] | None,
    typer.Option(
        "-c",
        "--constraint",
        metavar="SPEC",
        help="max_norm=2 | non_neg | unit_norm | min_max_norm=0.5..2 | file.py:Class; "
        "join with '+'.",
    ),
]
RuleTexts = Annotated[
    list[str] | None,
    typer.Option(
        "-r",
        "--rule",
        metavar="RULE",
        help="'GLOB SPEC [axis=AXES] [key=value]...'; repeat for more, the first match wins.",
    ),
]
Target = Annotated[
    str | None, typer.Option("-o", "--output", metavar="DST", help="Write the result here.")
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace SRC, all at once.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing DST.")]
DryRun = Annotated[
    bool, typer.Option("-n", "--dry-run", help="Report what would change; write nothing.")
]
Check = Annotated[
    bool, typer.Option("--check", help="Like --dry-run; exit 1 if anything would change.")
]
NumericsMode = Annotated[
    Literal["exact", "keras"],
    typer.Option("--numerics", help="A certified projection, or the formulas of Keras."),
]
Epsilon = Annotated[
    str,
    typer.Option("--epsilon", metavar="NUMBER", help="What the formulas of Keras add to a norm."),
]
NonFinite = Annotated[
    Literal["error", "skip"],
    typer.Option("--nonfinite", help="Refuse NaN and infinity, or leave their vectors alone."),
]
AllowUnmatched = Annotated[
    bool, typer.Option("--allow-unmatched", help="Warn of rules that match nothing, go on.")
]


def project(
    source: Source,
    output: Target = None,
    in_place: InPlace = False,
    force: Force = False,
    dry_run: DryRun = False,
    check: Check = False,
    match: Match = None,
    constraint: Specs = None,
    axis: Axis = None,
    rule: RuleTexts = None,
    declared: Declared = False,
    custom: Custom = None,
    config: Config = None,
    exclude: Exclude = None,
    layout: Layout = None,
    allow_unmatched: AllowUnmatched = False,
    numerics: NumericsMode = "exact",
    epsilon: Epsilon = "1e-7",
    nonfinite: NonFinite = "error",
    fmt: Format = "text",
    report: Reports = None,
) -> int:
    """Apply weight constraints to a checkpoint and write the result, whole or not at all.

    The rules come from -m, -c and -a, from -r, or from the model itself (--declared).

    Nothing but the values of the matched tensors differs between SRC and DST.

    \b
    Examples:
      wproj project sample_weights/digits_cnn.keras --declared -o out.keras
      wproj project sample_weights/digits_cnn.h5 -m 'conv*/kernel' -c max_norm=1 -a 0,1,2 -n
      wproj project sample_weights/digits_cnn.h5 -r 'hidden non_neg+max_norm=2 axis=in' -o out.h5
      wproj project sample_weights/digits_mlp_pt.safetensors -m '*.weight' -c unit_norm -a 1 --check
    """  # noqa: D301 # \b is the character that keeps the lines apart
    outcome = Outcome("project", fmt, report, [source, output, config], numerics)
    try:
        target = _target(source, output, in_place=in_place, dry=dry_run or check)
        left_out = exclude or ()
        if declared:
            if match or constraint or axis or rule or layout:
                raise wproj.RequestError("--declared excludes -m, -c, -a, -r and --layout")
            classes = parse_custom(custom)
            plan = wproj.plan_declared(source, config=config, custom=classes, exclude=left_out)
        else:
            checkpoint = wproj.open_checkpoint(source, config)
            rules = _rules(match, constraint, axis, rule)
            plan = wproj.plan(
                checkpoint,
                rules,
                exclude=left_out,
                layout=layout,
                allow_unmatched=allow_unmatched,
            )
        how = wproj.Numerics(numerics, _number("--epsilon", epsilon), nonfinite)
        _announce(plan, outcome, source)
        tensors = []
        reports = wproj.apply(plan, target, how, overwrite=force, in_place=in_place)
        for tensor in track(reports, sum(item.entry.nbytes for item in plan.items)):
            tensors.append(tensor)
            for warning in _warnings(tensor):
                outcome.warn(warning, source)
        outcome.add(wproj.file_report(plan.checkpoint, plan.layout, target, tensors))
        if check and any(tensor.status == "changed" for tensor in tensors):
            outcome.found()
    except wproj.WprojError as error:
        outcome.failed(error, source)
    try:
        return outcome.finish()
    except PipeClosedError as closed:
        raise PipeClosedError(outcome.exit_code) from closed  # The work itself is done.


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise wproj.RequestError(f"{option} takes a number, not {text!r}") from error


def _target(source: str, output: str | None, *, in_place: bool, dry: bool) -> str | None:
    """Where the result goes; None for nowhere."""
    if output is not None and in_place:
        raise wproj.RequestError("-o and --in-place exclude each other")
    if dry:
        return None
    if output is None and not in_place:
        hint = "-n only reports what would change"
        raise wproj.RequestError("give -o DST, or --in-place to replace SRC", hint)
    return source if in_place else output


def _rules(
    match: list[str] | None, specs: list[str] | None, axis: str | None, texts: list[str] | None
) -> Sequence[wproj.Rule]:
    """The rules from exactly one source: -m, -c and -a, or -r."""
    if texts:
        if match or specs or axis:
            problem = "-r excludes -m, -c and -a: a rule carries its own pattern and axis"
            raise wproj.RequestError(problem)
        return [wproj.parse_rule(text) for text in texts]
    if not match or not specs:
        hint = "for example -m 'conv*/kernel' -c max_norm=2 -a 0,1,2"
        problem = "give a rule: -m GLOB and -c SPEC, or -r RULE, or --declared"
        raise wproj.RequestError(problem, hint)
    if len(specs) > 1:
        hint = f"join constraints with '+': -c {'+'.join(specs)}; for several rules repeat -r"
        raise wproj.RequestError("-c is given more than once", hint)
    axes = "auto" if axis is None else wproj.parse_axes(axis)
    return [wproj.Rule(tuple(match), wproj.parse_constraint(specs[0]), axes)]


def _announce(plan: wproj.Plan, outcome: Outcome, source: str) -> None:
    """Says on standard error what is about to happen."""
    outcome.opened(plan.checkpoint)
    for warning in plan.warnings:
        outcome.warn(warning, source)
    for item in plan.items:
        tell(str(item))


def _warnings(tensor: wproj.TensorReport) -> list[wproj.WprojError]:
    name = wproj.printable(tensor.name)
    found = []
    if tensor.unreachable:
        zeros = wproj.plural(tensor.unreachable, "zero vector")
        found.append(f"{name}: {zeros} left at zero, for want of a direction")
    if tensor.nonfinite and tensor.status != "skipped":
        vectors = wproj.plural(tensor.nonfinite, "vector")
        found.append(f"{name}: {vectors} with non-finite entries left as found")
    if tensor.violations and tensor.violations.after and not tensor.step:
        left = tensor.violations.after - (tensor.unreachable or 0)
        if left > 0:
            found.append(f"{name}: {wproj.plural(left, 'vector')} still outside")
    return [wproj.WprojError(text) for text in found]
