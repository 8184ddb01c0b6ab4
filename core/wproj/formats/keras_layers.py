"""What the variables of a Keras file are in their model, told from its config without Keras.

Keras 3 stores variables as `layers/dense_1/vars/0`: by class and position. The numbers have
nothing to do with those in layer names, which only the config has, and variable names are not
stored at all.
Rules: `keras.src.saving.saving_lib`, and the `build` methods of the layers.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from wproj.formats.keras_parts import CELLS, Config, Part, is_quantized, parts_of, projections

# Where the classes of Keras have been through the years.
_KERAS = ("keras", "keras_core", "tf_keras", "tensorflow")
# Characters of one name, and of all of them: each begins with those of all layers around.
_LONGEST, _MOST_TEXT = 1 << 12, 1 << 26
# Layers that make two of the one inside. One in another would be four, and so on.
_DOUBLING = ("Bidirectional", "SpectralNormalization")
# What a quantized layer stores at most, in float8.
_MOST_QUANTIZED = 8


@dataclass(frozen=True, slots=True)
class Role:
    """What a variable is in its model.

    Attributes:
        name: The names of its layers and its own: `encoder/dense_1/kernel`.
        layer: The class of its layer.
        variable: Its own name.
        declared: The constraint that the layer declares for it, as serialized; None for none.
        incoming: The axes of the weights incident to each hidden unit, for a rank; None where the
            variable has no such axes.
        shape: What the config says of its shape, None for sizes that it leaves open; None for all.
        optional: Whether a file of this model may lack it.
        witnesses: Layer names by path, of the layers inside one that is not of Keras. That they
            are stored there is a guess, unless the file notes these names at these paths.
    """

    name: str
    layer: str
    variable: str
    declared: Any
    incoming: Callable[[int], tuple[int, ...] | None] | None
    shape: tuple[int | None, ...] | None = None
    optional: bool = False
    witnesses: Mapping[str, str] = field(default_factory=dict)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a variable of this shape can be the one that the config describes."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            expected in (None, size) for expected, size in zip(self.shape, shape, strict=True)
        )


def roles(config: Config) -> dict[str, Role]:
    """The role of every variable of a model, by its path in a Keras 3 weight file.

    `config` is a model's serialized config. Layers of unknown classes have no roles.

    Raises:
        ValueError: Two variables resolve to one path.
    """
    found: dict[str, Role] = {}
    size = 0
    for path, role in _layer(config, _Place(), top=True):
        size += len(path) + len(role.name)
        if size > _MOST_TEXT:
            raise ValueError("its names are too long, all in all")
        if path in found:
            raise ValueError(f"resolves both {found[path].name} and {role.name} to {path}")
        found[path] = role
    return found


def canonical(path: str) -> str:
    """The path as Keras 3 writes it today, of one that an older version or Windows wrote."""
    return path.replace("\\", "/").replace("_layer_checkpoint_dependencies", "layers")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a layer is in the file, the layers that lead to it, and who has to confirm that.

    `doubled` says whether a layer around it makes two of it.
    """

    path: str = ""
    name: str = ""
    witnesses: Mapping[str, str] = field(default_factory=dict)
    doubled: bool = False

    def below(self, attribute: str, name: str = "") -> "_Place":
        """The place of what an attribute of the layer here holds."""
        path = f"{self.path}/{attribute}" if self.path else attribute
        return replace(self, path=path, name=f"{self.name}{name}")

    def seen(self, label: str) -> "_Place":
        """The same, if the file notes this layer name here."""
        return replace(self, witnesses={**self.witnesses, self.path: label})

    def variable(self, number: int) -> str:
        """The path of a variable of the layer here."""
        return f"{self.path}/vars/{number}" if self.path else f"vars/{number}"


def _layer(layer: Config, place: _Place, *, top: bool = False) -> Iterator[tuple[str, Role]]:
    kind, config = str(layer.get("class_name")), layer.get("config")
    if isinstance(config, list):  # Keras 2.0 to 2.2 wrote Sequential configs so.
        config = {"layers": config}
    if not isinstance(config, Mapping):
        return
    foreign = _is_foreign(layer)
    if not top:
        if foreign and "name" not in config:
            return
        place = replace(place, name=f"{place.name}{config.get('name', kind)}/")
    place = _bounded(kind, place)
    if not foreign:
        yield from _own(kind, config, place)
    # Models are stored alike whatever their class is. Of other classes that is only a guess.
    guessed = foreign and "input_layers" not in config
    for attribute, child in _children(kind, config):
        below = place.below(attribute)
        yield from _layer(child, below.seen(_name(child)) if guessed else below)


def _bounded(kind: str, place: _Place) -> _Place:
    """The place of a layer, as long as a small config cannot make endless work of it."""
    if len(place.name) + len(place.path) > _LONGEST:
        raise ValueError("the name of a layer is too long")
    if kind not in _DOUBLING:
        return place
    if place.doubled:
        raise ValueError(f"it has a {kind} inside of another layer that doubles its own")
    return replace(place, doubled=True)


