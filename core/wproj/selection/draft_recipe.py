"""A recipe to start from: commented, with a checkpoint's own layers and declared constraints."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wproj.errors import printable, shape_text, storable
from wproj.formats.base import Checkpoint, TensorEntry
from wproj.selection import globs
from wproj.selection.assigning import Assignment
from wproj.selection.axes import incoming
from wproj.selection.declared import declared_plan, has_declared
from wproj.selection.exclusions import exclusion, obstacle
from wproj.selection.plan import all_names

_HEAD = """\
# Which weights have to meet which constraints. 'wproj check FILE' holds checkpoints against it,
# 'wproj project FILE --recipe wproj.toml -o OUT' applies it, 'wproj explain FILE' tells its reach.
version = 1

# Where kernels have their output axis: "keras" (last), "torch" (first), "auto" (as the file tells).
layout = "auto"

# Names of tensors that no rule takes. Patterns: * crosses / and ., ?, [abc], {a,b}, re:...
exclude = []
"""

_RULES = """
# The first rule that matches a tensor takes it.
"""

_EXAMPLE = """
[[rule]]
id         = "kernels"
match      = ["*kernel*", "*.weight"]
constraint = "max_norm"   # or non_neg, unit_norm, min_max_norm, file.py:Class
max_value  = 2.0          # Keras' parameter names: max_value, min_value, rate
axis       = "in"         # the axes that a norm sums over: 0, [0, 1, 2], "all", "in"
# expect   = 4            # how many tensors it takes; any other number is an error
"""

_TAIL = """
# Several constraints, applied in order:
# [[rule]]
# id    = "embeddings"
# match = "embedding*"
# steps = [{ constraint = "non_neg" }, { constraint = "unit_norm", axis = -1 }]

[check]
# rtol = 0                      # strict; without it, what Keras itself leaves outside passes
# nonfinite = "error"           # vectors with NaN or infinite entries: error, warn, ignore
# unreachable = "error"         # zero vectors under a lower bound
# unmatched_tensors = "ignore"  # tensors that no rule matches
"""


def draft_recipe(checkpoint: Checkpoint | None = None) -> str:
    """The text of a recipe, ready to be written to `wproj.toml`.

    For a checkpoint it lists the tensors, and has a rule for each constraint that its layers
    declare, or else one for all of its kernels.
    """
    if checkpoint is None:
        return f"{_HEAD}{_RULES}{_EXAMPLE}{_TAIL}"
    tensors = "".join(f"{line}\n" for line in _listing(checkpoint))
    rules = "".join(_rules(checkpoint))
    return f"{_HEAD}\n{tensors}{_RULES}{rules}{_TAIL}"


def _listing(checkpoint: Checkpoint) -> Iterator[str]:
    yield f"# The tensors of {printable(checkpoint.path.name)}:"
    for entry in checkpoint.entries:
        layer = f" {printable(entry.layer)}" if entry.layer else ""
        yield f"#   {printable(entry.name)} {shape_text(entry.shape)} {entry.dtype}{layer}"


def _rules(checkpoint: Checkpoint) -> Iterator[str]:
    groups: dict[str, list[Assignment]] = {}
    if has_declared(checkpoint):
        for item in declared_plan(checkpoint).assignments:
            groups.setdefault(repr(item.steps), []).append(item)
    patterns = _patterns(checkpoint)
    for items in groups.values():
        yield _declared_rule(items, patterns)
    if groups:
        return
    kernels = [patterns[entry.path] for entry in _kernels(checkpoint)]
    if kernels:
        yield _rule("kernels", kernels, {"constraint": "max_norm", "max_value": 2.0, "axis": "in"})
    else:
        yield _EXAMPLE


def _kernels(checkpoint: Checkpoint) -> Iterator[TensorEntry]:
    names = all_names(checkpoint)
    for entry in checkpoint.entries:
        told = checkpoint.layout == "unknown" or incoming(entry, checkpoint.layout) is not None
        left_out = obstacle(entry, names) or exclusion(entry, names)
        if told and len(entry.shape) > 1 and not left_out:
            yield entry


def _patterns(checkpoint: Checkpoint) -> dict[str, str]:
    """A pattern for each tensor that takes it alone, by path: its name where that will do."""
    taken = _taken(checkpoint.entries)
    return {entry.path: _pattern(entry, taken) for entry in checkpoint.entries}


def _pattern(entry: TensorEntry, taken: Mapping[str, list[TensorEntry]]) -> str:
    """The name, where it takes this tensor alone: patterns lose a first slash, for example."""
    for text in (entry.name, f"/{entry.name}", entry.path, f"/{entry.path}"):
        if _fits(text) and taken.get(text.removeprefix("/")) == [entry]:
            return text
    return f"re:{storable(re.escape(entry.name))}"


def _taken(entries: Sequence[TensorEntry]) -> dict[str, list[TensorEntry]]:
    """What each exact name takes, as `globs.select` has it: by name, or else by path."""
    named: dict[str, list[TensorEntry]] = {}
    stored: dict[str, list[TensorEntry]] = {}
    for entry in entries:
        named.setdefault(entry.name, []).append(entry)
        for path in dict.fromkeys(globs.paths(entry)):
            stored.setdefault(path, []).append(entry)
    return stored | named


def _fits(name: str) -> bool:
    """Whether TOML has all of its characters: it has no lone surrogates."""
    return storable(name) == name


def _declared_rule(items: list[Assignment], patterns: Mapping[str, str]) -> str:
    (step,) = items[0].steps
    config = {key: value for key, value in step.get_config().items() if key != "axis"}
    axis = {} if items[0].axis is None else {"axis": list(items[0].axis) or "all"}
    match = [patterns[item.entry.path] for item in items]
    name = match[0] or "declared"
    return _rule(name, match, {"constraint": step.name, **config, **axis})


def _rule(name: str, patterns: list[str], values: Mapping[str, Any]) -> str:
    match = ",".join(f"\n    {_toml(pattern)}" for pattern in patterns)
    lines = [f"id = {_toml(name)}", f"match = [{match},\n]", f"expect = {len(patterns)}"]
    lines += [f"{key} = {_toml(value)}" for key, value in values.items()]
    return "\n[[rule]]\n" + "".join(f"{line}\n" for line in lines)


def _toml(value: object) -> str:
    r"""A text, number or list as TOML spells it.

    >>> _toml(["a\n", 2.0])
    '["a\\n", 2.0]'
    """
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return repr(value)
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
