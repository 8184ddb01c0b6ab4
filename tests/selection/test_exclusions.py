"""What a rule leaves alone: by what it is, or by what it is called."""

import ml_dtypes
import numpy as np
import pytest

from wproj.dtypes import kind_of
from wproj.formats.base import TensorEntry
from wproj.selection.exclusions import exclusion, obstacle


def entry(path, dtype="float32", *, name=None, kind=None, problem=None, layer=None):
    """A tensor of this name and dtype."""
    stored = np.dtype(getattr(ml_dtypes, dtype) if hasattr(ml_dtypes, dtype) else dtype)
    return TensorEntry(
        name=name or path,
        path=path,
        shape=(2, 2),
        dtype=dtype,
        stored=stored,
        kind=kind or kind_of(stored),
        nbytes=4 * stored.itemsize,
        obstacle=problem,
        layer=layer,
    )


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        # Keras 3, legacy Keras, whole models, and PyTorch's habits.
        ("optimizer/vars/3", "optimizer state"),
        ("_optimizer/vars/0", "optimizer state"),
        ("trainer/optimizer/vars/0", "optimizer state"),
        ("optimizer_weights/Adam/dense/kernel/m:0", "optimizer state"),
        ("optimizer.state.0.exp_avg", "optimizer state"),
        ("bn/moving_mean", "moving statistics"),
        ("bn/moving_variance", "moving statistics"),
        ("layer1.0.bn1.running_mean", "moving statistics"),
        ("layer1.0.bn1.running_var", "moving statistics"),
        ("running_mean", "moving statistics"),
        ("model_weights/bn_1/bn_1_running_std", "moving statistics"),
        ("bn/running_std", "moving statistics"),
        ("bn/moving_stddev", "moving statistics"),
        ("bn/renorm_mean", "moving statistics"),
        ("bn1.num_batches_tracked", "counter"),
        ("iterations", "counter"),
        ("train/iteration", "counter"),
        ("learning_rate", "counter"),
        ("dropout/seed", "counter"),
        ("spectral/vector_u", "state of the power iteration"),
    ],
)
def test_state_that_is_no_weight_is_left_out(path, reason):
    """Unless it is named exactly, which the plan decides."""
    assert exclusion(entry(path), ()) == reason
    assert obstacle(entry(path), ()) is None


def test_statistics_of_a_layer_are_left_out():
    """What a Normalization layer holds was measured, not trained."""
    assert exclusion(entry("n/mean", layer="Normalization"), ()) == "statistics of the data"
    assert exclusion(entry("n/mean", layer="Dense"), ()) is None
    assert exclusion(entry("n/mean"), ()) is None


@pytest.mark.parametrize(
    "name", ["d/kernel_scale", "d/kernel_zero", "d/g_idx", "d/inputs_amax_history", "d/awq_scales"]
)
def test_the_state_of_a_quantization_is_left_out(name):
    """Where a config says that it is one; a scale of one's own is a weight."""
    assert exclusion(entry(name, layer="Dense"), ()) == "state of a quantization"
    assert exclusion(entry(name), ()) is None
    assert exclusion(entry("norm/scale", layer="RMSNormalization"), ()) is None


def test_a_kernel_that_lora_adds_to_is_an_obstacle():
    """It is not what the layer multiplies with."""
    names = {"d/kernel", "d/lora_kernel_a", "d/lora_kernel_b", "e/kernel"}

    assert "d/lora_kernel_a adds to it" in obstacle(entry("d/kernel"), names)
    assert obstacle(entry("e/kernel"), names) is None
    assert obstacle(entry("d/lora_kernel_b"), names) is None


