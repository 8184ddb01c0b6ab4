"""What can go wrong, as values: each error writes its own sentence, and a hint where one helps.

Two families decide the exit code of the command line: a `RequestError` says that what was asked
for cannot be meant (2), any other `WprojError` that it could not be finished (3).
"""

import difflib
import re
import reprlib
from collections.abc import Iterable, Sequence

_LONGEST = 500  # Characters of a name in a sentence.


def printable(text: str) -> str:
    r"""`text` with control characters, lone surrogates and the like written as escapes.

    Names come from files that strangers wrote, and end up on terminals and in the logs of CI, where
    GitHub takes what begins a line with `::`, or stands anywhere behind `##[`, for a command.

    >>> printable("a\x1b[31mb\n"), printable("::error::a")
    ('a\\x1b[31mb\\n', '\\x3a:error::a')
    """
    if not text.isprintable():
        text = "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
        )
    if ":" in text or "#" in text:
        text = re.sub(r"\A( *):(?=:)", r"\1\\x3a", text).replace("##[", "#\\x23[")
    return text


def storable(text: str) -> str:
    r"""`text` with lone surrogates, which UTF-8 does not have, written as escapes.

    >>> storable("a\ud800")
    'a\\ud800'
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 120


def shown(value: object) -> str:
    """What a file says, as Python writes it, cut where it is long: it may be as long as the file.

    >>> shown("w"), shown([0] * 9), len(shown("w" * 10**6))
    ("'w'", '[0, 0, 0, 0, 0, 0, ...]', 120)
    """
    return _SHOWN.repr(value)


def brief(text: str, width: int) -> str:
    """The text; of a longer one than `width`, both ends.

    >>> brief("abc", 3), brief("abcdefgh", 7)
    ('abc', 'ab...gh')
    """
    half = max(1, (width - 3) // 2)
    return text if len(text) <= width else f"{text[:half]}...{text[-half:]}"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """A count and its noun.

    >>> plural(1, "vector"), plural(2, "entry", "entries")
    ('1 vector', '2 entries')
    """
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def listed(items: Iterable[str], limit: int = 5) -> str:
    """The first `limit` items joined by commas, and how many more there are.

    >>> listed(["a", "b", "c"], limit=2)
    'a, b (1 more)'
    """
    names = list(items)
    more = f" ({len(names) - limit} more)" if len(names) > limit else ""
    return ", ".join(printable(brief(name, _LONGEST)) for name in names[:limit]) + more


class WprojError(Exception):
    """Anything that wproj refuses or cannot finish; `hint` says what to do, where that is known."""

    hint: str | None = None

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class RequestError(WprojError, ValueError):
    """What was asked for cannot be meant: a rule, an option, a target."""


class InputError(WprojError):
    """A file that cannot be read as a checkpoint, or holds what cannot be projected."""


class OutputError(WprojError):
    """The result could not be written; the original and any old target are as they were."""


class ProblemsError(RequestError):
    """Several `RequestError`s that were found together; `problems` holds them."""

    def __init__(self, problems: Sequence[RequestError]) -> None:
        self.problems = tuple(problems)
        lines = [f"{len(self.problems)} problems"]
        for number, problem in enumerate(self.problems, 1):
            lines.append(f"  {number}. {problem}")
            if problem.hint:
                lines.append(f"     hint: {problem.hint}")
        super().__init__("\n".join(lines))


def raise_all(problems: Sequence[RequestError]) -> None:
    """Raises the one problem, or all of them as one; returns where there is none."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ProblemsError(problems)


# Constraints and rules


class ConstraintError(RequestError):
    """A constraint's parameter is out of its range or of the wrong type."""

    def __init__(self, constraint: str, parameter: str, given: object, expected: str) -> None:
        super().__init__(f"{constraint}: {parameter} must be {expected}, not {given!r}")


class UnknownConstraintError(RequestError, LookupError):
    """No constraint is registered under this name."""

    def __init__(self, identifier: object, known: Sequence[str]) -> None:
        near = difflib.get_close_matches(str(identifier), known, n=1)
        super().__init__(
            f"unknown constraint {printable(str(identifier))!r}; choose from {', '.join(known)}",
            f"did you mean {near[0]}?"
            if near
            else "your own is named file.py:Class or package.module:Class",
        )


class ConstraintLoadError(RequestError):
    """A user-defined constraint could not be imported or built, or returned something else."""

    def __init__(self, reference: str, problem: str) -> None:
        super().__init__(f"constraint {printable(reference)}: {printable(problem)}")


class RuleSyntaxError(RequestError):
    """The text of a rule cannot be read."""

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(
            f"rule {printable(text)!r}: {printable(problem)}",
            "a rule reads 'GLOB CONSTRAINT [axis=AXES] [key=value]...', "
            "for example 'conv*/kernel max_norm=2 axis=0,1,2'",
        )


class RecipeError(RequestError):
    """A recipe cannot be read, or says what a recipe cannot say."""

    def __init__(self, path: str, line: int | None, problem: str, hint: str | None = None) -> None:
        where = printable(path) if line is None else f"{printable(path)}, line {line}"
        super().__init__(f"recipe {where}: {printable(problem)}", hint)


class ExpectError(RequestError):
    """A rule takes another number of tensors than it expects."""

    def __init__(self, rule: str, expected: int, names: Sequence[str], path: str) -> None:
        found = f"{plural(len(names), 'tensor')} in {printable(path)}"
        super().__init__(
            f"rule {printable(rule)!r} expects {expected} and takes {found}: {listed(names)}",
            "correct the pattern, or the number that it expects",
        )


