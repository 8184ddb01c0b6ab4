"""The variables of each layer class of Keras, in the order in which Keras stores them.

From the `build` methods of the layers and their `variable_serialization_spec`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Config = Mapping[str, Any]
Incoming = Callable[[Config, int], tuple[int, ...]]
Sizes = tuple[int | None, ...]

# More than any shape has. JSON has numbers of which products cannot even be written.
_BEYOND = 1 << 63


@dataclass(frozen=True, slots=True)
class Part:
    """A variable of a layer class.

    Attributes:
        variable: Its name.
        declared: The key of the config that declares its constraint.
        incoming: The axes of the weights incident to each hidden unit, for a config and a rank.
        shape: What a config says of its shape.
        when: Whether a layer with this config has it.
    """

    variable: str
    declared: str | None = None
    incoming: Incoming | None = None
    shape: Callable[[Config], Sizes] | None = None
    when: Callable[[Config], bool] = lambda _config: True


def parts_of(kind: str, config: Config) -> list[Part]:
    """The variables of a layer of the class `kind`; none of an unknown class."""
    parts = [part for part in _PARTS.get(kind, ()) if part.when(config)]
    mode, grouped = _quantization(config)
    if mode is None or kind not in _QUANTIZABLE:
        return parts
    return list(_quantized(parts, mode, grouped=grouped))


def is_quantized(config: Config) -> bool:
    """Whether the config says that the layer has been quantized."""
    return _quantization(config)[0] is not None


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


def _second(_config: Config, rank: int) -> tuple[int, ...]:
    """Of kernels that differ from place to place, in the one layout that is a stack of matrices."""
    return (1,) if rank == 3 else ()


def _heads(_config: Config, _rank: int) -> tuple[int, ...]:
    return 0, 1


def _contracted(config: Config, rank: int) -> tuple[int, ...]:
    """The axes of an EinsumDense kernel whose letters its equation sums away."""
    inputs, _, output = str(config.get("equation", "")).replace("...", "").partition("->")
    letters = inputs.partition(",")[2].strip()
    if len(letters) != rank:
        return tuple(range(rank - 1))
    return tuple(axis for axis, letter in enumerate(letters) if letter not in output)


def _size(config: Config, key: str, factor: int = 1) -> int | None:
    value = config.get(key)
    if not isinstance(value, int):
        return None
    return value * factor if abs(value) < _BEYOND else _BEYOND


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


def _three(_config: Config) -> Sizes:
    return None, None, None


def _on(key: str, *, default: bool = True) -> Callable[[Config], bool]:
    return lambda config: bool(config.get(key, default))


_BIAS = Part("bias", "bias_constraint", when=_on("use_bias"))
_GAMMA = Part("gamma", "gamma_constraint", when=_on("scale"))
_BETA = Part("beta", "beta_constraint", when=_on("center"))


def _kernel(
    incoming: Incoming,
    shape: Callable[[Config], Sizes] | None = None,
    declared: str = "kernel_constraint",
) -> tuple[Part, ...]:
    return Part("kernel", declared, incoming, shape), _BIAS


def _recurrent(
    incoming: Incoming,
    shape: Callable[[Config], Sizes] | None = None,
    inner: Callable[[Config], Sizes] | None = None,
) -> tuple[Part, ...]:
    kernel = Part("kernel", "kernel_constraint", incoming, shape)
    recurrent = Part("recurrent_kernel", "recurrent_constraint", incoming, inner)
    return kernel, recurrent, _BIAS


def _gated(gates: int) -> tuple[Part, ...]:
    """The variables of a cell whose kernels have a column for each unit and gate."""
    return _recurrent(
        _first,
        lambda config: (None, _size(config, "units", gates)),
        lambda config: (_size(config, "units"), _size(config, "units", gates)),
    )


_SEPARABLE = (
    Part("depthwise_kernel", "depthwise_constraint", _spatial, _depthwise_shape),
    Part("pointwise_kernel", "pointwise_constraint", _but_last),
    _BIAS,
)
_EMBEDDINGS = Part("embeddings", "embeddings_constraint", _last, _embedding_shape)
_MOVING = (Part("moving_mean"), Part("moving_variance"))
_RENORM = ("moving_stddev", "renorm_mean", "renorm_stddev")
_STATISTICS = ("mean", "variance", "count")

_PARTS: dict[str, tuple[Part, ...]] = {
    "Dense": _kernel(_but_last, _dense_shape),
    "EinsumDense": (
        _kernel(_contracted)[0],
        replace(_BIAS, when=lambda config: bool(config.get("bias_axes"))),
    ),
    **{f"Conv{n}D": _kernel(_but_last, _conv_shape) for n in (1, 2, 3)},
    **{f"Conv{n}DTranspose": _kernel(_but_transposed, _transposed_shape) for n in (1, 2, 3)},
    **{
        f"DepthwiseConv{n}D": _kernel(_spatial, _depthwise_shape, "depthwise_constraint")
        for n in (1, 2)
    },
    **{f"SeparableConv{n}D": _SEPARABLE for n in (1, 2)},
    **{f"LocallyConnected{n}D": _kernel(_second) for n in (1, 2)},
    "MaxoutDense": _kernel(_second),
    "Embedding": (_EMBEDDINGS,),
    "ReversibleEmbedding": (
        _EMBEDDINGS,
        Part(
            "reverse_embeddings",
            incoming=_first,
            when=lambda config: not config.get("tie_weights", True),
        ),
    ),
    "SimpleRNNCell": _gated(1),
    "GRUCell": _gated(3),
    "LSTMCell": _gated(4),
    "ConvLSTMCell": _recurrent(_but_last),
    "BatchNormalization": (
        _GAMMA,
        _BETA,
        *_MOVING,
        *(Part(name, when=_on("renorm", default=False)) for name in _RENORM),
    ),
    "LayerNormalization": (
        replace(
            _GAMMA, when=lambda config: _on("scale")(config) or bool(config.get("rms_scaling"))
        ),
        replace(_BETA, when=lambda config: _on("center")(config) and not config.get("rms_scaling")),
    ),
    "GroupNormalization": (_GAMMA, _BETA),
    "RMSNormalization": (Part("scale"),),
    "Normalization": tuple(
        Part(name, when=lambda config: config.get("mean") is None) for name in _STATISTICS
    ),
    "PReLU": (Part("alpha", "alpha_constraint"),),
    "Attention": (
        Part("scale", when=_on("use_scale", default=False)),
        Part("concat_score_weight", when=lambda config: config.get("score_mode") == "concat"),
    ),
    "AdditiveAttention": (Part("scale", when=_on("use_scale")),),
    "STFTSpectrogram": (
        Part("real_kernel", incoming=_but_last, when=lambda config: config.get("mode") != "imag"),
        Part("imag_kernel", incoming=_but_last, when=lambda config: config.get("mode") != "real"),
    ),
    # The projections of the attention layers below.
    "Projection": _kernel(_first, _three),
    "OutputProjection": _kernel(_heads),
}

# Layers that are a cell and a loop around it.
CELLS = {
    **{layer: f"{layer}Cell" for layer in ("SimpleRNN", "GRU", "LSTM")},
    **{f"ConvLSTM{n}D": "ConvLSTMCell" for n in (1, 2, 3)},
}

# The projections of attention layers: layer name, attribute, and what it is above. Keras walks
# public attributes first, and MultiHeadAttention has public properties for all but the gate.
_PROJECTIONS = {
    "query": ("query_dense", "Projection"),
    "key": ("key_dense", "Projection"),
    "value": ("value_dense", "Projection"),
    "gate": ("gate_dense", "Projection"),
    "attention_output": ("output_dense", "OutputProjection"),
}
_ATTENTION = ("MultiHeadAttention", "GroupQueryAttention", "GroupedQueryAttention")


def projections(kind: str, config: Config) -> Iterator[tuple[str, str, str]]:
    """The attribute, the name and the kind of the layers inside an attention layer."""
    if kind not in _ATTENTION:
        return
    for name, (attribute, inner) in _PROJECTIONS.items():
        if name != "gate" or config.get("use_gate"):
            public = kind == "MultiHeadAttention" and name != "gate"
            yield attribute if public else f"_{attribute}", name, inner


_QUANTIZABLE = (
    "Dense",
    "EinsumDense",
    "Embedding",
    "ReversibleEmbedding",
    "Projection",
    "OutputProjection",
)
_FLOAT8 = tuple(
    f"{what}_{state}"
    for what in ("inputs", "kernel", "outputs_grad")
    for state in ("scale", "amax_history")
)


def _quantization(config: Config) -> tuple[str | None, bool]:
    """How a layer is quantized, and whether in groups, which then have zero points.

    >>> _quantization({"dtype": {"config": {"mode": "int4/128", "source_name": "float32"}}})
    ('int4', True)
    >>> _quantization({"dtype": "int8_from_mixed_bfloat16"})
    ('int8', False)
    """
    dtype = config.get("dtype")
    inner = dtype.get("config") if isinstance(dtype, Mapping) else {"name": dtype}
    policy = inner if isinstance(inner, Mapping) else {}
    text = str(policy.get("mode") or policy.get("name"))
    found = re.match(r"(int8|int4|float8|gptq|awq)(?:/(-?\d+))?(?![^_/])", text)
    if found is None:
        return None, False
    return found[1], found[1] == "int4" and found[2] not in (None, "-1")


def _quantized(parts: Sequence[Part], mode: str, *, grouped: bool) -> Iterator[Part]:
    """What a layer with these variables stores once it is quantized."""
    weight, *rest = parts
    if weight.variable == "embeddings":
        yield from _quantized_embeddings(parts, mode, grouped=grouped)
    elif mode in ("gptq", "awq"):
        yield from rest
        yield Part("quantized_kernel", weight.declared)
        yield from _states("kernel", "scale", "zero")
        if mode == "awq":
            yield Part("awq_scales")
        yield Part("g_idx")
    else:
        yield from parts
        if mode == "float8":
            yield from map(Part, _FLOAT8)
        else:
            yield from _states("kernel", *(("scale", "zero") if grouped else ("scale",)))
            if grouped:
                yield Part("g_idx")


def _quantized_embeddings(parts: Sequence[Part], mode: str, *, grouped: bool) -> Iterator[Part]:
    for part in parts:
        yield part
        if mode in ("int8", "int4"):
            yield from _states(part.variable, *(("scale", "zero") if grouped else ("scale",)))
            if grouped and part is parts[0]:
                yield Part("g_idx")


def _states(weight: str, *states: str) -> Iterator[Part]:
    return (Part(f"{weight}_{state}") for state in states)
