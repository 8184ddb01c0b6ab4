"""Train the sample networks and write their checkpoints next to this script.

The data set is scikit-learn's bundled digits (8x8 images, ten classes). Two networks
are trained with Keras on the PyTorch backend: a convolutional one that declares weight
constraints and breaks some of them, and a dense one that declares none. Every figure
printed at the end is measured on the written files, loaded back.

Last run with Python 3.11, keras 3.15.1, torch 2.13.0, scikit-learn 1.9.1, h5py 3.16.0,
numpy 2.4.6 and safetensors 0.8.0, on a CPU:

    python -m pip install keras==3.15.1 torch==2.13.0 scikit-learn==1.9.1 \
        h5py==3.16.0 numpy==2.4.6 safetensors==0.8.0
    python sample_weights/make.py

Two runs on one machine give the same weights; another processor or another version may
round differently and end elsewhere. The .keras archive also carries the date.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

import os

os.environ["KERAS_BACKEND"] = "torch"

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

HERE = Path(__file__).resolve().parent
SEED = 0
TEST_IMAGES = 360  # of 1797
LIMIT = 2.0  # the norm that the vectors of the dense network are counted against
TOLERANCE = 1e-5  # relative; a float32 projection leaves norms off by about 1e-7

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


class Digits(NamedTuple):
    """The digits, split: pixels in 0..1 of shape (n, 8, 8, 1), labels in 0..9."""

    train_x: FloatArray
    test_x: FloatArray
    train_y: IntArray
    test_y: IntArray


def load_data() -> Digits:
    """Return the digits in the order of the data set, the last ones held out for testing."""
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16.0).astype(np.float32).reshape(-1, 8, 8, 1)
    return Digits(
        images[:-TEST_IMAGES], images[-TEST_IMAGES:], labels[:-TEST_IMAGES], labels[-TEST_IMAGES:]
    )


def cnn_constraints() -> dict[str, dict[str, keras.constraints.Constraint]]:
    """Return the constraint arguments that the convolutional network is built with."""
    return {
        "conv1": {"kernel_constraint": keras.constraints.MaxNorm(1.0, axis=[0, 1, 2])},
        "normalization": {"gamma_constraint": keras.constraints.NonNeg()},
        "depthwise": {"depthwise_constraint": keras.constraints.MaxNorm(1.0, axis=[0, 1])},
        "conv2": {"kernel_constraint": keras.constraints.MinMaxNorm(0.5, 1.0, axis=[0, 1, 2])},
        "classes": {"kernel_constraint": keras.constraints.UnitNorm(axis=0)},
    }


def build_cnn(*, constrained: bool) -> keras.Model:
    """Return an untrained convolutional network, with or without its constraints."""
    keras.utils.clear_session()  # the automatic layer names start anew
    limits = {name: kwargs if constrained else {} for name, kwargs in cnn_constraints().items()}
    common = {"padding": "same", "activation": "relu", "kernel_initializer": "he_uniform"}
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="pixels"),
            keras.layers.Conv2D(16, 3, name="conv1", **common, **limits["conv1"]),
            keras.layers.BatchNormalization(**limits["normalization"]),
            keras.layers.MaxPooling2D(),
            keras.layers.DepthwiseConv2D(
                3, padding="same", name="depthwise", **limits["depthwise"]
            ),
            keras.layers.Conv2D(32, 3, name="conv2", **common, **limits["conv2"]),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu", name="hidden"),
            keras.layers.Dropout(0.25),
            keras.layers.Dense(10, activation="softmax", name="classes", **limits["classes"]),
        ],
        name="digits_cnn",
    )


def build_mlp() -> keras.Model:
    """Return an untrained dense network without constraints."""
    keras.utils.clear_session()
    common = {"activation": "relu", "kernel_initializer": "he_uniform"}
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="pixels"),
            keras.layers.Flatten(),
            keras.layers.Dense(96, name="hidden1", **common),
            keras.layers.Dense(48, name="hidden2", **common),
            keras.layers.Dense(10, activation="softmax", name="classes"),
        ],
        name="digits_mlp",
    )


def train(model: keras.Model, data: Digits, epochs: int, learning_rate: float) -> None:
    """Train the network in place with Adam."""
    model.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy")
    model.fit(data.train_x, data.train_y, batch_size=64, epochs=epochs, verbose=0)


def train_cnn(data: Digits) -> keras.Model:
    """Train without constraints, then with them, in the ways that leave some of them broken.

    The second network starts from the weights of the first. Keras projects a weight only
    after an optimizer step on it, and only with the constraint it had when it was built:
    `conv1` is frozen, so it keeps its earlier norms, and `hidden` is given its constraint
    too late. The other constraints are enforced.
    """
    earlier = build_cnn(constrained=False)
    train(earlier, data, epochs=30, learning_rate=3e-3)
    model = build_cnn(constrained=True)
    model.set_weights(earlier.get_weights())
    model.get_layer("conv1").trainable = False
    model.get_layer("hidden").kernel_constraint = keras.constraints.MaxNorm(2.0, axis=0)
    train(model, data, epochs=20, learning_rate=1e-3)
    return model


def without_optimizer(model: keras.Model) -> keras.Model:
    """Return a copy of the network that was never compiled."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def build_torch_mlp() -> torch.nn.Sequential:
    """Return the dense network in PyTorch, untrained, in bfloat16."""
    layers = OrderedDict[str, torch.nn.Module](
        flatten=torch.nn.Flatten(),
        hidden1=torch.nn.Linear(64, 96),
        relu1=torch.nn.ReLU(),
        hidden2=torch.nn.Linear(96, 48),
        relu2=torch.nn.ReLU(),
        classes=torch.nn.Linear(48, 10),
    )
    return torch.nn.Sequential(layers).to(torch.bfloat16)


