"""Training with wproj's constraints, on the backend of the day, against Keras' own."""

import numpy as np
import pytest

import wproj
from wproj.constraints import custom_objects

pytestmark = [
    pytest.mark.interop,
    # Keras 3.15's variables implement `__array__` as NumPy 1 had it.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

STEPS = 20
PAIRS = [
    ("MaxNorm", {"max_value": 0.6}),
    ("UnitNorm", {}),
    ("NonNeg", {}),
    ("MinMaxNorm", {"min_value": 0.5, "max_value": 0.8}),
    ("MinMaxNorm", {"min_value": 0.5, "max_value": 0.8, "rate": 0.5}),
]
KERNELS = {
    "conv": ("kernel", (0, 1, 2)),
    "dense": ("kernel", 0),
    "lstm": ("kernel", 0),
    "recurrent": ("recurrent_kernel", 0),
}


@pytest.fixture(scope="module")
def data():
    """Images, sequences and targets of a few steps."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((8 * STEPS, 6, 6, 2)).astype(np.float32)
    words = rng.standard_normal((8 * STEPS, 5, 3)).astype(np.float32)
    return [images, words], rng.standard_normal((8 * STEPS, 2)).astype(np.float32)


def build(keras, make):
    """A model of convolution, recurrence and a dense layer; `make(axis)` gives its constraints."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    images, words = layers.Input((6, 6, 2)), layers.Input((5, 3))
    axes = {name: axis for name, (_, axis) in KERNELS.items()}
    x = layers.Conv2D(4, 3, kernel_constraint=make(axes["conv"]), activation="tanh")(images)
    y = layers.LSTM(
        4,
        kernel_constraint=make(axes["lstm"]),
        recurrent_constraint=make(axes["recurrent"]),
    )(words)
    x = layers.Concatenate()([layers.Flatten()(x), y])
    x = layers.Dense(2, kernel_constraint=make(axes["dense"]))(x)
    model = keras.Model([images, words], x)
    model.compile(keras.optimizers.Adam(0.02), keras.losses.MeanSquaredError())
    return model


def trained(keras, make, data):
    """The weights after a number of steps from one seed."""
    model = build(keras, make)
    model.fit(*data, batch_size=8, epochs=1, shuffle=False, verbose=0)
    return model.get_weights()


@pytest.fixture(scope="module")
def free(keras, data):
    """The same without constraints."""
    return trained(keras, lambda _: None, data)


def by(module, name, parameters):
    """Makes the constraint of a module for an axis."""
    cls = getattr(module, name)
    return lambda axis: cls(**parameters) if name == "NonNeg" else cls(**parameters, axis=axis)


@pytest.mark.parametrize(("name", "parameters"), PAIRS, ids=str)
def test_twenty_steps_agree_with_keras_own_constraint(keras, data, free, name, parameters):
    """The same seeds: weights within 1e-5, and far from those of a model without constraints."""
    ours = trained(keras, by(wproj, name, parameters), data)
    theirs = trained(keras, by(keras.constraints, name, parameters), data)

    assert max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True)) < 1e-5
    assert max(np.abs(a - b).max() for a, b in zip(ours, free, strict=True)) > 1e-2


def test_a_trained_and_saved_model_comes_back_and_trains_on(keras, data, tmp_path):
    """With equal constraints and the same weights, which stay within rounding of the bound."""
    model = build(keras, lambda axis: wproj.MaxNorm(0.6, axis=axis))
    model.fit(*data, batch_size=8, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects=custom_objects)
    for before, after in zip(model.layers, loaded.layers, strict=True):
        for part in ("kernel_constraint", "recurrent_constraint"):
            assert getattr(after, part, None) == getattr(before, part, None)
    for before, after in zip(model.get_weights(), loaded.get_weights(), strict=True):
        assert np.array_equal(before, after)

    loaded.fit(*data, batch_size=8, verbose=0)
    kernel = loaded.get_weights()[-2]
    norms = np.linalg.norm(kernel.astype(np.float64), axis=0)
    assert (norms <= 0.6 * (1 + 5e-7)).all()
    assert (norms > 0.59).any()


def test_what_was_trained_is_certified_by_projecting_the_file(keras, data, tmp_path):
    """The constraints are read out of the file, and nothing is outside afterwards."""
    model = build(keras, lambda axis: wproj.MaxNorm(0.6, axis=axis))
    model.fit(*data, batch_size=8, verbose=0)
    model.save(tmp_path / "model.keras")
    plan = wproj.plan_declared(tmp_path / "model.keras")
    reports = list(wproj.apply(plan, tmp_path / "certified.keras", wproj.Numerics()))

    assert len(reports) == len(KERNELS)
    assert all(report.violations.after == 0 for report in reports)
    certified = keras.models.load_model(tmp_path / "certified.keras", custom_objects=custom_objects)
    for before, after in zip(model.get_weights(), certified.get_weights(), strict=True):
        np.testing.assert_allclose(after, before, rtol=2e-6)
