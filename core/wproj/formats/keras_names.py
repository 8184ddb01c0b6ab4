"""The names that Keras users know, for the tensors of a Keras file.

From the config where there is one; else from the layer names that Keras 3.6 and later note beside
the variables, or from the paths of legacy files, which are made of names.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from wproj.formats.base import TensorEntry
from wproj.formats.keras_layers import Role, canonical, roles

MAX_CONFIG = 1 << 26
_LEGACY_LEAVES = {"W": "kernel", "b": "bias", "depthwise_kernel": "kernel"}


class ConfigError(ValueError):
    """What is wrong with a config, without the file's name."""


def parse_config(text: str | bytes) -> Mapping[str, Any]:
    """A model's config from its JSON.

    Raises:
        ConfigError: It is not JSON, or not of a model.
    """
    if len(text) > MAX_CONFIG:
        raise ConfigError(f"has {len(text)} bytes, more than the {MAX_CONFIG} allowed")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"is not JSON: {error}") from error
    if not isinstance(config, dict) or "class_name" not in config or "config" not in config:
        raise ConfigError("does not describe a model")
    return config


def name_entries(
    entries: Sequence[TensorEntry], labels: Mapping[str, str], config: Mapping[str, Any] | None
) -> tuple[TensorEntry, ...]:
    """The entries with their names, and with what the config says of them.

    `labels` has the layer names that are noted in the file, by the path of the layer.

    Raises:
        ConfigError: The config resolves two variables to one path.
    """
    known = _roles(config)
    told = [_told(entry, known, labels) for entry in entries]
    counts = Counter(entry.name for entry in told)
    return tuple(
        e if counts[e.name] == 1 else replace(e, name=e.path, named_by="path") for e in told
    )


def _told(entry: TensorEntry, known: Mapping[str, Role], labels: Mapping[str, str]) -> TensorEntry:
    path = canonical(entry.path)
    role = known.get(path) or _legacy_role(path, known)
    if role is None:
        label = _labeled(path, labels)
        name = label or legacy_name(path)
        return replace(entry, name=name, named_by="attribute" if label else "path")
    obstacle = entry.obstacle
    if entry.kind == "float" and not role.fits(entry.shape):
        sizes = ",".join("?" if size is None else str(size) for size in role.shape or ())
        obstacle = f"its shape contradicts the config, whose {role.layer} has ({sizes})"
    return replace(
        entry,
        name=role.name,
        named_by="config",
        layer=role.layer,
        declared=role.declared,
        incoming=role.incoming(len(entry.shape)) if role.incoming else None,
        obstacle=obstacle,
    )


def _roles(config: Mapping[str, Any] | None) -> dict[str, Role]:
    try:
        return roles(config) if config else {}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"is not one of Keras: {error}") from error


def unmatched(
    entries: Sequence[TensorEntry], config: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Variables of the config that no entry is, and entries that no layer of the config has."""
    known = _roles(config)
    found = {(role.name, role.layer) for role in known.values()}
    present = {(entry.name, entry.layer) for entry in entries}
    paths = {canonical(entry.path) for entry in entries}
    lacking = [
        role.name
        for path, role in known.items()
        if path not in paths and (role.name, role.layer) not in present
    ]
    foreign = [entry.name for entry in entries if entry.layer is None]
    return (lacking if found else []), foreign


def _labeled(path: str, labels: Mapping[str, str]) -> str | None:
    """The layer names on the way to `layers/.../vars/0`, and the variable's number."""
    layer, vars_, number = path.rpartition("/vars/")
    if not vars_:
        return None
    found = [labels[above] for above in _above(layer) if above in labels]
    return "/".join([*found, number]) if layer in labels else None


def _above(path: str) -> Iterator[str]:
    """`a`, `a/b` and `a/b/c` for `a/b/c`."""
    parts = path.split("/")
    for end in range(1, len(parts) + 1):
        yield "/".join(parts[:end])


def legacy_name(path: str) -> str:
    """What people call the tensor that Keras stored at `path` of a legacy file.

    The root of the weights, the `:0` of TensorFlow and the doubled layer name are dropped.

    >>> legacy_name("model_weights/conv1/conv1/kernel:0")
    'conv1/kernel'
    """
    parts = path.removeprefix("model_weights/").split("/")
    if len(parts) > 2 and parts[0] == parts[1]:
        del parts[0]
    parts[-1] = re.sub(r"(?<=.):0$", "", parts[-1])
    return "/".join(parts)


def _legacy_role(path: str, known: Mapping[str, Role]) -> Role | None:
    """The role of a variable of a legacy file, whose path is made of names.

    It is the one variable of its kind in the layer, or the one with most of the layers on the path.
    """
    parts = legacy_name(path).split("/")
    leaf = re.split(r"_(?=[Wb]$)", parts[-1])[-1]
    leaves = {leaf, _LEGACY_LEAVES.get(leaf, leaf)}
    found = [
        role
        for role in known.values()
        if role.variable in leaves and role.name.split("/")[0] == parts[0]
    ]
    if len(found) > 1:
        found = [role for role in found if _on_the_way(role.name.split("/")[:-1], parts)]
        deepest = max((role.name.count("/") for role in found), default=0)
        found = [role for role in found if role.name.count("/") == deepest]
    return found[0] if len(found) == 1 else None


def _on_the_way(layers: Sequence[str], parts: Sequence[str]) -> bool:
    remaining = iter(parts)
    return all(layer in remaining for layer in layers)
