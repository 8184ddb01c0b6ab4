"""`wproj explain`."""

from __future__ import annotations

import wproj
from wproj_cli.options import (
    Axis,
    Config,
    Custom,
    Declared,
    Exclude,
    Files,
    Format,
    Layout,
    Match,
    NoHdf5,
    RecipePath,
    Reports,
    RuleTexts,
    Settings,
    Specs,
    expand,
)
from wproj_cli.output import Outcome
from wproj_cli.sources import Given, Rules, read_rules


def explain(
    files: Files,
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
    fmt: Format = "text",
    report: Reports = None,
) -> int:
    """Say which rule takes which tensor, along which axes, and why the others are left.

    Reads no values. For each rule what it matches, what an earlier rule took, and what is wrong
    with it; for a pattern that matches nothing, a wider one that does.

    \b
    Examples:
      wproj explain sample_weights/digits_cnn.keras --declared
      wproj explain sample_weights/digits_cnn.keras -r 'conv*/kernel max_norm=2'
      wproj explain sample_weights/digits_mlp_pt.safetensors -r '*.weight unit_norm axis=in'
    """  # noqa: D301 # \b is the character that keeps the lines apart
    outcome = Outcome("explain", fmt, report, [*files, config, recipe])
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
    )
    with outcome.attempt(recipe):
        rules = read_rules(given, discover=True)
        outcome.recipe = rules.recipe
        for file in expand(files):
            _explain_file(file, rules, outcome)
    return outcome.finish()


def _explain_file(file: str, rules: Rules, outcome: Outcome) -> None:
    with outcome.attempt(file):
        plan = rules.sketch(file)
        outcome.opened(plan.checkpoint)
        for warning in _warnings(plan):
            outcome.warn(warning, file)
        tensors, uses = wproj.TensorReports(wproj.explain(plan)), wproj.rule_reports(plan)
        outcome.add(wproj.file_report(plan.checkpoint, plan.layout, None, tensors, uses))


def _warnings(plan: wproj.Plan) -> list[wproj.RequestError]:
    """What is odd about the plan, and is not told with a rule."""
    told = [problem for use in plan.uses for problem in use.problems]
    return [warning for warning in plan.warnings if warning not in told]
