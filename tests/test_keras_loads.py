"""Keras loads what wproj wrote, and finds the projected values in it and nothing else changed."""

import importlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

SAMPLES = Path(__file__).resolve().parents[1] / "sample_weights"

# What is projected: the variable as Keras calls it, its axis, its bound, and how many of its
# vectors sample_weights/README.md says are outside.
CNN = {
    "conv1/kernel": ((0, 1, 2), 1.0, 14),
    "conv2/kernel": ((0, 1, 2), 1.0, 2),
    "hidden/kernel": ((0,), 2.0, 3),
}
MLP = {
    "hidden1/kernel": ((0,), 2.0, 6),
    "hidden2/kernel": ((0,), 2.0, 23),
    "classes/kernel": ((0,), 2.0, 7),
}
CNN_RULES = ("{conv1,conv2}/kernel max_norm=1 axis=0,1,2", "hidden/kernel max_norm=2 axis=0")
# Keras 3 weight files number the layers of a class.
CNN_WEIGHTS_RULES = (
    "layers/{conv2d,conv2d_1}/vars/0 max_norm=1 axis=0,1,2",
    "layers/dense/vars/0 max_norm=2 axis=0",
)
MLP_RULES = ("layers/dense*/vars/0 max_norm=2 axis=0",)


@pytest.fixture(scope="module")
def keras():
    """Keras on its NumPy backend."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "numpy")
        module = importlib.import_module("keras")
    assert module.backend.backend() == "numpy"
    return module


@pytest.fixture
def project(tmp_path):
    """Projects a sample by the real entry point; returns the path of the result."""

    def run(name, rules):
        target = tmp_path / name
        words = [word for rule in rules for word in ("-r", rule)]
        command = [sys.executable, "-m", "wproj_cli", "project", str(SAMPLES / name), *words]
        subprocess.run([*command, "-o", str(target)], check=True, capture_output=True)
        return target

    return run


@pytest.fixture
def cnn(keras):
    """The convolutional network, untrained, from the config in the archive."""
    with zipfile.ZipFile(SAMPLES / "digits_cnn.keras") as archive:
        config = json.loads(archive.read("config.json"))
    return keras.saving.deserialize_keras_object(config)


@pytest.fixture
def legacy_cnn(keras):
    """The same network from the config in the legacy file."""
    with h5py.File(SAMPLES / "digits_cnn.h5") as file:
        config = json.loads(file.attrs["model_config"])
    return keras.Sequential.from_config(config["config"])


@pytest.fixture
def mlp(keras):
    """The dense network, untrained, as `sample_weights/make.py` builds it."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(96, activation="relu", name="hidden1"),
            keras.layers.Dense(48, activation="relu", name="hidden2"),
            keras.layers.Dense(10, activation="softmax", name="classes"),
        ]
    )


def weights(model):
    """The values of all weights of a model by layer and variable name."""
    return {
        f"{layer.name}/{weight.name}": np.array(weight.value)
        for layer in model.layers
        for weight in layer.weights
    }


def norms(values, axis):
    """Euclidean norms in float64, axes kept."""
    return np.sqrt(np.square(values.astype(np.float64)).sum(axis, keepdims=True))


def check(keras, before, after, expected):
    """Only the expected variables changed; they are inside, along their old directions."""
    assert before.keys() == after.keys()
    for name, old in before.items():
        new = after[name]
        if name not in expected:
            assert new.tobytes() == old.tobytes(), name
            continue
        axis, bound, outside = expected[name]
        norm = norms(old, axis)
        moved = np.broadcast_to(norm > bound, old.shape)
        ideal = old * np.minimum(1, bound / norm)
        formula = keras.constraints.MaxNorm(bound, axis=list(axis))(old)
        assert (norm > bound).sum() == outside, name
        assert (norms(new, axis) <= bound).all(), name
        assert new[~moved].tobytes() == old[~moved].tobytes(), name
        np.testing.assert_allclose(new, ideal, rtol=2.0**-22, err_msg=name)
        np.testing.assert_allclose(new, formula, rtol=2e-6, err_msg=name)


def test_keras_loads_a_projected_legacy_model_whole(keras, project):
    """`load_model` takes the projected file, config and all."""
    before = weights(keras.saving.load_model(SAMPLES / "digits_cnn.h5", compile=False))
    target = project("digits_cnn.h5", CNN_RULES)
    after = weights(keras.saving.load_model(target, compile=False))

    assert len(after) == 14
    check(keras, before, after, CNN)


def test_keras_loads_a_projected_archive_whole(keras, project):
    """`load_model` takes a projected `.keras` archive, its checksums included."""
    before = weights(keras.saving.load_model(SAMPLES / "digits_cnn.keras", compile=False))
    target = project("digits_cnn.keras", CNN_WEIGHTS_RULES)
    after = weights(keras.saving.load_model(target, compile=False))

    assert len(after) == 14
    check(keras, before, after, CNN)


def bounds(constraint):
    """The least and the greatest norm inside a declared constraint."""
    config = constraint.get_config()
    unit = type(constraint).__name__ == "UnitNorm"
    return config.get("min_value", 1.0 if unit else 0.0), config.get("max_value", 1.0)


