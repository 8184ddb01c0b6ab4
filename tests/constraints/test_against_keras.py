"""Agreement with keras.constraints: formulas, names, and configs in both directions."""

import itertools
import json
import os
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "numpy")

import keras

from wproj import MaxNorm, MinMaxNorm, NonNeg, UnitNorm
from wproj.constraints import deserialize, get, serialize

TOLERANCE = 2e-6
SHAPES = [(7,), (64,), (30, 4), (3, 3, 8, 16), (2, 5, 1, 3)]
AXES: list[Any] = [0, -1, [0], [0, -1], [0, 1, 2], [-3, -2]]
PAIRS = [
    (MaxNorm, {"max_value": 2}),
    (MaxNorm, {"max_value": 0.1}),
    (MaxNorm, {}),
    (UnitNorm, {}),
    (MinMaxNorm, {"min_value": 0.5, "max_value": 1.5}),
    (MinMaxNorm, {"min_value": 3.0, "max_value": 3.0}),
    (MinMaxNorm, {"min_value": 0.5, "max_value": 1.5, "rate": 0.3}),
    (MinMaxNorm, {}),
]
CONFIGS = [
    (MaxNorm, {"max_value": 3, "axis": [0, 1, 2]}),
    (MaxNorm, {"max_value": 0.5, "axis": -1}),
    (MaxNorm, {"max_value": 2.5, "axis": None}),
    (UnitNorm, {"axis": 1}),
    (UnitNorm, {"axis": [0, 1]}),
    (NonNeg, {}),
    (MinMaxNorm, {"min_value": 0.25, "max_value": 4.0, "rate": 0.75, "axis": [0, -1]}),
]


def by_keras(cls: type, parameters: dict[str, Any], w: np.ndarray) -> np.ndarray:
    """What Keras' constraint of the same name makes of `w`."""
    theirs = getattr(keras.constraints, cls.__name__)(**parameters)
    return np.asarray(keras.ops.convert_to_numpy(theirs(keras.ops.convert_to_tensor(w))))


def fitting(shape: tuple[int, ...]) -> list[Any]:
    """The axis forms that an array of this shape has, each axis once."""
    found = []
    for axis in AXES:
        axes = axis if isinstance(axis, list) else [axis]
        inside = all(-len(shape) <= a < len(shape) for a in axes)
        if inside and len({a % len(shape) for a in axes}) == len(axes):
            found.append(axis)
    return found


def test_keras_runs_on_the_numpy_backend():
    """The oracle is NumPy; other backends have other last bits."""
    assert keras.config.backend() == "numpy"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("cls", "parameters"), PAIRS)
def test_the_keras_numerics_agree_with_keras(cls, parameters, shape):
    """Within 2e-6, relatively, entry by entry, for every axis form."""
    rng = np.random.default_rng(len(shape))
    for axis, scale in itertools.product(fitting(shape), (1e-3, 1.0, 1e3)):
        w = (rng.standard_normal(shape) * scale).astype(np.float32)
        ours = cls(**parameters, axis=axis).project(w, numerics="keras")
        theirs = by_keras(cls, {**parameters, "axis": axis}, w)

        assert ours.dtype == theirs.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=0, err_msg=f"axis {axis}")


@pytest.mark.parametrize(("cls", "parameters"), PAIRS)
def test_all_axes_at_once_agree_with_keras(cls, parameters):
    """Axis None is one norm for the whole tensor."""
    w = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)
    ours = cls(**parameters, axis=None).project(w, numerics="keras")

    np.testing.assert_allclose(
        ours, by_keras(cls, {**parameters, "axis": None}, w), rtol=TOLERANCE, atol=0
    )


def test_non_neg_agrees_with_keras():
    """Both numerics of wproj equal Keras' values; only the sign of a zero may differ."""
    w = np.random.default_rng(2).standard_normal((20, 7)).astype(np.float32)
    w[0, :3] = [0.0, -0.0, 1e-45]
    theirs = by_keras(NonNeg, {}, w)

    assert np.array_equal(NonNeg().project(w, numerics="keras"), theirs)
    assert np.array_equal(NonNeg()(w), theirs)


@pytest.mark.parametrize(("cls", "parameters"), PAIRS)
def test_zero_vectors_stay_zero_in_keras_and_here(cls, parameters):
    """Epsilon keeps Keras from dividing by zero; the result is zero in both."""
    w = np.zeros((4, 3), np.float32)
    w[:, 1] = [1, 2, 3, 4]
    ours = cls(**parameters).project(w, numerics="keras")

    assert not ours[:, [0, 2]].any()
    np.testing.assert_allclose(ours, by_keras(cls, parameters, w), rtol=TOLERANCE, atol=0)


@pytest.mark.parametrize("norm", [1e-7, 1e-6, 1e-5, 1e-4])
def test_small_vectors_shrink_by_epsilon_as_in_keras(norm):
    """Where epsilon matters, it is the same epsilon in the same place."""
    w = (np.array([[0.6], [0.8]]) * norm).astype(np.float32)
    ours = UnitNorm().project(w, numerics="keras")

    np.testing.assert_allclose(ours, by_keras(UnitNorm, {}, w), rtol=TOLERANCE, atol=0)
    assert np.linalg.norm(ours) == pytest.approx(norm / (1e-7 + norm), rel=1e-6)


