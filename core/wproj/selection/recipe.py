"""Recipes: rules and the policy of `check`, in TOML."""

import difflib
import errno
import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from wproj.errors import RecipeError, RequestError, listed, printable
from wproj.formats.base import Layout
from wproj.selection.lines import Place, lines_of, longest_key
from wproj.selection.recipe_rules import axis_of, steps_of
from wproj.selection.recipe_tables import (
    CheckPolicy,
    RecipeTable,
    RuleTable,
    choice_at,
    fields_at,
)
from wproj.selection.rules import Rule

_MAX_RECIPE = 1 << 20
_MOST_PARTS = 64  # Of a key such as `tool.wproj.rule`.
_TOO_DEEP = "is nested too deeply"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a recipe says.

    Attributes:
        path: Where it was read from; `-` for standard input.
        sha256: The digest of its bytes, in hexadecimal.
        rules: Its rules, each with its line.
        exclude: Patterns of tensors that no rule takes.
        layout: The layout of the checkpoints; None leaves it to each file.
        check: The policy of `check`.
    """

    path: str
    sha256: str
    rules: tuple[Rule, ...] = ()
    exclude: tuple[str, ...] = ()
    layout: Layout | None = None
    check: CheckPolicy = field(default_factory=CheckPolicy)


def load_recipe(path: Path, settings: Sequence[str] = (), *, code: bool = True) -> Recipe:
    """The recipe in the TOML file at `path`; of a pyproject.toml, its table `tool.wproj`.

    See `parse_recipe`.

    Raises:
        RecipeError: It cannot be read, or says what a recipe cannot say.
    """
    try:
        content = _read(path)
    except (OSError, ValueError) as error:
        raise RecipeError(str(path), None, getattr(error, "strerror", str(error))) from error
    table = ("tool", "wproj") if path.name == "pyproject.toml" else ()
    return parse_recipe(content, str(path), settings, table, code=code)


def parse_recipe(
    content: bytes,
    path: str,
    settings: Sequence[str] = (),
    table: tuple[str, ...] = (),
    *,
    code: bool = True,
) -> Recipe:
    """The recipe that `content` is; `path` is what errors call it.

    Args:
        content: The bytes of the TOML document.
        path: What errors call it.
        settings: Single values that override others: `rule.conv.max_value=3`, where `conv` is the
            id of a rule, or `check.rtol=0`. They are TOML; what is not is a text.
        table: The keys of the table that the recipe is, in a document that holds more.
        code: Whether it may name constraints in files and packages, whose code then runs.

    Raises:
        RecipeError: It is not TOML, has unknown keys or wrong types, or a rule cannot be meant.
    """
    reading = _Reading.of(_decode(content, path), path, table)
    tables = reading.convert()
    if settings:
        for setting in settings:
            _override(reading.data, setting)
        tables = _Reading("with --set", reading.data).convert()
    reading.check_ids(tables.rule)
    return Recipe(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        rules=tuple(reading.rule(n, rule, code=code) for n, rule in enumerate(tables.rule)),
        exclude=tuple(tables.exclude),
        layout=None if tables.layout == "auto" else tables.layout,
        check=tables.check,
    )


def find_recipe(start: Path) -> Path | None:
    """The recipe of the folder `start` or the nearest above it, up to the root of the repository.

    That is `wproj.toml`, or a `pyproject.toml` that has a table `tool.wproj`.
    """
    for folder in (start, *start.parents):
        if (folder / "wproj.toml").is_file():
            return folder / "wproj.toml"
        project = folder / "pyproject.toml"
        if project.is_file() and _has_table(project):
            return project
        if (folder / ".git").exists():
            return None
    return None


def _has_table(project: Path) -> bool:
    try:
        tool = _document(_read(project).decode()).get("tool")
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(tool, dict) and "wproj" in tool


def _read(path: Path) -> bytes:
    """The regular file at `path`; no FIFO is waited for, and nothing endless is read."""
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file")
    waiting = getattr(os, "O_NONBLOCK", 0)  # For a FIFO that has taken its place.
    with open(path, "rb", opener=lambda p, flags: os.open(p, flags | waiting)) as file:  # an opener
        return file.read(_MAX_RECIPE + 1)


def _decode(content: bytes, path: str) -> str:
    if len(content) > _MAX_RECIPE:
        raise RecipeError(path, None, f"has more than {_MAX_RECIPE} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(path, None, f"is not UTF-8: {error.reason}") from error


def _document(text: str) -> dict[str, Any]:
    """What TOML says; its parser takes time with the square of a key's parts."""
    parts = longest_key(text)
    if parts > _MOST_PARTS:
        raise tomllib.TOMLDecodeError(f"a key has {parts} parts, more than {_MOST_PARTS}")
    return tomllib.loads(text)


def _override(data: dict[str, Any], setting: str) -> None:
    """Puts one value of `--set` into a recipe's data."""
    key, equals, text = setting.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        hint = "for example rule.conv.max_value=3 or check.rtol=0"
        raise RequestError(f"--set takes KEY=VALUE, not {setting!r}", hint)
    target: Any = data
    if parts[0] == "rule":
        target = _rule_named(".".join(parts[1:-1]), data, setting)
    elif len(parts) > 1:
        target = data.setdefault(parts[0], {})
    if not isinstance(target, dict) or (len(parts) > 2 and parts[0] != "rule"):
        raise RequestError(f"--set {printable(setting)}: a recipe has no value there")
    target[parts[-1]] = _toml_value(text)


