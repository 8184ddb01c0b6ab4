"""What is left out unless it is named exactly, and what cannot be projected at all."""

import re
from collections.abc import Collection

from wproj.formats.base import TensorEntry

_OPTIMIZER = re.compile(r"(^|/)_?(optimizer|optimizer_weights)(/|$)|^optimizer\.")
_MOVING = re.compile(
    r"(^|[/._])((moving|running)_(mean|var|variance|std|stddev)|renorm_(mean|stddev))$"
)
_COUNTER = re.compile(r"(^|[/._])(num_batches_tracked|iterations?|learning_rate|seed)$")
_QUANTIZATION = re.compile(r"/(\w+_(scale|zero|amax_history)|g_idx|awq_scales)$")
_NORMALIZATION = re.compile(r"(^|/)batch_normalization(_\d+)?/vars/\d+$")

_KINDS = {
    "integer": "integer entries",
    "bool": "boolean entries",
    "complex": "complex entries",
    "packed": "packed entries",
    "other": "not numbers",
}


def obstacle(entry: TensorEntry, every_name: Collection[str]) -> str | None:
    """Why this tensor cannot be projected, however it is named; None if it can.

    `every_name` holds the names and paths of all tensors beside it.
    """
    if entry.obstacle:
        return entry.obstacle
    if entry.kind in _KINDS:
        return f"{entry.dtype}: {_KINDS[entry.kind]}"
    lora = re.sub(r"(?<=/)(?=\w+$)", "lora_", entry.name) + "_a"
    if lora in every_name:
        return f"{lora} adds to it when it is used: its own norms mean nothing"
    scale = _scale_of(entry.name, every_name) if entry.kind == "float8" else None
    if scale:
        return f"{entry.dtype} scaled by {scale}: its raw norms mean nothing"
    return None


def exclusion(entry: TensorEntry, every_name: Collection[str]) -> str | None:
    """Why this tensor is left out unless it is named exactly; None if it is not."""
    if entry.kind == "float8":
        return f"{entry.dtype} is usually quantized; name it exactly"
    if _OPTIMIZER.search(entry.path):
        return "optimizer state"
    if _MOVING.search(entry.name) or _moving_by_place(entry.path, every_name):
        return "moving statistics"
    if _COUNTER.search(entry.name):
        return "counter"
    if entry.layer == "Normalization":
        return "statistics of the data"
    if entry.layer is not None and _QUANTIZATION.search(entry.name):
        return "state of a quantization"
    if entry.name.endswith("/vector_u"):
        return "state of the power iteration"
    return None


def _moving_by_place(path: str, every_name: Collection[str]) -> bool:
    """The last two variables of a Keras 3 BatchNormalization are its moving statistics."""
    if not _NORMALIZATION.search(path):
        return False
    group, _, number = path.rpartition("/")
    count = sum(f"{group}/{n}" in every_name for n in range(4))
    return number not in map(str, range(count - 2))


def _scale_of(name: str, every_name: Collection[str]) -> str | None:
    """The tensor that holds the scales of a quantized one, by the names in use."""
    stem = re.split(r"[./](?=[^./]*$)", name)[0]
    candidates = [f"{name}{end}" for end in ("_scale_inv", "_scale", "_scales", ".scale", "/scale")]
    candidates += [f"{stem}.{leaf}" for leaf in ("scale", "scales", "weight_scale", "scale_weight")]
    return next((c for c in candidates if c in every_name and c != name), None)