def assert_met(keras, model, count):
    """Every constraint that the model declares is met as loaded; there are `count` of them."""
    constrained = [weight for weight in model.weights if weight.constraint is not None]
    assert len(constrained) == count
    for weight in constrained:
        values, constraint = np.array(weight.value), weight.constraint
        if isinstance(constraint, keras.constraints.NonNeg):
            assert (values >= 0).all(), weight.path
            continue
        norm = norms(values, tuple(np.atleast_1d(constraint.axis)))
        low, high = bounds(constraint)
        slack = 2.0**-24 if low == high else 0  # As near as float32 holds a norm of exactly 1.
        assert ((norm >= low * (1 - slack)) & (norm <= high * (1 + slack))).all(), weight.path


@pytest.mark.parametrize("name", ["digits_cnn.keras", "digits_cnn.h5"])
def test_keras_finds_every_declared_constraint_met(keras, tmp_path, name):
    """The main example of the README: not so before, exactly so afterwards."""
    target = tmp_path / name
    command = [sys.executable, "-m", "wproj_cli", "project", str(SAMPLES / name), "--declared"]
    subprocess.run([*command, "-o", str(target)], check=True, capture_output=True)

    with pytest.raises(AssertionError, match="kernel"):
        assert_met(keras, keras.saving.load_model(SAMPLES / name, compile=False), 6)
    assert_met(keras, keras.saving.load_model(target, compile=False), 6)


# Keras 3.15 on NumPy 2 warns of its own Variable.__array__ while it saves.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_keras_loads_a_projected_folder_and_projected_shards(keras, tmp_path):
    """Both as Keras itself writes them; every declared constraint is met in what it loads."""
    model = keras.saving.load_model(SAMPLES / "digits_cnn.keras", compile=False)
    keras.saving.save_model(model, tmp_path / "folder", zipped=False)
    model.save_weights(tmp_path / "m.weights.json", max_shard_size=20_000 / 2**30)
    config = tmp_path / "folder/config.json"
    for source, target in (("folder", "out"), ("m.weights.json", "shards")):
        words = [source, "--declared", "-o", target]
        words += ["--config", str(config)] if target == "shards" else []
        command = [sys.executable, "-m", "wproj_cli", "project", *words]
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    shards = sorted(path.name for path in (tmp_path / "shards").iterdir())

    assert_met(keras, keras.saving.load_model(tmp_path / "out", compile=False), 6)
    model.load_weights(tmp_path / "shards/m.weights.json")
    assert_met(keras, model, 6)
    assert shards == ["m.weights.json", *(f"m_0000{n}.weights.h5" for n in range(len(shards) - 1))]
    assert len(shards) > 2


def test_keras_loads_the_weights_of_a_projected_legacy_model(keras, legacy_cnn, project):
    """`load_weights` takes it, too, into a network built from the config in it."""
    legacy_cnn.load_weights(SAMPLES / "digits_cnn.h5")
    before = weights(legacy_cnn)
    legacy_cnn.load_weights(project("digits_cnn.h5", CNN_RULES))
    after = weights(legacy_cnn)

    check(keras, before, after, CNN)


def test_keras_loads_projected_weights_into_a_network_from_an_archive(keras, cnn, project):
    """`load_weights` of a Keras 3 weight file that carries optimizer state."""
    cnn.load_weights(SAMPLES / "digits_cnn.weights.h5")
    before = weights(cnn)
    cnn.load_weights(project("digits_cnn.weights.h5", CNN_WEIGHTS_RULES))
    after = weights(cnn)

    assert len(after) == 14
    check(keras, before, after, CNN)


def test_keras_loads_projected_weights_of_a_dense_network(keras, mlp, project):
    """`load_weights` of a Keras 3 weight file without optimizer state."""
    mlp.load_weights(SAMPLES / "digits_mlp.weights.h5")
    before = weights(mlp)
    mlp.load_weights(project("digits_mlp.weights.h5", MLP_RULES))
    after = weights(mlp)

    assert len(after) == 6
    check(keras, before, after, MLP)


def stored_kernels(path):
    """The kernels in a file by layer, as h5py reads them."""
    with h5py.File(path) as file:
        if "model_weights" in file:
            layers = file["model_weights"]
            found = {name: layers[name].get(f"{name}/kernel") for name in layers}
        else:
            groups = [group["vars"] for group in file["layers"].values()]
            found = {group.attrs["name"]: group.get("0") for group in groups}
        return {name: kernel[()] for name, kernel in found.items() if kernel and kernel.ndim > 1}


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("digits_cnn.h5", CNN_RULES),
        ("digits_cnn.weights.h5", CNN_WEIGHTS_RULES),
        ("digits_mlp.weights.h5", MLP_RULES),
    ],
)
def test_what_keras_loads_is_what_is_stored(request, project, name, rules):
    """Each loaded kernel is, bit for bit, the one in the file."""
    model = request.getfixturevalue("mlp" if "mlp" in name else "cnn")
    target = project(name, rules)
    model.load_weights(target)
    loaded = weights(model)
    stored = stored_kernels(target)

    assert len(stored) == (3 if "mlp" in name else 5)
    for layer, kernel in stored.items():
        assert loaded[f"{layer}/kernel"].tobytes() == kernel.tobytes(), layer
