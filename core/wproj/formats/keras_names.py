"""The names that Keras users know, for the tensors of a Keras file.

From the config where there is one; else from the layer names that Keras 3.6 and later note beside
the variables, or from the paths of legacy files, which are made of names.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from wproj.errors import brief, shown
from wproj.formats.base import TensorEntry
from wproj.formats.keras_declared import tidied
from wproj.formats.keras_layers import Role, canonical, roles
from wproj.formats.keras_legacy import legacy_name, legacy_roles, whole_name
from wproj.formats.keras_old_configs import today
from wproj.formats.strict_json import JsonError, parse_json

MAX_CONFIG = 1 << 24  # Bytes; of the largest models that Keras comes with they are a tenth.
_MAX_VALUES = 1 << 21  # Each takes a hundred bytes of memory, and more once it is translated.
_FAULTS = (ValueError, TypeError, AttributeError, RecursionError, ArithmeticError, LookupError)


class ConfigError(ValueError):
    """What is wrong with a config, without the file's name."""


def parse_config(text: str | bytes) -> Mapping[str, Any]:
    """A model's config from its JSON.

    Raises:
        ConfigError: It is not JSON, or not of a model.
    """
    if len(text) > MAX_CONFIG:
        raise ConfigError(f"has more than {MAX_CONFIG} bytes")
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if sum(map(data.count, (b"[", b"{", b","))) > _MAX_VALUES:
        raise ConfigError(f"has more than {_MAX_VALUES} values")
    try:
        config = parse_json(text)
    except JsonError as error:
        raise ConfigError(str(error)) from error
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
    labels = {canonical(path): label for path, label in labels.items()}
    known = _confirmed(_roles(config), {canonical(entry.path) for entry in entries}, labels)
    known = {**known, **_legacy_roles(entries, known, config)}
    try:
        told = [_told(entry, known, labels) for entry in entries]
    except _FAULTS as error:
        raise ConfigError(f"is not one of Keras: {error}") from error
    counts = Counter(entry.name for entry in told)
    return tuple(
        e if counts[e.name] == 1 else replace(e, name=e.path, named_by="path") for e in told
    )


def _told(entry: TensorEntry, known: Mapping[str, Role], labels: Mapping[str, str]) -> TensorEntry:
    path = canonical(entry.path)
    role = known.get(path)
    if role is None:
        label = _labeled(path, labels)
        name = label or legacy_name(path)
        return replace(entry, name=name, named_by="attribute" if label else "path")
    obstacle = entry.obstacle
    if entry.kind == "float" and not role.fits(entry.shape):
        sizes = ",".join("?" if size is None else shown(size) for size in role.shape or ())
        told = f"its shape contradicts the config, whose {role.layer} has ({sizes})"
        obstacle = brief(told, 200)
    return replace(
        entry,
        name=role.name,
        named_by="config",
        layer=role.layer,
        declared=tidied(role.declared),
        incoming=role.incoming(len(entry.shape)) if role.incoming else None,
        obstacle=obstacle,
    )


def _roles(config: Mapping[str, Any] | None) -> dict[str, Role]:
    try:
        return roles(today(config)) if config else {}
    except _FAULTS as error:
        raise ConfigError(f"is not one of Keras: {error}") from error


def _legacy_roles(
    entries: Sequence[TensorEntry], known: Mapping[str, Role], config: Mapping[str, Any] | None
) -> dict[str, Role]:
    try:
        return legacy_roles(entries, known, today(config)) if config else {}
    except _FAULTS as error:
        raise ConfigError(f"is not one of Keras: {error}") from error


def _confirmed(
    known: Mapping[str, Role], paths: Collection[str], labels: Mapping[str, str]
) -> Mapping[str, Role]:
    """The roles without those that are guesses which the file does not confirm."""
    return {
        path: role
        for path, role in known.items()
        if path not in paths or role.witnesses.items() <= labels.items()
    }


def unmatched(
    entries: Sequence[TensorEntry], config: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Variables of the config that no entry is, and entries that no layer of the config has."""
    known = _roles(config)
    found = {(role.name, role.layer) for role in known.values()}
    present = {(_own_name(entry.name), entry.layer) for entry in entries}
    paths = {canonical(entry.path) for entry in entries}
    lacking = [
        role.name
        for path, role in known.items()
        if not (role.optional or role.witnesses)
        and path not in paths
        and (_own_name(role.name), role.layer) not in present
    ]
    foreign = [entry.name for entry in entries if entry.layer is None]
    return (lacking if found else []), foreign


def _own_name(name: str) -> str:
    """The names of a variable and its layer: a layer in two places is stored in the first."""
    return "/".join(whole_name(name).split("/")[-2:])


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
