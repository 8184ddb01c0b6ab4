"""What to point out in a Hugging Face folder: nothing that stands in the way, but odd."""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from wproj.errors import FileError, listed, plural, shown
from wproj.formats.base import TensorEntry
from wproj.formats.positional import read_regular
from wproj.formats.safetensors import SafetensorsCheckpoint
from wproj.formats.strict_json import JsonError, parse_json

SUFFIX = ".safetensors"
Shards = Mapping[str, SafetensorsCheckpoint]

_CONFIG, _MAX_CONFIG = "config.json", 1 << 26
_WEIGHTS = (f"*{SUFFIX}", "pytorch_model*.bin", "tf_model*.h5", "flax_model*.msgpack")
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "shared.weight")
_HEAD = "lm_head.weight"


def index_notes(
    index: Path,
    found: Mapping[str, Any],
    shards: Shards,
    entries: Sequence[TensorEntry],
    members: Sequence[str],
) -> Iterator[str]:
    """What is odd about an index that fits its files."""
    yield from _strays(index, found["weight_map"], shards)
    yield from _total(index, found.get("metadata"), entries)
    whole = index.name.removesuffix(".index.json")
    if whole in members and whole not in shards and whole.endswith(SUFFIX):
        yield f"{whole} is not in {index.name}, stays as it is, and is what loaders read first"


def folder_notes(
    folder: Path, members: Sequence[str], shards: Shards, entries: Sequence[TensorEntry]
) -> Iterator[str]:
    """What is odd about a folder, with an index or without one."""
    others = [name for name in members if name not in shards and _is_weights(name)]
    if others:
        files = plural(len(others), "other file")
        yield f"{files} with weights, copied as found: {listed(others)}"
    if _CONFIG in members and _says_tied(folder / _CONFIG):
        yield from _ties(entries)


def _is_weights(member: str) -> bool:
    name = member.rpartition("/")[2]
    return any(fnmatchcase(name, pattern) for pattern in _WEIGHTS)


def _strays(index: Path, mapped: Mapping[str, str], shards: Shards) -> Iterator[str]:
    for name, shard in shards.items():
        stray = [entry.name for entry in shard.entries if entry.name not in mapped]
        if stray:
            count = plural(len(stray), "tensor")
            yield f"{name} holds {count} that {index.name} does not name: {listed(stray)}"


def _total(index: Path, metadata: object, entries: Sequence[TensorEntry]) -> Iterator[str]:
    told = metadata.get("total_size") if isinstance(metadata, dict) else None
    total = sum(entry.nbytes for entry in entries)
    if told is not None and told != total:
        size = shown(told)
        yield f"{index.name} has the total_size {size}, but its tensors take {total} bytes"


def _ties(entries: Sequence[TensorEntry]) -> Iterator[str]:
    """Tensors that are tied, although each is stored: a rule for one of them unties them."""
    for head in [entry for entry in entries if entry.name.endswith(_HEAD)][:1]:
        tied = [e.name for e in entries if e.shape == head.shape and e.name.endswith(_EMBEDDINGS)]
        if tied:
            names = listed([head.name, *tied])
            yield f"{_CONFIG} ties {names}, yet each is stored: give all of them the same rule"


def _says_tied(path: Path) -> bool:
    try:
        config = parse_json(read_regular(path, _MAX_CONFIG))
    except (FileError, JsonError):
        return False  # Loaders judge configs; the weights are what is read here.
    if not isinstance(config, dict):
        return False
    text = config.get("text_config")
    inner = text.get("tie_word_embeddings") if isinstance(text, dict) else None
    return config.get("tie_word_embeddings", inner) is True