def _rule_named(name: str, data: Mapping[str, Any], setting: str) -> dict[str, Any]:
    rules: dict[str, dict[str, Any]] = {r["id"]: r for r in data.get("rule", []) if "id" in r}
    if name not in rules:
        problem = f"--set {printable(setting)}: no rule has the id {printable(name)!r}"
        raise RequestError(problem, f"the ids are: {listed(rules) or 'none'}")
    return rules[name]


def _toml_value(text: str) -> Any:  # noqa: ANN401 # anything that TOML holds
    try:
        document = _document(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return document["value"] if len(document) == 1 else text


@dataclass(frozen=True, slots=True)
class _Reading:
    """A recipe being read: where it is, its table as TOML has it, and the lines of its values."""

    path: str
    data: dict[str, Any]
    table: tuple[str, ...] = ()
    lines: Mapping[Place, int] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str, path: str, table: tuple[str, ...]) -> "_Reading":
        """The table of the document `text`."""
        try:
            data: Any = _document(text)
            lines = lines_of(text)
        except RecursionError as error:
            raise RecipeError(path, None, _TOO_DEEP) from error
        except tomllib.TOMLDecodeError as error:
            at = re.search(r"at line (\d+)", str(error))
            problem = f"is not TOML: {re.sub(r' *[(]at .*[)]', '', str(error))}"
            raise RecipeError(path, int(at[1]) if at else None, problem) from error
        except ValueError as error:  # What int() says of thousands of digits.
            raise RecipeError(path, None, "has a number of too many digits") from error
        for key in table:
            data = data.get(key) if isinstance(data, dict) else None
        if data is None:
            raise RecipeError(path, None, f"has no table [{'.'.join(table)}]")
        return cls(path, data, table, lines)

    def line(self, *place: str | int) -> int | None:
        """The line on which the value at `place` begins."""
        return self.lines.get((*self.table, *place))

    def convert(self) -> RecipeTable:
        """The data as values of the right types."""
        try:
            return msgspec.convert(self.data, RecipeTable, strict=True)
        except msgspec.ValidationError as error:
            raise self._invalid(str(error)) from error
        except UnicodeEncodeError as error:  # Of --set; a file that is not UTF-8 does not get here.
            raise RecipeError(self.path, None, "has a text that is not UTF-8") from error
        except RecursionError as error:
            raise RecipeError(self.path, None, _TOO_DEEP) from error

    def check_ids(self, tables: Sequence[RuleTable]) -> None:
        """Refuses an id that two rules have."""
        first: dict[str, int | None] = {}
        for number, table in enumerate(tables):
            line = self.line("rule", number)
            if table.id in first:
                problem = f"rule {number + 1} has the id {table.id!r} of the rule on line"
                hint = "--set, reports and baselines tell rules apart by their ids"
                raise RecipeError(self.path, line, f"{problem} {first[table.id]}", hint)
            if table.id is not None:
                first[table.id] = line

    def rule(self, number: int, table: RuleTable, *, code: bool) -> Rule:
        """The rule of a table."""
        line = self.line("rule", number)
        try:
            steps, axes = steps_of(table, code=code)
            axis = axis_of([table.axis, *axes])
            match = table.match if isinstance(table.match, str) else tuple(table.match)
            label = table.id or None
            return Rule(match, steps, axis, label=label, expect=table.expect, line=line)
        except RequestError as error:
            name = f"rule {table.id!r}" if table.id else f"rule {number + 1}"
            raise RecipeError(self.path, line, f"{name}: {error}", error.hint) from error
        except RecursionError as error:  # A config that cannot even be shown.
            raise RecipeError(self.path, line, _TOO_DEEP) from error

    def _invalid(self, message: str) -> RecipeError:
        """What msgspec says, with the line and what may have been meant."""
        problem, _, where = message.partition(" - at `$")
        place = tuple(
            int(part) if part.isdecimal() else part
            for part in re.findall(r"[^.\[\]`]+", where.replace("...", ""))
        )
        unknown = re.search(r"unknown field `(.*)`", problem)
        key = (unknown[1],) if unknown else ()
        line = self.line(*place, *key)
        dotted = ".".join(part for part in (*place, *key) if isinstance(part, str))
        if unknown:
            fields = fields_at(place)
            near = difflib.get_close_matches(unknown[1], fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(fields)}"
            return RecipeError(self.path, line, f"unknown key {dotted}", hint)
        missing = re.search(r"missing required field `(.*)`", problem)
        if missing:
            table = f" in {dotted}" if dotted else ""
            example = "version = 1" if missing[1] == "version" else f"{missing[1]} = ..."
            return RecipeError(self.path, line, f"{missing[1]} is missing{table}", f"add {example}")
        said = problem[:1].lower() + problem[1:].replace("`", "'")
        said = said.replace("null", "none").replace("object", "table")
        return RecipeError(
            self.path, line, f"{dotted}: {said}" if dotted else said, choice_at(place)
        )
