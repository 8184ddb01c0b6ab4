"""Configs of Keras models of all ages, and the constraints that they declare."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from fuzzing.checkpoints import Weights, weights
from fuzzing.damage import documents
from fuzzing.rendering import render_listing, render_plan
from fuzzing.target import Target
from wproj.constraints.base import Constraint
from wproj.constraints.keras import MaxNorm
from wproj.constraints.registry import deserialize
from wproj.errors import RequestError
from wproj.formats.keras_layers import Role, roles
from wproj.formats.keras_names import ConfigError, parse_config, unmatched
from wproj.formats.keras_old_configs import constraint, today
from wproj.formats.keras_parts import _PARTS, CELLS
from wproj.selection.declared import declared_plan, declared_text
from wproj.selection.draft_recipe import draft_recipe
from wproj.selection.plan import sketch_plan
from wproj.selection.rules import Rule

_SHAPES = ((4, 2), (4,), (3, 3, 1, 4), (2, 3, 4), (), (0, 3))
_KNOWN = (
    ("layers/dense/vars/0", (4, 2)),
    ("layers/dense/vars/1", (2,)),
    ("layers/lstm/cell/vars/0", (4, 8)),
    ("model_weights/dense/dense/kernel:0", (4, 2)),
    ("dense_1/dense_1_W", (4, 2)),
    ("dense_1/dense_1_b", (2,)),
    ("lstm_1/lstm_1_U_i", (2, 2)),
)


def _entries(known: Mapping[str, Role], number: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Tensors at the paths that a config speaks of, of shapes that it may contradict."""
    for index, path in enumerate([*known][:12]):
        yield path, _SHAPES[(index + number) % len(_SHAPES)]
    yield from (pair for pair in _KNOWN if pair[0] not in known)


def _checkpoint(data: bytes) -> Weights:
    known: Mapping[str, Role] = {}
    # What is wrong with a config is told below, by who has to tell it.
    with suppress(ConfigError, ValueError, TypeError, AttributeError, RecursionError):
        known = roles(today(parse_config(data)))
    return weights(_entries(known, len(data)))


def _run_names(data: bytes) -> None:
    """What a config says of the tensors beside it."""
    named = _checkpoint(data).named_by(data, "config.json inside")
    if named.config is not None:
        unmatched(named.entries, named.config)
    for entry in named.entries:
        declared_text(entry.declared)


def _run_config(data: bytes) -> None:
    """What is made of that: lists, plans, and recipes."""
    named = _checkpoint(data).named_by(data, "config.json inside")
    render_listing(named, len(data))
    if named.config is not None:
        draft_recipe(named)
        rule = Rule("*", MaxNorm(1), "in" if len(data) % 2 else "auto")
        render_plan(sketch_plan(named, [rule]), len(data))
        declared_plan(named)


def _run_constraint(data: bytes) -> None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return
    for declared in (found, constraint(found)):
        declared_text(declared)
        with suppress(RequestError):
            made = deserialize(declared)
            if isinstance(made, Constraint):
                made.get_config()


def _constraints() -> SearchStrategy[Any]:
    name = st.sampled_from(("MaxNorm", "max_norm", "NonNeg", "UnitNorm", "MinMaxNorm", "Clip"))
    key = st.sampled_from(("max_value", "min_value", "rate", "axis", "m"))
    value = st.sampled_from((0, 1, 2.5, [0, 1], None, "x"))
    config = st.dictionaries(key, value, max_size=3)
    new = st.fixed_dictionaries(
        {"module": st.just("keras.constraints"), "class_name": name, "config": config},
        optional={"registered_name": st.sampled_from((None, "lab>Clip", "MaxNorm"))},
    )
    old = st.fixed_dictionaries({"name": name}, optional={"m": value, "axis": value})
    return st.one_of(new, old, st.none(), name)


