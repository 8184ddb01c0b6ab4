"""What the tensors of legacy files are called and are: of Keras 1 and 2, tf.keras, `save("m.h5")`.

Their paths are made of names: the group is the layer of the model, below it is what TensorFlow or
Theano called the variable. That repeats scopes, counts them, and need not know the layers inside
other layers by their names. Where it leaves two of them possible, neither is taken.
Layout: `save_weights_to_hdf5_group` of Keras 1.2, 2.2 and 2.10.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wproj.formats.base import Layout, TensorEntry
from wproj.formats.keras_layers import Role, canonical
from wproj.formats.keras_old_kernels import OldKernel, old_kernels

_ROOT = "model_weights/"
_MOST_SCOPES = 32  # That are doubled: of layers in layers.
_SUFFIX = re.compile(r"(?<=.):\d+$")  # TensorFlow's number of the output of an operation
_OLD_WORDS = (
    r"[WUb](?:_[ifcozrh])?|alphas|gamma|beta|running_(?:mean|std)|(?:depth|point)wise_kernel"
)
_OLD = re.compile(rf"(?!lora_)(?:(?P<layer>.+)_)?(?P<word>{_OLD_WORDS})(?:_\d+)?")
_GATE = re.compile(r"([WUb])_([ifcozrh])")
_GATES = {"LSTM": 4, "GRU": 3}
# What Keras 1 and 2 called variables, by what they are called today.
_WORDS = {
    "kernel": ("W",),
    "recurrent_kernel": ("U",),
    "bias": ("b",),
    "embeddings": ("W",),
    "alpha": ("alphas",),
    "moving_mean": ("running_mean",),
    "moving_variance": ("running_std",),
}


def legacy_name(path: str) -> str:
    """What people call the tensor that Keras stored at `path` of a legacy file.

    The root of the weights, the `:0` of TensorFlow and the doubled layer name are dropped, counted
    or not.

    >>> legacy_name("model_weights/conv1/conv1/kernel:0"), legacy_name("dense_1/dense_1_W")
    ('conv1/kernel', 'dense_1/W')
    >>> legacy_name("top/top_17/bias:0")
    'top/bias'
    """
    parts = _SUFFIX.sub("", path.removeprefix(_ROOT)).split("/")
    for half in range(min((len(parts) - 1) // 2, _MOST_SCOPES), 0, -1):
        if parts[:half] == parts[half : 2 * half]:
            del parts[:half]
            break
    if len(parts) == 3 and re.fullmatch(rf"{re.escape(parts[0])}_\d+", parts[1]):
        del parts[1]
    old = _OLD.fullmatch(parts[-1])
    if old is not None and len(parts) > 1 and old["layer"] == parts[-2]:
        parts[-1] = old["word"]
    return "/".join(parts)


def legacy_layout(entries: Sequence[TensorEntry]) -> Layout:
    """Where the kernels of a Keras file have their output axis.

    Keras 1 put it first or last in convolutions, which is known by the number of biases beside.
    """
    told = ((entry, _leaf(entry.path)) for entry in entries if len(entry.shape) > 2)
    old = [entry for entry, word in told if re.fullmatch(r"W(_[ifco])?|param_\d+", word)]
    biases = {entry.path: entry.shape for entry in entries}
    return "keras" if all(_is_last(entry, biases) for entry in old) else "unknown"


def _is_last(kernel: TensorEntry, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    head, _, tail = kernel.path.rpartition("_W")
    first, *_, last = kernel.shape
    return first != last and shapes.get(f"{head}_b{tail}") == (last,)


def _leaf(path: str) -> str:
    return legacy_name(path).rpartition("/")[2]


def legacy_roles(
    entries: Sequence[TensorEntry], known: Mapping[str, Role], config: Mapping[str, Any]
) -> dict[str, Role]:
    """The roles of the variables of a legacy file, by their canonical paths.

    `known` has the roles of the model that `config` describes, as Keras 3 would have it.

    Raises:
        ValueError: The config is contradictory.
    """
    layers, kernels = _top_layers(config), old_kernels(config)
    stored: dict[str, list[_Stored]] = defaultdict(list)
    for entry in entries:
        path = canonical(entry.path)
        layer = None if path in known else _first_of(layers, path.removeprefix(_ROOT))
        if layer is not None:
            stored[layer].append(_stored(layer, path, entry.shape))
    meant: dict[str, list[_Meant]] = defaultdict(list)
    for role in known.values():
        top = _first_of(layers, role.name)
        if top is not None and top in stored:
            meant[top].append(_Meant(tuple(_behind(top, role.name)[:-1]), role))
    return {
        variable.path: told
        for layer, variables in stored.items()
        for variable, one in _resolved(variables, meant[layer])
        if (told := _as_stored(one.role, variable, kernels)) is not None
    }


def whole_name(name: str) -> str:
    """The name of the variable that the matrices of single gates are parts of today.

    >>> whole_name("lstm_1/kernel_i"), whole_name("dense_1/kernel")
    ('lstm_1/kernel', 'dense_1/kernel')
    """
    return re.sub(r"(?<=/)(kernel|recurrent_kernel|bias)_[ifcozrh]$", r"\1", name)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A variable as a legacy file has it.

    Attributes:
        path: Where it is.
        shape: Its shape.
        scopes: What is between the layer of the model and its own name.
        word: Its own name, in the words of its time.
        gate: Which gate of a recurrent layer it is of, in Keras 1.
    """

    path: str
    shape: tuple[int, ...]
    scopes: tuple[str, ...]
    word: str
    gate: str = ""


