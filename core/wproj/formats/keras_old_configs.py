"""Configs of Keras 1, Keras 2 and tf.keras in the terms of Keras 3.

What was renamed: `keras.legacy.interfaces` of Keras 2, and `get_config` of the layers and of the
constraints of Keras 1.2.2.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from wproj.formats.keras_parts import Config

_CLASSES = {
    "Convolution1D": "Conv1D",
    "AtrousConvolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "AtrousConvolution2D": "Conv2D",
    "Deconvolution2D": "Conv2DTranspose",
    "SeparableConvolution2D": "SeparableConv2D",
    "Convolution3D": "Conv3D",
    "TimeDistributedDense": "Dense",
    **{f"{prefix}{cell}": cell for prefix in ("CuDNN", "Unified") for cell in ("LSTM", "GRU")},
    **{
        f"{kind}V{version}": kind
        for kind in ("BatchNormalization", "LSTM", "GRU", "LSTMCell", "GRUCell")
        for version in (1, 2)
    },
    "SyncBatchNormalization": "BatchNormalization",
}
_RECURRENT = ("SimpleRNN", "GRU", "LSTM", "ConvLSTM2D")
_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv2DTranspose", "Conv3D", "SeparableConv2D", "ConvLSTM2D")
# The old keys that mean today the same in every layer that has them.
_KEYS = {
    "bias": "use_bias",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "U_constraint": "recurrent_constraint",
}
_WINDOWS = (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3"))
_PARAMETERS = {
    "maxnorm": {"m": "max_value"},
    "minmaxnorm": {"low": "min_value", "high": "max_value", "m": "max_value"},
}


def today(config: Config) -> dict[str, Any]:
    """The config as Keras 3 would have it, as far as variables and constraints go.

    >>> today({"class_name": "Dense", "config": {"output_dim": 3, "bias": False}})
    {'class_name': 'Dense', 'config': {'units': 3, 'use_bias': False}}
    """
    translated: dict[str, Any] = _today(config)
    return translated


def _today(value: Any) -> Any:  # noqa: ANN401 # anything that JSON holds
    if isinstance(value, list):
        return [_today(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("class_name") == "__tuple__":
        return _today(value.get("items"))
    if "module" in value:  # Keras 3 and the last of tf.keras, where old names may be a user's.
        return {key: _today(item) for key, item in value.items()}
    return {key: _today(item) for key, item in _model(_layer(value)).items()}


def _model(layer: Config) -> Config:
    """A model's layers in `config["layers"]`: they were a list of their own, or the nodes."""
    config = layer.get("config")
    if isinstance(config, list):
        config = {"layers": list(_flat(config))}
    elif layer.get("class_name") == "Graph" and isinstance(config, Mapping):
        nodes = config.get("nodes")
        config = {"layers": list(nodes.values()) if isinstance(nodes, Mapping) else []}
    else:
        return layer
    name = layer.get("name")
    return {**layer, "config": {**config, "name": name} if name else config}


def _flat(layers: list[Any]) -> Iterator[Any]:
    """The layers of a Sequential; those of models that it begins by merging count as its own."""
    for layer in layers:
        branches = _inside(layer) if _class(layer) == "Merge" else None
        if branches is None:
            yield layer
            continue
        for branch in branches:
            yield from _flat(_inside(branch) or [branch])


def _inside(model: Config) -> list[Any] | None:
    """The layers in the config of a model, or of what merges models."""
    config = model.get("config")
    layers = config.get("layers") if isinstance(config, Mapping) else config
    return layers if isinstance(layers, list) else None


def _class(layer: Any) -> str | None:  # noqa: ANN401 # anything that JSON holds
    return str(layer.get("class_name")) if isinstance(layer, Mapping) else None


def _layer(layer: Config) -> Config:
    """A layer by its class of today, with the keys of today."""
    config = layer.get("config")
    if "class_name" not in layer or not isinstance(config, Mapping):
        return layer
    kind = _CLASSES.get(str(layer["class_name"]), str(layer["class_name"]))
    renamed = _renamed(kind, config)
    if kind == "Bidirectional":
        renamed = {**renamed, **_forward(renamed)}
    constraints = {
        key: constraint(value) for key, value in renamed.items() if key.endswith("_constraint")
    }
    return {**layer, "class_name": kind, "config": {**renamed, **constraints}}


def _renamed(kind: str, config: Config) -> dict[str, Any]:
    keys = dict(_KEYS)
    if kind == "Embedding":
        keys["W_constraint"] = "embeddings_constraint"
    if kind in (*_RECURRENT, "Dense"):
        keys["output_dim"] = "units"
    if kind in _CONVOLUTIONS:
        keys["nb_filter"] = "filters"
    renamed = {
        key if keys.get(key, key) in config else keys[key]: value for key, value in config.items()
    }
    window = _window(config)
    return {**renamed, "kernel_size": window} if window and kind in _CONVOLUTIONS else renamed


def _window(config: Config) -> list[Any] | None:
    """The size of a convolution's kernel; Keras 1 gave those of one dimension a second one."""
    if "filter_length" in config:
        return [config["filter_length"], 1]
    for keys in _WINDOWS:
        if all(key in config for key in keys):
            return [config[key] for key in keys]
    return None


def _forward(config: Config) -> dict[str, Any]:
    """The layer of a Bidirectional with the name that this gives it, as few configs have it."""
    inner = config.get("layer")
    inside = inner.get("config") if isinstance(inner, Mapping) else None
    if not (isinstance(inner, Mapping) and isinstance(inside, Mapping) and "name" in inside):
        return {}
    name = f"forward_{str(inside['name']).removeprefix('forward_')}"
    return {"layer": {**inner, "config": {**inside, "name": name}}}


def constraint(declared: Any) -> Any:  # noqa: ANN401 # anything that JSON holds
    """A constraint as Keras 3 serializes it; what is none of Keras 1 and 2 stays as it is.

    >>> constraint({"name": "MaxNorm", "m": 3, "axis": 0})
    {'class_name': 'MaxNorm', 'config': {'max_value': 3, 'axis': 0}}
    """
    if not isinstance(declared, Mapping):
        return declared
    if "class_name" not in declared and isinstance(declared.get("name"), str):
        parameters = {key: value for key, value in declared.items() if key != "name"}
        declared = {"class_name": declared["name"], "config": parameters}
    config = declared.get("config")
    keys = _PARAMETERS.get(str(declared.get("class_name")).lower().replace("_", ""))
    if keys is None or not isinstance(config, Mapping):
        return declared
    renamed = {keys.get(key, key): value for key, value in config.items()}
    return {**declared, "config": renamed} if len(renamed) == len(config) else declared