class AxisError(RequestError):
    """An axis that this tensor does not have, given twice, or of the wrong type."""

    def __init__(self, axis: object, shape: Sequence[int], problem: str) -> None:
        super().__init__(f"axis {axis} {problem} for shape {shape_text(shape)}")


class AxisOutOfRangeError(RequestError):
    """A rule's axis does not fit some of the tensors that the rule matches."""

    def __init__(self, rule: str, axis: str, tensors: Sequence[tuple[str, Sequence[int]]]) -> None:
        names = [f"{name} {shape_text(shape)}" for name, shape in tensors]
        super().__init__(
            f"rule {printable(rule)!r}: axis {axis} does not fit "
            f"{plural(len(names), 'matched tensor')}: {listed(names, limit=20)}",
            "narrow the pattern, or leave these tensors out with -x",
        )


class AxisNeededError(RequestError):
    """A norm constraint without an axis, where nothing says which axes are summed over."""

    def __init__(self, rule: str, tensors: Sequence[tuple[str, Sequence[int]]]) -> None:
        names = [f"{name} {shape_text(shape)}" for name, shape in tensors]
        super().__init__(
            f"rule {printable(rule)!r} needs an axis for {listed(names)}",
            "give the axes summed over with -a: 0 for a Keras dense kernel, 0,1,2 for a Keras "
            "2-D convolution, 1 for a PyTorch linear weight, 'in' for every axis but the "
            "output's, 'all' for one norm per tensor",
        )


class LayoutNeededError(RequestError):
    """Axis `in` for a file whose layout is not known."""

    def __init__(self, path: str, rule: str) -> None:
        super().__init__(
            f"rule {printable(rule)!r}: axis 'in' needs the layout of {printable(path)}, "
            "which the file does not tell",
            "say --layout keras (the output axis is the last) or --layout torch (the first), "
            "or give the axes by number",
        )


class NoMatchError(RequestError, LookupError):
    """A rule's pattern matches no tensor of the file."""

    def __init__(
        self, pattern: str, path: str, nearest: Sequence[str], looser: tuple[str, int] | None
    ) -> None:
        message = f"{printable(pattern)!r} matches no tensor in {printable(path)}"
        if nearest:
            message += f"; nearest: {listed(nearest, limit=3)}"
        hint = f"'wproj ls {printable(path)}' lists the names"
        if looser:
            hint = f"{printable(looser[0])!r} would match {looser[1]}; {hint}"
        super().__init__(message, hint)


class NothingLeftError(RequestError):
    """A rule matches tensors, and every one of them is left out or was taken by an earlier rule."""

    def __init__(self, rule: str, reasons: Sequence[tuple[str, str]]) -> None:
        left = [f"{name} ({reason})" for name, reason in reasons]
        super().__init__(
            f"rule {printable(rule)!r} has no tensor left to constrain: {listed(left)}",
            "rules apply in order and the first match wins; a float tensor that is left out by "
            "default is taken when it is named exactly",
        )


# Files


class FileError(InputError):
    """This path cannot be read as a checkpoint: missing, a directory, damaged, unsupported."""

    def __init__(self, path: str, problem: str, hint: str | None = None) -> None:
        super().__init__(f"{printable(path)}: {printable(brief(problem, 4 * _LONGEST))}", hint)


class TensorError(InputError):
    """A tensor whose values cannot be projected; `locate` adds the file that it is in."""

    def __init__(self, problem: str, hint: str | None = None, tensor: str | None = None) -> None:
        self.problem = problem
        where = f"{printable(tensor)}: " if tensor else ""
        super().__init__(f"{where}{problem}", hint)

    def locate(self, path: str, tensor: str) -> "TensorError":
        """The same error, naming the file and the tensor."""
        return TensorError(self.problem, self.hint, f"{path}: {brief(tensor, _LONGEST)}")


class NonFiniteError(TensorError):
    """NaN or infinite entries in a tensor that is to be projected."""

    def __init__(self, count: int, first: Sequence[int]) -> None:
        super().__init__(
            f"{plural(count, 'non-finite entry', 'non-finite entries')}, the first at index "
            f"{list(first)}",
            "--nonfinite skip leaves the vectors with NaN or infinite entries as they are",
        )


class NotRepresentableError(TensorError):
    """A projected value is beyond the largest finite number of the stored dtype."""

    def __init__(self, dtype: str, largest: float) -> None:
        super().__init__(
            f"the result is beyond {largest:g}, the largest finite {dtype}",
            "lower the bound, or convert the tensor to a wider dtype first",
        )


class TargetError(RequestError):
    """The target is one that wproj does not write to."""

    def __init__(self, path: str, problem: str, hint: str | None = None) -> None:
        super().__init__(f"{printable(path)}: {printable(problem)}", hint)


class WriteError(OutputError):
    """The operating system refused a write; no partial file has the name of the target."""

    def __init__(self, path: str, problem: str, left: str | None = None) -> None:
        left = f"finished shards are in {left}" if left else "no partial file is left"
        super().__init__(
            f"could not write {printable(path)}: {printable(problem)}",
            f"the original is unchanged, and {printable(left)}",
        )


class PartlyWrittenError(OutputError):
    """The operating system refused to replace a file of a folder, after others were replaced."""

    def __init__(self, path: str, problem: str, replaced: Sequence[str]) -> None:
        super().__init__(
            f"could not write {printable(path)}: {printable(problem)}",
            f"replaced already, each as a whole: {listed(replaced)}; run again for the others",
        )


def shape_text(shape: Sequence[int]) -> str:
    """A shape without spaces.

    >>> shape_text((3, 3, 64))
    '(3,3,64)'
    """
    return f"({','.join(map(str, shape))})"