def test_another_epsilon_agrees_with_keras_of_that_epsilon():
    """The epsilon of Keras' backend is the option of ours."""
    w = np.random.default_rng(3).standard_normal((6, 5)).astype(np.float32)
    before = keras.config.epsilon()
    keras.config.set_epsilon(1e-2)
    try:
        theirs = by_keras(MaxNorm, {"max_value": 1}, w)
    finally:
        keras.config.set_epsilon(before)

    ours = MaxNorm(1).project(w, numerics="keras", epsilon=1e-2)
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=0)


@pytest.mark.parametrize(("cls", "parameters"), PAIRS)
def test_the_exact_numerics_agree_with_keras_up_to_its_epsilon(cls, parameters):
    """For vectors of norms well above epsilon, Keras and the exact projection are close."""
    w = np.random.default_rng(4).standard_normal((50, 9)).astype(np.float32)
    theirs = by_keras(cls, parameters, w)

    np.testing.assert_allclose(cls(**parameters)(w), theirs, rtol=1e-6, atol=0)


def test_keras_itself_leaves_vectors_outside():
    """What the exact numerics are for: Keras' results exceed their bound, ours do not."""
    w = np.random.default_rng(5).standard_normal((64, 2000)).astype(np.float32) * 3
    norms = [
        np.sqrt(np.square(out.astype(np.float64)).sum(axis=0))
        for out in (by_keras(MaxNorm, {"max_value": 2}, w), MaxNorm(2)(w))
    ]

    assert (norms[0] > 2).mean() > 0.1
    assert not (norms[1] > 2).any()


# Names and configs


@pytest.mark.parametrize(("cls", "config"), CONFIGS)
def test_keras_reads_what_we_serialize(cls, config):
    """Our dict, by way of JSON, gives Keras' constraint with the same config."""
    form = json.loads(json.dumps(serialize(cls(**config))))
    theirs = keras.constraints.deserialize(form)

    assert type(theirs) is getattr(keras.constraints, cls.__name__)
    assert theirs.get_config() == config == cls(**config).get_config()


@pytest.mark.parametrize(("cls", "config"), CONFIGS)
def test_we_read_what_keras_serializes(cls, config):
    """Keras' dict, by way of JSON, gives our constraint with the same config."""
    theirs = getattr(keras.constraints, cls.__name__)(**config)
    form = json.loads(json.dumps(keras.constraints.serialize(theirs)))

    assert deserialize(form) == cls(**config)
    assert get(form) == cls(**config)


@pytest.mark.parametrize(("cls", "config"), CONFIGS)
def test_both_serialize_alike(cls, config):
    """The dicts are equal, key by key."""
    theirs = keras.constraints.serialize(getattr(keras.constraints, cls.__name__)(**config))

    assert serialize(cls(**config)) == theirs


@pytest.mark.parametrize(("cls", "config"), CONFIGS)
def test_configs_make_each_others_constraints(cls, config):
    """get_config of one is from_config of the other."""
    theirs = getattr(keras.constraints, cls.__name__)

    assert theirs.from_config(cls(**config).get_config()).get_config() == config
    assert cls.from_config(theirs(**config).get_config()) == cls(**config)


@pytest.mark.parametrize("cls", [MaxNorm, UnitNorm, NonNeg, MinMaxNorm])
def test_defaults_are_those_of_keras(cls):
    """Made without arguments, both have the same config."""
    assert cls().get_config() == getattr(keras.constraints, cls.__name__)().get_config()


@pytest.mark.parametrize(
    "name",
    [
        "max_norm",
        "MaxNorm",
        "min_max_norm",
        "MinMaxNorm",
        "non_neg",
        "NonNeg",
        "unit_norm",
        "UnitNorm",
        "constraint",
        "Constraint",
    ],
)
def test_names_that_keras_knows_mean_the_same_here(name):
    """keras.constraints.get and ours give constraints of the same class name and config."""
    ours, theirs = get(name), keras.constraints.get(name)

    assert type(ours).__name__ == type(theirs).__name__
    assert ours.get_config() == theirs.get_config()


@pytest.mark.parametrize(("cls", "config"), CONFIGS)
def test_dicts_of_keras_2_are_read_by_both(cls, config):
    """Class name and config alone are enough."""
    form = {"class_name": cls.__name__, "config": config}

    assert deserialize(form) == cls(**config)
    assert keras.constraints.deserialize(form).get_config() == config


def test_a_keras_layer_takes_our_constraint_by_its_config():
    """A layer's constraint goes through its config into ours."""
    layer = keras.layers.Dense(3, kernel_constraint=keras.constraints.MaxNorm(1.5, axis=0))
    form = json.loads(json.dumps(layer.get_config()["kernel_constraint"]))

    assert deserialize(form) == MaxNorm(1.5, axis=0)


def test_every_public_name_of_keras_constraints_is_here():
    """The module mirrors keras.constraints, name by name."""
    import wproj.constraints

    theirs = {name for name in dir(keras.constraints) if not name.startswith("_")}

    assert theirs <= set(dir(wproj.constraints))