@pytest.mark.parametrize(
    "path",
    [
        "dense/kernel",
        "layers/dense/vars/0",
        "optimizer_head/kernel",
        "my_optimizer/kernel",
        "preoptimizer.weight",
        "bn/gamma",
        "bn/beta",
        "moving_mean/kernel",
        "removing_mean",
        "seed_embedding/kernel",
        "seeds",
        "layers/batch_normalization_head/vars/0",
        "model.norm.weight",
    ],
)
def test_weights_are_not_left_out(path):
    """A name that only resembles one of those is a weight's."""
    assert exclusion(entry(path), ()) is None


@pytest.mark.parametrize(
    ("group", "count", "moving"),
    [
        ("layers/batch_normalization", 4, [2, 3]),
        ("layers/batch_normalization_12", 4, [2, 3]),
        ("layers/functional/layers/batch_normalization", 4, [2, 3]),
        ("layers/batch_normalization", 3, [1, 2]),
        ("layers/batch_normalization", 2, [0, 1]),
        ("layers/dense", 2, []),
        ("layers/layer_normalization", 2, []),
    ],
)
def test_moving_statistics_of_keras_3_are_known_by_their_place(group, count, moving):
    """They are the last two variables of the layer, with or without gamma and beta."""
    paths = [f"{group}/vars/{number}" for number in range(count)]
    left_out = [n for n, path in enumerate(paths) if exclusion(entry(path), set(paths))]

    assert left_out == moving


@pytest.mark.parametrize(
    ("dtype", "reason"),
    [
        ("int8", "int8: integer entries"),
        ("uint64", "uint64: integer entries"),
        ("bool", "bool: boolean entries"),
        ("complex64", "complex64: complex entries"),
        ("complex128", "complex128: complex entries"),
        ("S3", "S3: not numbers"),
        ("float8_e8m0fnu", "float8_e8m0fnu: not numbers"),
    ],
)
def test_what_is_not_a_float_is_an_obstacle(dtype, reason):
    """With its dtype and what it holds."""
    assert obstacle(entry("w", dtype), ()) == reason


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64", ">f4", "float8_e5m2"]
)
def test_floats_are_no_obstacle(dtype):
    """Of any width up to 64 bits and any byte order."""
    assert obstacle(entry("w", dtype), ()) is None


def test_packed_entries_are_an_obstacle():
    """Two numbers in one byte."""
    assert obstacle(entry("w", "uint8", kind="packed"), ()) == "uint8: packed entries"


def test_what_a_format_says_comes_first():
    """Its reason is more to the point."""
    odd = entry("w", "int8", problem="its values are in another file")

    assert obstacle(odd, ()) == "its values are in another file"


def test_float8_is_left_out_unless_named():
    """It is usually quantized."""
    assert exclusion(entry("w", "float8_e4m3fn"), ()) == (
        "float8_e4m3fn is usually quantized; name it exactly"
    )


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("layers.0.q.weight", "layers.0.q.weight_scale_inv"),
        ("layers.0.q.weight", "layers.0.q.weight_scale"),
        ("layers.0.q.weight", "layers.0.q.weight.scale"),
        ("layers.0.q.weight", "layers.0.q.scale"),
        ("layers.0.q.weight", "layers.0.q.scale_weight"),
        ("weight", "weight_scale"),
        ("dense/kernel", "dense/kernel_scale"),
        ("dense/kernel", "dense/kernel/scale"),
    ],
)
def test_float8_with_scales_beside_it_is_an_obstacle(name, scale):
    """A wider float with the same neighbor is not."""
    every = {name, scale}

    assert obstacle(entry(name, "float8_e4m3fn"), every) == (
        f"float8_e4m3fn scaled by {scale}: its raw norms mean nothing"
    )
    assert obstacle(entry(name, "float16"), every) is None


@pytest.mark.parametrize("other", ["layers.1.q.weight_scale", "weight_scale", "layers.0.k.scale"])
def test_scales_of_other_tensors_are_no_obstacle(other):
    """Only those beside the tensor are its own."""
    name = "layers.0.q.weight"

    assert obstacle(entry(name, "float8_e4m3fn"), {name, other}) is None