def _is_foreign(layer: Config) -> bool:
    """Whether the class is not one of Keras, whatever it is called."""
    module = layer.get("module")
    if isinstance(module, str):
        return module.split(".")[0] not in _KERAS
    return bool(layer.get("registered_name"))


def _name(layer: Config) -> str:
    config = layer.get("config")
    return str(config.get("name")) if isinstance(config, Mapping) else ""


def _own(kind: str, config: Config, place: _Place) -> Iterator[tuple[str, Role]]:
    """The variables of the layer itself, or of what stands for it in the file."""
    if kind == "SpectralNormalization":
        yield from _spectral(config, place)
    elif kind in CELLS:
        yield from _variables(CELLS[kind], config, place.below("cell"), kind)
    else:
        yield from _variables(kind, config, place, kind)
    for attribute, name, inner in projections(kind, config):
        yield from _projection(inner, config, place.below(attribute, f"{name}/"), kind)


def _projection(
    inner: str, config: Config, place: _Place, layer: str
) -> Iterator[tuple[str, Role]]:
    """The variables of a layer inside an attention layer, whose config has to speak for it.

    It does not say that they were quantized, which adds variables.
    """
    known = list(_variables(inner, config, place, layer))
    yield from known
    for number in range(len(known), _MOST_QUANTIZED):
        role = Role(f"{place.name}{number}", layer, str(number), None, None, optional=True)
        yield place.variable(number), replace(role, witnesses=place.witnesses)


def _spectral(config: Config, place: _Place) -> Iterator[tuple[str, Role]]:
    """A SpectralNormalization stores the weights of its layer a second time, and a vector.

    Once they are quantized, what it stores of them is of no use.
    """
    inner = config.get("layer")
    found = _layer(inner, _Place("layer", doubled=True)) if isinstance(inner, Mapping) else ()
    twins = [role for _, role in found if role.variable in ("kernel", "embeddings")]
    if twins and isinstance(inner, Mapping):
        twin = replace(twins[0], name=f"{place.name}{twins[0].variable}")
        if is_quantized(inner.get("config") or {}):
            twin = replace(twin, declared=None)
        vector = Role(f"{place.name}vector_u", "SpectralNormalization", "vector_u", None, None)
        for number, role in enumerate((twin, vector)):
            yield place.variable(number), replace(role, witnesses=place.witnesses)


def _variables(kind: str, config: Config, place: _Place, layer: str) -> Iterator[tuple[str, Role]]:
    for number, part in enumerate(parts_of(kind, config)):
        role = Role(
            name=f"{place.name}{part.variable}",
            layer=layer,
            variable=part.variable,
            declared=config.get(part.declared) if part.declared else None,
            incoming=_bound(part, config),
            shape=part.shape(config) if part.shape else None,
            witnesses=place.witnesses,
        )
        yield place.variable(number), role


def _bound(part: Part, config: Config) -> Callable[[int], tuple[int, ...] | None] | None:
    incoming = part.incoming
    return None if incoming is None else lambda rank: incoming(config, rank) or None


def _children(kind: str, config: Config) -> Iterator[tuple[str, Config]]:
    """The layers inside a layer, each with the attributes that lead to it."""
    layers = config.get("layers")
    if isinstance(layers, list):
        yield from _numbered("layers", layers)
    inner = config.get("layer")
    if kind == "Bidirectional" and isinstance(inner, Mapping):
        yield "forward_layer", inner
        yield "backward_layer", _backward(config, inner)
    elif isinstance(inner, Mapping):
        yield "layer", inner
    cell = config.get("cell")
    if isinstance(cell, Mapping):
        yield "cell", cell
    cells = config.get("cells")
    if isinstance(cells, list):
        yield from _numbered("cells", cells)


def _backward(config: Config, inner: Config) -> Config:
    """The backward layer, which a config without one leaves to be the forward layer's twin."""
    given = config.get("backward_layer")
    if isinstance(given, Mapping):
        return given
    twin = dict(inner.get("config") or {})
    twin["name"] = "backward_" + str(twin.get("name", "")).removeprefix("forward_")
    return {**inner, "config": twin}


def _numbered(attribute: str, layers: list[Any]) -> Iterator[tuple[str, Config]]:
    """Layers by class, the second of a class with the suffix `_1`."""
    used: Counter[str] = Counter()
    for layer in layers:
        if isinstance(layer, Mapping):
            key = snake_case(str(layer.get("class_name")))
            suffix = f"_{used[key]}" if used[key] else ""
            used[key] += 1
            yield f"{attribute}/{key}{suffix}", layer


_ALIASES = {"group_query_attention": "grouped_query_attention"}


def snake_case(name: str) -> str:
    """The class name as Keras writes it into paths.

    >>> snake_case("Conv2DTranspose"), snake_case("LSTM"), snake_case("GroupQueryAttention")
    ('conv2d_transpose', 'lstm', 'grouped_query_attention')
    """
    name = re.sub(r"\W+", "", name.rpartition(">")[2])
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    name = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    return _ALIASES.get(name, name)