def torch_state(mlp: keras.Model) -> dict[str, torch.Tensor]:
    """Return the weights of the Keras dense network in PyTorch's layout, in bfloat16."""
    state = {}
    for name in ("hidden1", "hidden2", "classes"):
        kernel, bias = (torch.from_numpy(values) for values in mlp.get_layer(name).get_weights())
        state[f"{name}.weight"] = kernel.T.contiguous().to(torch.bfloat16)
        state[f"{name}.bias"] = bias.to(torch.bfloat16)
    return state


def keras_classes(model: keras.Model, images: FloatArray) -> IntArray:
    """Return the classes that a Keras network gives the images."""
    classes: IntArray = model.predict(images, verbose=0).argmax(axis=1)
    return classes


def torch_classes(model: torch.nn.Module, images: FloatArray) -> IntArray:
    """Return the classes that a PyTorch network, computing in bfloat16, gives the images."""
    with torch.no_grad():
        logits = model(torch.from_numpy(images).to(torch.bfloat16))
    classes: IntArray = logits.argmax(dim=1).numpy()
    return classes


def report_file(path: Path, classify: Callable[[FloatArray], IntArray], data: Digits) -> None:
    """Print the size of a checkpoint and the accuracy of the network loaded from it."""
    train_accuracy = np.mean(classify(data.train_x) == data.train_y)
    test_accuracy = np.mean(classify(data.test_x) == data.test_y)
    print(
        f"{path.name}: {path.stat().st_size} bytes,"
        f" accuracy {test_accuracy:.4f} in testing, {train_accuracy:.4f} in training"
    )


