"""Where the rules of a command come from: exactly one source."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import wproj
from wproj_cli.options import opened, parse_custom


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the options that several verbs share were given, as they were."""

    match: Sequence[str] | None = None
    constraint: Sequence[str] | None = None
    axis: str | None = None
    rule: Sequence[str] | None = None
    recipe: str | None = None
    settings: Sequence[str] | None = None
    declared: bool = False
    custom: Sequence[str] | None = None
    config: str | None = None
    exclude: Sequence[str] | None = None
    layout: wproj.Layout | None = None
    allow_unmatched: bool = False
    no_hdf5: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is to hold for checkpoints, whichever they are.

    Attributes:
        given: The options.
        rules: The rules in order; None for those that each model declares.
        custom: The classes of declared constraints that are not of Keras.
        recipe: The recipe that the rules are from.
    """

    given: Given
    rules: tuple[wproj.Rule, ...] | None
    custom: dict[str, type[wproj.Constraint]]
    recipe: wproj.Recipe | None = None

    @property
    def exclude(self) -> tuple[str, ...]:
        """The patterns of tensors that no rule takes."""
        return (*(self.given.exclude or ()), *(self.recipe.exclude if self.recipe else ()))

    @property
    def layout(self) -> wproj.Layout | None:
        """The layout of the checkpoints; None leaves it to each file."""
        return self.given.layout or (self.recipe.layout if self.recipe else None)

    def plan(self, source: str) -> wproj.Plan:
        """What the rules do to the checkpoint `source`.

        Raises:
            RequestError: A rule matches nothing, or does not fit what it matches.
            InputError: The file cannot be read.
        """
        checkpoint = opened(source, self.given.config, no_hdf5=self.given.no_hdf5)
        if self.rules is None:
            return wproj.plan_declared(checkpoint, custom=self.custom, exclude=self.exclude)
        return wproj.plan(
            checkpoint,
            self.rules,
            exclude=self.exclude,
            layout=self.layout,
            allow_unmatched=self.given.allow_unmatched,
        )

    def sketch(self, source: str) -> wproj.Plan:
        """The same, also where rules match nothing or cannot be applied."""
        if self.rules is None:
            return self.plan(source)
        checkpoint = opened(source, self.given.config, no_hdf5=self.given.no_hdf5)
        return wproj.explain_plan(checkpoint, self.rules, exclude=self.exclude, layout=self.layout)


def read_rules(given: Given, *, discover: bool = False) -> Rules:
    """The rules of the one source that the options name; with `discover`, else of a recipe nearby.

    Raises:
        RequestError: There is none, or more than one, or it cannot be read.
    """
    pair = bool(given.match or given.constraint or given.axis)
    sources = {
        "-m, -c and -a": pair,
        "-r": bool(given.rule),
        "--recipe": given.recipe is not None,
        "--declared": given.declared,
    }
    named = [source for source, present in sources.items() if present]
    if len(named) > 1:
        raise wproj.RequestError(f"{named[1]} excludes {named[0]}: rules come from one source")
    if given.custom and not given.declared:
        raise wproj.RequestError("--custom goes with --declared: a rule names its own constraint")
    if given.settings and (named and given.recipe is None):
        raise wproj.RequestError(f"--set changes a recipe, and rules come from {named[0]}")
    if given.declared:
        if given.layout:
            raise wproj.RequestError("--declared excludes --layout: each constraint has its axis")
        return Rules(given=given, rules=None, custom=parse_custom(given.custom))
    if given.rule or pair:
        return Rules(given=given, rules=tuple(_given_rules(given)), custom={})
    recipe = _recipe(given, discover=discover)
    return Rules(given=given, rules=recipe.rules, custom={}, recipe=recipe)


def _given_rules(given: Given) -> list[wproj.Rule]:
    """The rules of -r, or of -m, -c and -a."""
    if given.rule:
        return [wproj.parse_rule(text) for text in given.rule]
    if not given.match or not given.constraint:
        hint = "for example -m 'conv*/kernel' -c max_norm=2 -a 0,1,2"
        raise wproj.RequestError(f"give a rule: -m GLOB and -c SPEC, {_OTHERS}", hint)
    if len(given.constraint) > 1:
        joined = "+".join(given.constraint)
        hint = f"join constraints with '+': -c {joined}; for several rules repeat -r"
        raise wproj.RequestError("-c is given more than once", hint)
    axes = "auto" if given.axis is None else wproj.parse_axes(given.axis)
    (constraint,) = given.constraint
    return [wproj.Rule(tuple(given.match), wproj.parse_constraint(constraint), axes)]


_OTHERS = "or -r RULE, or --recipe FILE, or --declared"
_MOST = 1 << 24  # Bytes of standard input: a recipe is far shorter.


def _recipe(given: Given, *, discover: bool) -> wproj.Recipe:
    recipe = _named(given) if given.recipe is not None else _found(given, discover=discover)
    if not recipe.rules:
        problem = f"recipe {wproj.printable(recipe.path)} has no rule"
        raise wproj.RequestError(problem, "a rule begins with [[rule]]")
    return recipe


def _named(given: Given) -> wproj.Recipe:
    """The recipe of --recipe."""
    settings = given.settings or ()
    if given.recipe == "-":
        content = sys.stdin.buffer.read(_MOST) if sys.stdin else b""
        return wproj.parse_recipe(content, "-", settings)
    return wproj.load_recipe(Path(str(given.recipe)), settings)


def _found(given: Given, *, discover: bool) -> wproj.Recipe:
    """The recipe nearby, whose path is told relative to here; it runs no code."""
    found = wproj.find_recipe(Path.cwd()) if discover else None
    if found is None:
        problem = f"give a rule: -m GLOB and -c SPEC, {_OTHERS}"
        hint = "for example -m 'conv*/kernel' -c max_norm=2 -a 0,1,2"
        if discover:
            hint = f"or keep a recipe in wproj.toml, which 'wproj init' writes; {hint}"
        raise wproj.RequestError(problem, hint)
    path = Path(os.path.relpath(found))
    return wproj.load_recipe(path, given.settings or (), code=False)
