"""What was measured, as frozen values: the report schema, version 1. No formatting here.

Keys are only ever added within version 1. A measure that does not exist (of an empty set, of
non-finite values, of a constraint that cannot tell) is None, and `null` in JSON.
"""

from typing import Any, Literal

import msgspec

SCHEMA = "wproj.report"
SCHEMA_VERSION = "1.0"

Status = Literal["changed", "unchanged", "violation", "ok", "skipped", "error"]


class NormSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Euclidean norms of a tensor's vectors, in float64, of the values as stored.

    Quantiles interpolate linearly. Vectors with non-finite entries are left out; all five are None
    where no vector remains.
    """

    min: float | None
    mean: float | None
    p50: float | None
    p99: float | None
    max: float | None


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of norms in bins of equal width from `low` to `high`."""

    low: float
    high: float
    counts: list[int]


class Violations(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors outside the constraint's set, before and after.

    `worst_index` is the index, over the axes that are not summed over, of the vector that was
    farthest outside before, and `worst_norm` its norm. A user-defined constraint without
    `contains` leaves all of them None.
    """

    before: int | None
    after: int | None
    worst_index: list[int] | None
    worst_norm: float | None


class Distance(msgspec.Struct, frozen=True, kw_only=True):
    """Euclidean distance between the tensor before and after; relative to its norm before.

    None where it is beyond float64, or the norm is 0.
    """

    absolute: float | None
    relative: float | None


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """One constraint of a rule: its name and its config as Keras spells it, axes resolved."""

    name: str
    config: dict[str, Any]


class TensorReport(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor of a checkpoint.

    `file` is the shard that holds it, in a checkpoint of several files. `named_by` says where the
    name comes from in Keras files: `config`, `attribute` (a layer name noted beside the variable)
    or `path`. `layer` is the class of its Keras layer and `declared` the constraint that the layer
    declares for it, as serialized, where a config tells. `axis` holds the axes summed over, None
    where every entry is judged by itself; the norms are then those of the whole tensor, and
    `vectors` counts entries. `zero` counts vectors of norm 0, `unreachable` those of them that a
    lower bound leaves at zero. `step` says that the constraint moves only part of the way (`rate`
    below 1).
    """

    name: str
    path: str
    shape: list[int]
    dtype: str
    bytes: int
    file: str | None = None
    named_by: Literal["config", "attribute", "path"] | None = None
    layer: str | None = None
    declared: str | dict[str, Any] | None = None
    rule: str | None = None
    constraint: list[Applied] = []
    axis: list[int] | None = None
    vectors: int | None = None
    vector_length: int | None = None
    status: Status = "ok"
    reason: str | None = None
    norm_before: NormSummary | None = None
    norm_after: NormSummary | None = None
    changed_vectors: int | None = None
    changed_entries: int | None = None
    zero: int | None = None
    unreachable: int | None = None
    nonfinite: int | None = None
    step: bool = False
    violations: Violations | None = None
    distance: Distance | None = None
    histogram: Histogram | None = None


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint; `tensor_count` counts all of its tensors, listed in `tensors` or not."""

    path: str
    format: str
    layout: str
    output: str | None
    tensor_count: int
    tensors: list[TensorReport]


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """A warning or an error, with its hint, and the file that it is about where there is one."""

    level: Literal["error", "warning"]
    message: str
    hint: str | None = None
    file: str | None = None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over all files of a report."""

    files: int
    tensors: int
    matched: int
    changed: int
    violations: int
    nonfinite: int
    skipped: int


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """Which program made the report."""

    name: str
    version: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report of one command."""

    schema: str = SCHEMA
    schema_version: str = SCHEMA_VERSION
    command: str
    tool: Tool
    numerics: str | None
    exit_code: int
    summary: Summary
    files: list[FileReport]
    diagnostics: list[Diagnostic]


def summarize(files: list[FileReport]) -> Summary:
    """Counts over `files`.

    Violations are those that remain: after a projection, or as found where nothing was projected.
    """
    tensors = [tensor for file in files for tensor in file.tensors]
    matched = [tensor for tensor in tensors if tensor.status not in ("skipped", "error")]
    total = sum(file.tensor_count for file in files)
    return Summary(
        files=len(files),
        tensors=total,
        matched=len(matched),
        changed=sum(tensor.status == "changed" for tensor in matched),
        violations=sum(_remaining(tensor) for tensor in matched),
        nonfinite=sum(tensor.nonfinite or 0 for tensor in matched),
        skipped=total - len(matched),
    )


def _remaining(tensor: TensorReport) -> int:
    if tensor.violations is None:
        return 0
    after = tensor.violations.after
    return (tensor.violations.before if after is None else after) or 0
