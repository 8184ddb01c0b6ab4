"""Patterns over names: globs, exact names, whole layers, and `re:` expressions."""

import difflib
import re
import warnings
from collections.abc import Callable, Sequence
from itertools import islice

from wcmatch import fnmatch

from wproj.errors import NoMatchError, RuleSyntaxError
from wproj.formats.base import Checkpoint, TensorEntry

# What is compared letter by letter to find the nearest names: a second at most.
_MOST, _LONGEST = 5_000, 200
# Case counts on every system, `*` crosses `/` and `.`, and nothing else is special.
_FLAGS = fnmatch.CASE | fnmatch.BRACE | fnmatch.DOTMATCH | fnmatch.FORCEUNIX


def select(pattern: str, entries: Sequence[TensorEntry]) -> list[TensorEntry]:
    """The entries that `pattern` matches by name, path or alias, in their order.

    An entry of exactly this name is tried first; then `re:` begins a regular expression for the
    whole name, and a pattern without wildcards takes everything below it, too. Paths are tried
    where no name matches: in Keras files `dense_1` is the name of one layer and the path of
    another.

    Raises:
        RuleSyntaxError: The pattern cannot be read.
    """
    plain = pattern.removeprefix("/")
    exact = [entry for entry in entries if entry.name == plain]
    exact = exact or [entry for entry in entries if plain in paths(entry)]
    if exact:
        return exact
    matches = matcher(pattern)
    named = [entry for entry in entries if matches(entry.name)]
    return named or [entry for entry in entries if any(map(matches, paths(entry)))]


def select_any(patterns: Sequence[str], checkpoint: Checkpoint) -> list[TensorEntry]:
    """The entries of a checkpoint that any of the patterns matches, in their order.

    Raises:
        NoMatchError: A pattern matches none, and the checkpoint is not empty.
        RuleSyntaxError: A pattern cannot be read.
    """
    found: set[str] = set()
    for pattern in patterns:
        matched = select(pattern, checkpoint.entries)
        if not matched and checkpoint.entries:
            raise no_match(pattern, checkpoint)
        found.update(entry.path for entry in matched)
    return [entry for entry in checkpoint.entries if entry.path in found]


def no_match(pattern: str, checkpoint: Checkpoint) -> NoMatchError:
    """The error of a pattern without a tensor, with what may have been meant."""
    near, wider = nearest(pattern, checkpoint.entries), looser(pattern, checkpoint.entries)
    return NoMatchError(pattern, str(checkpoint.path), near, wider)


def exactly(pattern: str, entry: TensorEntry) -> bool:
    """Whether `pattern` is this entry's name, letter by letter."""
    return pattern.removeprefix("/") in (entry.name, *paths(entry))


def paths(entry: TensorEntry) -> tuple[str, ...]:
    """Where an entry is stored, by all of its paths."""
    return (entry.path, *entry.aliases)


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a name matches `pattern`, as a function.

    Raises:
        RuleSyntaxError: The pattern cannot be read.
    """
    if not pattern:
        raise RuleSyntaxError(pattern, "the pattern is empty")
    if pattern.startswith("re:"):
        return _expression(pattern)
    pattern = pattern.removeprefix("/")
    if not fnmatch.is_magic(pattern, flags=_FLAGS):
        below = (f"{pattern}/", f"{pattern}.")
        return lambda name: name == pattern or name.startswith(below)
    try:
        compiled = fnmatch.compile(pattern, flags=_FLAGS)
    except Exception as error:  # wcmatch and bracex raise several unrelated classes.
        raise RuleSyntaxError(pattern, f"is not a glob: {error}") from error
    return lambda name: bool(compiled.match(name))


def _expression(pattern: str) -> Callable[[str], bool]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of what may mean something else one day.
            compiled = re.compile(pattern.removeprefix("re:"))
    except (re.error, OverflowError, RecursionError) as error:
        raise RuleSyntaxError(pattern, f"is not a regular expression: {error}") from error
    return lambda name: compiled.fullmatch(name) is not None


def nearest(pattern: str, entries: Sequence[TensorEntry]) -> list[str]:
    """Up to three names that look like `pattern`, of the first few thousand that are not long."""
    plain = re.sub(r"[*?\[\]{}!]|^re:", "", pattern)[:_LONGEST]
    names = (entry.name for entry in entries if len(entry.name) <= _LONGEST)
    return difflib.get_close_matches(plain, list(islice(names, _MOST)), n=3, cutoff=0.3)


def looser(pattern: str, entries: Sequence[TensorEntry]) -> tuple[str, int] | None:
    """A pattern around the longest plain part of `pattern`, and how many entries it matches."""
    parts = [] if pattern.startswith("re:") else re.split(r"[*?/.]|\[[^]]*\]|\{[^}]*\}", pattern)
    for part in sorted(filter(None, parts), key=len, reverse=True):
        wider = f"*{part}*"
        count = len(select(wider, entries))
        if count:
            return wider, count
    return None
