"""What the variables of a Keras file are in their model, told from its config without Keras.

Keras 3 stores variables as `layers/dense_1/vars/0`: by class and position. The numbers have
nothing to do with those in layer names, which only the config has, and variable names are not
stored at all.
Rules: `keras.src.saving.saving_lib`, and the `build` methods of the layers.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

Config = Mapping[str, Any]
Incoming = Callable[[Config, int], tuple[int, ...]]
Sizes = tuple[int | None, ...]
Shape = Callable[[Config], Sizes]


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
    """

    name: str
    layer: str
    variable: str
    declared: Any
    incoming: Callable[[int], tuple[int, ...]] | None
    shape: tuple[int | None, ...] | None = None

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a variable of this shape can be the one that the config describes."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            expected in (None, size) for expected, size in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """A variable of a layer class: its name, what declares it, when it exists, and its shape."""

    variable: str
    declared: str | None = None
    incoming: Incoming | None = None
    unless: str | None = None
    shape: Shape | None = None


def _but_last(_config: Config, rank: int) -> tuple[int, ...]:
    return tuple(range(rank - 1))


def _but_transposed(_config: Config, rank: int) -> tuple[int, ...]:
    return (*range(rank - 2), rank - 1)


def _spatial(_config: Config, rank: int) -> tuple[int, ...]:
    return tuple(range(rank - 2))


def _first(_config: Config, _rank: int) -> tuple[int, ...]:
    return (0,)


def _last(_config: Config, rank: int) -> tuple[int, ...]:
    return (rank - 1,)


def _contracted(config: Config, rank: int) -> tuple[int, ...]:
    """The axes of an EinsumDense kernel whose letters its equation sums away."""
    inputs, _, output = str(config.get("equation", "")).replace("...", "").partition("->")
    letters = inputs.partition(",")[2].strip()
    if len(letters) != rank:
        return tuple(range(rank - 1))
    return tuple(axis for axis, letter in enumerate(letters) if letter not in output)


def _size(config: Config, key: str, factor: int = 1) -> int | None:
    value = config.get(key)
    return value * factor if isinstance(value, int) else None


def _window(config: Config) -> Sizes:
    size = config.get("kernel_size")
    return tuple(size) if isinstance(size, list) else (None,)


def _dense_shape(config: Config) -> Sizes:
    return None, _size(config, "units")


def _conv_shape(config: Config) -> Sizes:
    return *_window(config), None, _size(config, "filters")


def _transposed_shape(config: Config) -> Sizes:
    return *_window(config), _size(config, "filters"), None


def _depthwise_shape(config: Config) -> Sizes:
    return *_window(config), None, _size(config, "depth_multiplier")


def _embedding_shape(config: Config) -> Sizes:
    return _size(config, "input_dim"), _size(config, "output_dim")


def _kernel(
    incoming: Incoming, shape: Shape | None = None, declared: str = "kernel_constraint"
) -> tuple[_Part, ...]:
    return _Part("kernel", declared, incoming, shape=shape), _BIAS


_BIAS = _Part("bias", "bias_constraint", unless="use_bias")
_GAMMA = _Part("gamma", "gamma_constraint", unless="scale")
_BETA = _Part("beta", "beta_constraint", unless="center")
_SEPARABLE = (
    _Part("depthwise_kernel", "depthwise_constraint", _spatial, shape=_depthwise_shape),
    _Part("pointwise_kernel", "pointwise_constraint", _but_last),
    _BIAS,
)
_EMBEDDINGS = _Part("embeddings", "embeddings_constraint", _last, shape=_embedding_shape)


def _recurrent(
    incoming: Incoming, shape: Shape | None = None, inner: Shape | None = None
) -> tuple[_Part, ...]:
    kernel = _Part("kernel", "kernel_constraint", incoming, shape=shape)
    recurrent = _Part("recurrent_kernel", "recurrent_constraint", incoming, shape=inner)
    return kernel, recurrent, _BIAS


def _gated(gates: int) -> tuple[_Part, ...]:
    """The variables of a cell whose kernels have a column for each unit and gate."""
    return _recurrent(
        _first,
        lambda config: (None, _size(config, "units", gates)),
        lambda config: (_size(config, "units"), _size(config, "units", gates)),
    )


# The variables of each layer class, in the order in which Keras stores them.
_PARTS: dict[str, tuple[_Part, ...]] = {
    "Dense": _kernel(_but_last, _dense_shape),
    "EinsumDense": _kernel(_contracted),
    **{f"Conv{n}D": _kernel(_but_last, _conv_shape) for n in (1, 2, 3)},
    **{f"Conv{n}DTranspose": _kernel(_but_transposed, _transposed_shape) for n in (1, 2, 3)},
    **{
        f"DepthwiseConv{n}D": _kernel(_spatial, _depthwise_shape, "depthwise_constraint")
        for n in (1, 2)
    },
    **{f"SeparableConv{n}D": _SEPARABLE for n in (1, 2)},
    "Embedding": (_EMBEDDINGS,),
    "ReversibleEmbedding": (
        _EMBEDDINGS,
        _Part("reverse_embeddings", None, _first),
    ),
    "SimpleRNNCell": _gated(1),
    "GRUCell": _gated(3),
    "LSTMCell": _gated(4),
    "ConvLSTMCell": _recurrent(_but_last),
    "BatchNormalization": (_GAMMA, _BETA, _Part("moving_mean"), _Part("moving_variance")),
    "LayerNormalization": (_GAMMA, _BETA),
    "GroupNormalization": (_GAMMA, _BETA),
    "RMSNormalization": (_Part("scale"),),
    "Normalization": (_Part("mean"), _Part("variance"), _Part("count")),
    "PReLU": (_Part("alpha", "alpha_constraint"),),
}

# Layers that are a cell and a loop around it.
_CELLS = {
    **{layer: f"{layer}Cell" for layer in ("SimpleRNN", "GRU", "LSTM")},
    **{f"ConvLSTM{n}D": "ConvLSTMCell" for n in (1, 2, 3)},
}

# The projections of attention layers: attribute, layer name, and the kernel's incoming axes.
_ATTENTION: tuple[tuple[str, str, Incoming], ...] = (
    ("query_dense", "query", _first),
    ("key_dense", "key", _first),
    ("value_dense", "value", _first),
    ("gate_dense", "gate", _first),
    ("output_dense", "attention_output", _but_last),
)


def roles(config: Config) -> dict[str, Role]:
    """The role of every variable of a model, by its path in a Keras 3 weight file.

    `config` is a model's serialized config. Layers of unknown classes have no roles.

    Raises:
        ValueError: Two variables resolve to one path.
    """
    found: dict[str, Role] = {}
    for path, role in _layer(config, "", "", top=True):
        if path in found:
            raise ValueError(f"resolves both {found[path].name} and {role.name} to {path}")
        found[path] = role
    return found


def canonical(path: str) -> str:
    """The path as Keras 3 writes it today, of one that an older version or Windows wrote."""
    return path.replace("\\", "/").replace("_layer_checkpoint_dependencies", "layers")


def _layer(layer: Config, path: str, name: str, *, top: bool = False) -> Iterator[tuple[str, Role]]:
    kind, config = str(layer.get("class_name")), layer.get("config")
    if isinstance(config, list):  # Keras 2.0 to 2.2 wrote Sequential configs so.
        config = {"layers": config}
    if not isinstance(config, Mapping):
        return
    if not top:
        name = f"{name}{config.get('name', kind)}/"
    yield from _own(kind, config, path, name)
    for attribute, child in _children(kind, config):
        below = f"{path}/{attribute}" if path else attribute
        yield from _layer(child, below, name)


def _own(kind: str, config: Config, path: str, name: str) -> Iterator[tuple[str, Role]]:
    """The variables of the layer itself, or of what stands for it in the file."""
    if kind == "SpectralNormalization":
        yield from _spectral(config, path, name)
        return
    if kind in _CELLS:
        yield from _variables(_CELLS[kind], config, f"{path}/cell", name, kind)
        return
    if kind in ("MultiHeadAttention", "GroupQueryAttention", "GroupedQueryAttention"):
        for attribute, inner, incoming in _ATTENTION:
            if attribute == "gate_dense" and not config.get("use_gate"):
                continue
            prefix = (
                f"{path}/_{attribute}" if kind != "MultiHeadAttention" else f"{path}/{attribute}"
            )
            parts = _kernel(incoming)
            yield from _listed(parts, config, prefix, f"{name}{inner}/", kind)
        return
    yield from _variables(kind, config, path, name, kind)


def _spectral(config: Config, path: str, name: str) -> Iterator[tuple[str, Role]]:
    """A SpectralNormalization stores the kernel of its layer a second time, and a vector."""
    inner = config.get("layer")
    found = dict(_layer(inner, "", "")) if isinstance(inner, Mapping) else {}
    twin = found.get("/vars/0")
    if twin is not None:
        yield f"{path}/vars/0", replace(twin, name=f"{name}{twin.variable}")
        vector = Role(f"{name}vector_u", "SpectralNormalization", "vector_u", None, None)
        yield f"{path}/vars/1", vector


def _variables(
    kind: str, config: Config, path: str, name: str, layer: str
) -> Iterator[tuple[str, Role]]:
    yield from _listed(_PARTS.get(kind, ()), config, path, name, layer)


def _listed(
    parts: tuple[_Part, ...], config: Config, path: str, name: str, layer: str
) -> Iterator[tuple[str, Role]]:
    present = [part for part in parts if part.unless is None or config.get(part.unless, True)]
    for number, part in enumerate(present):
        declared = config.get(part.declared) if part.declared else None
        yield (
            f"{path}/vars/{number}",
            Role(
                name=f"{name}{part.variable}",
                layer=layer,
                variable=part.variable,
                declared=declared,
                incoming=_bound(part, config),
                shape=part.shape(config) if part.shape else None,
            ),
        )


def _bound(part: _Part, config: Config) -> Callable[[int], tuple[int, ...]] | None:
    incoming = part.incoming
    return None if incoming is None else lambda rank: incoming(config, rank)


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