@dataclass(frozen=True, slots=True)
class _Meant:
    """A variable as the config describes it, and the layers inside the layer of the model."""

    layers: tuple[str, ...]
    role: Role

    def is_called(self, word: str) -> bool:
        """Whether some version of Keras called it so."""
        variable = self.role.variable
        depthwise = self.role.layer.startswith("Depthwise") and variable == "kernel"
        return (
            word == variable
            or word in _WORDS.get(variable, ())
            or (depthwise and word == "depthwise_kernel")
        )

    def likeness(self, scopes: Sequence[str]) -> tuple[bool, int]:
        """Whether all of its layers are on the way, in order, and how many are."""
        # TensorFlow's Bidirectional renames a backward layer that it is given; its config does not.
        names = [(layer, f"backward_{layer}") for layer in self.layers]
        remaining = iter(scopes)
        found = sum(any(scope in either for scope in scopes) for either in names)
        whole = all(any(scope in either for scope in remaining) for either in names)
        return whole, found


def _top_layers(config: Mapping[str, Any]) -> set[str]:
    """The names of the layers of the model itself."""
    inside = config.get("config")
    layers = inside.get("layers") if isinstance(inside, Mapping) else None
    configs = [layer.get("config") for layer in layers or () if isinstance(layer, Mapping)]
    return {str(one["name"]) for one in configs if isinstance(one, Mapping) and "name" in one}


def _first_of(layers: set[str], path: str) -> str | None:
    """The layer of the model that a path begins with; the longest, as names may have slashes."""
    while path:
        path = path.rpartition("/")[0]
        if path in layers:
            return path
    return None


def _behind(layer: str, path: str) -> list[str]:
    return path[len(layer) + 1 :].split("/")


def _stored(layer: str, path: str, shape: tuple[int, ...]) -> _Stored:
    *scopes, leaf = _behind(layer, _SUFFIX.sub("", path.removeprefix(_ROOT)))
    old = _OLD.fullmatch(leaf)
    if old is not None:
        scopes, leaf = [*scopes, *(old["layer"] or "").split("/")], old["word"]
    gate = _GATE.fullmatch(leaf)
    word, letter = gate.groups() if gate else (leaf, "")
    return _Stored(path, shape, tuple(filter(None, scopes)), word, letter)


def _resolved(
    stored: Sequence[_Stored], meant: Sequence[_Meant]
) -> Iterator[tuple[_Stored, _Meant]]:
    """What each variable of one layer of the model is, as far as there is no doubt."""
    numbered = {one.word: one for one in stored}
    if meant and numbered.keys() == {f"param_{number}" for number in range(len(meant))}:
        if not any(one.layers for one in meant):
            yield from ((numbered[f"param_{number}"], one) for number, one in enumerate(meant))
        return
    for word, gate in {(one.word, one.gate): None for one in stored}:
        called = [one for one in meant if one.is_called(word)]
        if gate:
            called = [one for one in called if one.role.layer in (*_GATES, "ConvLSTM2D")]
        yield from _paired([s for s in stored if (s.word, s.gate) == (word, gate)], called)


def _paired(stored: Sequence[_Stored], meant: Sequence[_Meant]) -> Iterator[tuple[_Stored, _Meant]]:
    """The pairs of variables of one kind by the names of their layers.

    A name that TensorFlow counted on, `dense_1` of a second `dense`, may be that of another layer.
    So where layers of one stem are not all found by their names, none of them is.
    """
    if len(stored) == len(meant) == 1 and not meant[0].role.witnesses:
        yield stored[0], meant[0]
        return
    pairs = [(one, best) for one in stored if (best := _most_like(one, meant)) is not None]
    times = Counter(id(best) for _, best in pairs)
    pairs = [(one, best) for one, best in pairs if times[id(best)] == 1]
    found = {id(best) for _, best in pairs}
    lost = [one for one in meant if id(one) not in found]
    stems = {_stem(one) for one in lost}
    yield from ((one, best) for one, best in pairs if _stem(best) not in stems)
    left = [one for one in stored if all(one is not other for other, _ in pairs)]
    for one in lost:
        alike = [other for other in left if _stem(one) in map(_uncounted, other.scopes)]
        alone = sum(_stem(other) == _stem(one) for other in meant) == 1
        if len(alike) == 1 and alone:
            yield alike[0], one


def _most_like(stored: _Stored, meant: Sequence[_Meant]) -> _Meant | None:
    ranked = sorted(((one.likeness(stored.scopes), n) for n, one in enumerate(meant)), reverse=True)
    if not ranked or ranked[0][0] == (False, 0):
        return None
    alone = len(ranked) == 1 or ranked[0][0] > ranked[1][0]
    return meant[ranked[0][1]] if alone else None


def _stem(meant: _Meant) -> str:
    return _uncounted(meant.layers[-1]) if meant.layers else ""


def _uncounted(name: str) -> str:
    counted = re.match(r"(?:\d++_)*+", name[::-1])  # From the end, each character once.
    return name[: len(name) - counted.end()] if counted else name


def _as_stored(role: Role, stored: _Stored, kernels: Mapping[str, OldKernel]) -> Role | None:
    """The role, as far as Keras 1 stored the variable as today or in parts; else None."""
    kernel = kernels.get(role.name.removesuffix(f"/{role.variable}").rpartition("/")[2])
    fixed = role if kernel is None else kernel.stored(role, stored.shape)
    if fixed is None or not stored.gate:
        return fixed
    shape, gates = fixed.shape, _GATES.get(role.layer)
    if shape is not None and gates is not None:
        *sizes, last = shape
        shape = (*sizes, None if last is None else last // gates)
    name, variable = f"{role.name}_{stored.gate}", f"{role.variable}_{stored.gate}"
    return replace(fixed, name=name, variable=variable, shape=shape, declared=None)
