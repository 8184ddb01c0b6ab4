"""`wproj project`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import typer

import wproj
from wproj_cli.options import (
    AllowUnmatched,
    Axis,
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
    parse_number,
    parse_resources,
)
from wproj_cli.output import Outcome
from wproj_cli.sources import Given, read_rules

Source = Annotated[
    str, typer.Argument(metavar="SRC", help="The checkpoint, recognized by its content.")
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

NoSync = Annotated[
    bool, typer.Option("--no-sync", help="Do not wait until DST is on the disk, past all caches.")
]
NoVerify = Annotated[
    bool, typer.Option("--no-verify", help="Do not read back what is written, to compare it.")
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with an interrupted run; keep finished shards if so."),
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
    recipe: RecipePath = None,
    settings: Settings = None,
    declared: Declared = False,
    custom: Custom = None,
    config: Config = None,
    no_hdf5: NoHdf5 = False,
    exclude: Exclude = None,
    layout: Layout = None,
    allow_unmatched: AllowUnmatched = False,
    numerics: NumericsMode = "exact",
    epsilon: Epsilon = "1e-7",
    nonfinite: NonFinite = "error",
    fmt: Format = "text",
    report: Reports = None,
    threads: Threads = None,
    memory: Memory = "256MB",
    no_sync: NoSync = False,
    no_verify: NoVerify = False,
    resume: Resume = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Apply weight constraints to a checkpoint and write the result, whole or not at all.

    The rules come from -m, -c and -a, from -r, from a recipe, or from the model itself
    (--declared).

    Nothing but the values of the matched tensors differs between SRC and DST.

    \b
    Examples:
      wproj project sample_weights/digits_cnn.keras --declared -o out.keras
      wproj project sample_weights/digits_cnn.h5 -m 'conv*/kernel' -c max_norm=1 -a 0,1,2 -n
      wproj project sample_weights/digits_cnn.h5 -r 'hidden non_neg+max_norm=2 axis=in' -o out.h5
      wproj project sample_weights/digits_mlp_pt.safetensors -m '*.weight' -c unit_norm -a 1 --check
    """  # noqa: D301 # \b is the character that keeps the lines apart
    involved = [source, output, config, recipe]
    outcome = Outcome("project", fmt, report, involved, numerics, quiet=quiet, verbose=verbose)
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
    with outcome.attempt(source):
        target = _target(source, output, in_place=in_place, dry=dry_run or check)
        resources = parse_resources(threads, memory)
        rules = read_rules(given)
        outcome.recipe = rules.recipe
        plan = rules.plan(source)
        how = wproj.Numerics(numerics, parse_number("--epsilon", epsilon), nonfinite)
        _announce(plan, outcome, source)
        for shard in _copied(plan) if output is not None and target is not None else ():
            outcome.note(f"{wproj.printable(shard)}: copied, as no rule matches a tensor of it")
        tensors = wproj.TensorReports()
        job = partial(
            wproj.apply,
            plan,
            target,
            how,
            overwrite=force,
            in_place=in_place,
            resources=resources,
            durable=not no_sync,
            verify=not no_verify,
            resume=resume,
        )
        size = wproj.volume(plan, target, in_place=in_place)
        for tensor in outcome.follow(lambda tell: job(progress=tell), size):
            tensors.append(tensor)
            for warning in _warnings(tensor):
                outcome.warn(warning, source)
        uses = wproj.rule_reports(plan)
        outcome.add(wproj.file_report(plan.checkpoint, plan.layout, target, tensors, uses))
        if check and any(tensor.status == "changed" for tensor in tensors):
            outcome.found()
    return outcome.conclude()


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


def _announce(plan: wproj.Plan, outcome: Outcome, source: str) -> None:
    """Says on standard error what is about to happen."""
    outcome.opened(plan.checkpoint)
    for warning in (*plan.warnings, *wproj.find_ties(plan)):
        outcome.warn(warning, source)
    for item in plan.items:
        outcome.mention(str(item))


def _copied(plan: wproj.Plan) -> list[str]:
    """The shards that stay as they are, in the order of the checkpoint."""
    matched = {item.entry.file for item in plan.items}
    shards = dict.fromkeys(entry.file for entry in plan.checkpoint.entries)
    return [shard for shard in shards if shard is not None and shard not in matched]


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