def _layers() -> SearchStrategy[Any]:
    """Layers, and models of them, as Keras 1 to 3 serialized them."""
    kinds = st.sampled_from((*_PARTS, *CELLS, "Convolution2D", "TimeDistributedDense", "Lab"))
    sizes = {key: st.sampled_from((1, 2, 4, None)) for key in ("units", "filters", "output_dim")}
    flags = {key: st.booleans() for key in ("use_bias", "scale", "center", "use_gate", "bias")}
    held = {f"{key}_constraint": _constraints() for key in ("kernel", "bias", "W", "gamma")}
    dtype = st.sampled_from(("float32", {"config": {"mode": "int4/128"}}, "int8_from_float32"))
    window = st.sampled_from(([3, 3], [3], 3))
    name = st.sampled_from(("dense", "dense_1", "lstm_1", "a/b"))
    equation = st.sampled_from(("ab,bc->ac", "...x,xy->...y", "", "abc"))
    config = st.fixed_dictionaries(
        {"name": name},
        optional={
            **sizes,
            **flags,
            **held,
            "dtype": dtype,
            "kernel_size": window,
            "equation": equation,
        },
    )
    leaf = _layer(kinds, config)
    return st.recursive(leaf, _around, max_leaves=6)


def _around(inner: SearchStrategy[Any]) -> SearchStrategy[Any]:
    name = st.sampled_from(("model", "bidirectional", "rnn"))
    wrapper = st.sampled_from(
        ("Bidirectional", "TimeDistributed", "SpectralNormalization", "RNN", "StackedRNNCells")
    )
    model = st.sampled_from(("Sequential", "Functional", "Model", "Graph", "Merge", "Lab"))
    several = st.lists(inner, max_size=4)
    nodes = st.dictionaries(name, inner, max_size=2)
    return st.one_of(
        _layer(wrapper, st.fixed_dictionaries({"name": name, "layer": inner})),
        _layer(wrapper, st.fixed_dictionaries({"name": name, "cell": inner, "cells": several})),
        _layer(model, st.fixed_dictionaries({"name": name, "layers": several})),
        _layer(model, several),
        _layer(model, st.fixed_dictionaries({"nodes": nodes})),
    )


def _layer(kind: SearchStrategy[str], config: SearchStrategy[Any]) -> SearchStrategy[Any]:
    module = st.sampled_from(("keras.layers", "keras", "lab.layers", None))
    optional = {"module": module, "registered_name": st.sampled_from((None, "lab>Lab"))}
    return st.fixed_dictionaries({"class_name": kind, "config": config}, optional=optional)


def _seed(kind: str, **config: Any) -> dict[str, Any]:
    held = {"kernel_constraint": {"class_name": "MaxNorm", "config": {"max_value": 2, "axis": 0}}}
    return {"class_name": kind, "config": {"name": kind.lower(), **held, **config}}


def _seeds() -> list[bytes]:
    conv, dense = _seed("Conv2D", filters=4, kernel_size=[3, 3]), _seed("Dense", units=2)
    both = _seed("Bidirectional", layer=_seed("LSTM", units=2))
    models = (
        {"class_name": "Sequential", "config": [dense]},
        {"class_name": "Functional", "config": {"name": "m", "layers": [conv, both]}},
        _seed("MultiHeadAttention"),
    )
    return [json.dumps(model).encode() for model in models]


_WORDS = ("class_name", "config", "layers", "layer", "cell", "cells", "module", "registered_name")
_WORDS = (*_WORDS, "kernel_constraint", "name", "units", "Sequential", "Dense", "MaxNorm", "axis")

NAMES = Target(
    run=_run_names,
    seeds=_seeds,
    inputs=documents(_layers()),
    words=tuple(f'"{word}"' for word in _WORDS),
    guided=30,
    structured=8,
)
CONFIG = replace(NAMES, run=_run_config, guided=5, structured=4)
CONSTRAINT_JSON = Target(
    run=_run_constraint,
    seeds=lambda: [
        json.dumps(_seed("Dense")["config"]["kernel_constraint"]).encode(),
        b'"non_neg"',
    ],
    inputs=documents(_constraints()),
    words=tuple(f'"{word}"' for word in (*_WORDS, "max_value", "min_value", "rate", "UnitNorm")),
    guided=70,
    structured=8,
)