def vector_norms(values: FloatArray, axes: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return the Euclidean norms along the axes, computed in float64, as a flat array."""
    norms: npt.NDArray[np.float64] = np.sqrt(np.square(values, dtype=np.float64).sum(axis=axes))
    return norms.ravel()


def count_outside(constraint: keras.constraints.Constraint, values: FloatArray) -> tuple[int, int]:
    """Return how many vectors (for NonNeg: entries) break the constraint, out of how many."""
    if isinstance(constraint, keras.constraints.NonNeg):
        return int((values < 0).sum()), values.size
    config = constraint.get_config()
    norms = vector_norms(values, tuple(np.atleast_1d(config["axis"])))
    unit = isinstance(constraint, keras.constraints.UnitNorm)
    low = config.get("min_value", 1.0 if unit else 0.0)
    high = config.get("max_value", 1.0)
    outside = (norms < low * (1 - TOLERANCE)) | (norms > high * (1 + TOLERANCE))
    return int(outside.sum()), norms.size


def spread(values: npt.NDArray[Any]) -> str:
    """Return the least, the median and the greatest value as text."""
    return f"{values.min():.4f} / {np.median(values):.4f} / {values.max():.4f}"


def report_vectors(name: str, values: FloatArray, axes: tuple[int, ...]) -> None:
    """Print the norms of an undeclared kernel and how many of them exceed the limit."""
    norms = vector_norms(values, axes)
    print(
        f"  {name} {values.shape}: norms along {list(axes)} {spread(norms)};"
        f" {(norms > LIMIT).sum()} of {norms.size} above {LIMIT:g}"
    )


def report_declared(
    name: str, values: FloatArray, constraint: keras.constraints.Constraint
) -> None:
    """Print what a declared constraint asks for and how many vectors break it."""
    config = constraint.get_config()
    if "axis" in config:
        measured = "norms " + spread(vector_norms(values, tuple(np.atleast_1d(config["axis"]))))
    else:
        measured = "values " + spread(values)
    arguments = ", ".join(f"{key}={value}" for key, value in config.items())
    outside, total = count_outside(constraint, values)
    declared = f"{type(constraint).__name__}({arguments})"
    print(f"  {name} {values.shape}: {measured}; {declared}: {outside} of {total} outside")


def report_keras(path: Path, model: keras.Model, data: Digits) -> None:
    """Print the size, the accuracy and the kernels of a Keras checkpoint."""
    report_file(path, partial(keras_classes, model), data)
    for layer in model.layers:
        for weight in layer.weights:
            name, values = f"{layer.name}/{weight.name}", keras.ops.convert_to_numpy(weight)
            if weight.constraint is not None:
                report_declared(name, values, weight.constraint)
            elif values.ndim > 1:
                report_vectors(name, values, tuple(range(values.ndim - 1)))


def report_torch(path: Path, data: Digits) -> None:
    """Print the size, the accuracy and the weight matrices of the PyTorch checkpoint."""
    state = load_file(path)
    model = build_torch_mlp()
    model.load_state_dict(state)
    report_file(path, partial(torch_classes, model), data)
    for name, tensor in state.items():
        if tensor.ndim > 1:
            report_vectors(name, tensor.float().numpy(), (1,))


def write_cnn(data: Digits) -> None:
    """Train the convolutional network, write its three files and report on them."""
    paths = [HERE / f"digits_cnn{suffix}" for suffix in (".keras", ".h5", ".weights.h5")]
    trained = train_cnn(data)
    trained.save_weights(paths[2])  # with the state of the optimizer, as Keras saves it
    bare = without_optimizer(trained)
    for path in paths[:2]:
        bare.save(path)
        report_keras(path, keras.saving.load_model(path, compile=False), data)
    loaded = keras.saving.load_model(paths[0], compile=False)
    loaded.load_weights(paths[2])
    report_keras(paths[2], loaded, data)


def write_mlp(data: Digits) -> None:
    """Train the dense network, write its two files and report on them."""
    trained = build_mlp()
    train(trained, data, epochs=60, learning_rate=3e-3)
    path = HERE / "digits_mlp.weights.h5"
    without_optimizer(trained).save_weights(path)
    loaded = build_mlp()
    loaded.load_weights(path)
    report_keras(path, loaded, data)
    path = HERE / "digits_mlp_pt.safetensors"
    save_file(torch_state(trained), path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors creates it for the owner only
    report_torch(path, data)


def main() -> None:
    """Write every sample file."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    data = load_data()
    print(f"digits: {len(data.train_y)} images for training, {len(data.test_y)} for testing")
    for write in (write_cnn, write_mlp):
        keras.utils.set_random_seed(SEED)
        write(data)


if __name__ == "__main__":
    main()
