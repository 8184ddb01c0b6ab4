"""Baselines: the violations of today, so that only new or worse ones count.

A file is told by its path from the current folder, with slashes, however it was given:
as `./m.keras`, as `runs/../m.keras`, absolutely, or with the backslashes of Windows.
"""

import os
import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from wproj.errors import FileError, RequestError, plural, printable
from wproj.formats.positional import read_regular
from wproj.packed_reports import TensorReports
from wproj.report import FileReport, TensorReport

_MAX_BASELINE = 1 << 28


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """The violations of one tensor: how many, how far at most, and how many non-finite ones."""

    file: str
    tensor: str
    rule: str | None
    violations: int
    excess: float
    nonfinite: int


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """What was violated when the baseline was recorded."""

    schema: Literal["wproj.baseline"]
    schema_version: Literal["1.0"]
    tensors: list[Known]


def record_baseline(files: Sequence[FileReport]) -> Baseline:
    """The violations of reports, as a baseline."""
    found = [(file.path, t) for file in files for t in file.tensors if t.status == "violation"]
    tensors = [_known(_key(path), tensor) for path, tensor in found]
    return Baseline(schema="wproj.baseline", schema_version="1.0", tensors=tensors)


def encode_baseline(baseline: Baseline) -> str:
    """The baseline as JSON, a line for each value."""
    return msgspec.json.format(msgspec.json.encode(baseline), indent=2).decode() + "\n"


def load_baseline(path: Path) -> Baseline:
    """The baseline in the file at `path`.

    Raises:
        RequestError: There is none, or it is damaged.
    """
    hint = "--update-baseline records the violations of today"
    try:
        return msgspec.json.decode(read_regular(path, _MAX_BASELINE), type=Baseline)
    except FileError as error:
        raise RequestError(f"baseline {error}", hint) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        problem = f"baseline {printable(str(path))}: is none: {printable(str(error))}"
        raise RequestError(
            problem, "remove it, and record another with --update-baseline"
        ) from error


def apply_baseline(file: FileReport, baseline: Baseline) -> FileReport:
    """The report of a file, in which violations that the baseline knows are none.

    A tensor is forgiven if no more vectors are outside than were, none farther than the farthest
    was, and no more are non-finite.
    """
    key = _key(file.path)
    known = {(k.tensor, k.rule): k for k in baseline.tensors if _key(k.file) == key}
    tensors = TensorReports(_forgiven(t, known.get((t.name, t.rule))) for t in file.tensors)
    return msgspec.structs.replace(file, tensors=tensors)


def _forgiven(tensor: TensorReport, known: Known | None) -> TensorReport:
    if known is None or tensor.status != "violation":
        return tensor
    now = _known(known.file, tensor)
    worse = now.violations > known.violations or now.excess > known.excess
    if worse or now.nonfinite > known.nonfinite:
        return tensor
    reason = f"{plural(now.violations, 'violation')} that the baseline knows"
    return msgspec.structs.replace(tensor, status="ok", reason=reason)


def _known(file: str, tensor: TensorReport) -> Known:
    violations = tensor.violations
    return Known(
        file=file,
        tensor=tensor.name,
        rule=tensor.rule,
        violations=(violations.before or 0) if violations else 0,
        excess=(violations.worst_excess or 0.0) if violations else 0.0,
        nonfinite=tensor.nonfinite or 0,
    )


def _key(path: str) -> str:
    """How a baseline calls a file: relative to the current folder if it is below it."""
    plain = posixpath.normpath(path.replace("\\", "/"))
    here = posixpath.normpath(os.getcwd().replace("\\", "/"))  # noqa: PTH109 # only a text
    return plain.removeprefix(f"{here.rstrip('/')}/")
