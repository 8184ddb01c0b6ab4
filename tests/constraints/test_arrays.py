"""The laws of constraints on the arrays of a training loop: JAX, PyTorch, and the strict standard.

What comes back is measured by NumPy in float64. PyTorch's cases run where it is installed, with
`make test-interop`; array-api-strict has nothing but the standard, so what works on it works on
any array that follows it.
"""

import copy
import functools
import importlib
import math
import os
import pickle
import re
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "numpy")

import ml_dtypes
import numpy as np
import pytest

import wproj
from wproj import MaxNorm, MinMaxNorm, NonNeg, RadialConstraint, UnitNorm
from wproj.constraints import arrays
from wproj.dtypes import grid
from wproj.errors import AxisError, RequestError

DTYPES = {
    "jax": ("float16", "bfloat16", "float32"),
    "torch": ("float16", "bfloat16", "float32", "float64"),
    "strict": ("float32", "float64"),
}
MARKS = {"torch": [pytest.mark.interop]}
CONSTRAINTS = [
    MaxNorm(2),
    MaxNorm(0.7, axis=None),
    UnitNorm(axis=-1),
    MinMaxNorm(0.5, 2.0, axis=(0, -1)),
    MinMaxNorm(0.5, 2.0, rate=0.5),
    NonNeg(),
]
RADIAL = CONSTRAINTS[:-1]
SHAPE = (24, 3, 16)
SCALES = (0.01, 1, 100)

# Norms are summed in float32 or wider, and sums of a few hundred squares err by a few u; narrower
# results are rounded to nearest after that, which alone moves a norm by at most u.
NORM_ERROR = {"float16": 1.1, "bfloat16": 1.1, "float32": 8, "float64": 8}
# The exact projection rounds an entry to either neighbor, 2 u away, and keeps a margin from the
# bound in float64; these to the nearest of a product that errs as much as the norm.
ENTRY_ERROR = {"float16": 3.2, "bfloat16": 3.2, "float32": 12, "float64": 12 + 8}


def dtype_of(name):
    """The NumPy or ml_dtypes dtype of this name."""
    return np.dtype(getattr(ml_dtypes, name, name))


class Framework:
    """A framework's arrays, made of NumPy's and made into them without a rounding."""

    def __init__(self, name):
        modules = {"jax": "jax.numpy", "torch": "torch", "strict": "array_api_strict"}
        self.name = name
        if name == "torch":
            self.xp = pytest.importorskip("torch", reason="make test-interop installs PyTorch")
        else:
            self.xp = importlib.import_module(modules[name])

    def array(self, w):
        """The framework's array of these values and this dtype."""
        if self.name == "torch":
            bits = self.xp.from_numpy(w.view(f"i{w.dtype.itemsize}").copy())
            return bits.view(getattr(self.xp, w.dtype.name))
        return self.xp.asarray(w)

    def numpy(self, array):
        """The NumPy array of these values and this dtype."""
        if self.name == "torch":
            name = str(array.dtype).removeprefix("torch.")
            bits = array.view(getattr(self.xp, f"int{8 * array.itemsize}")).numpy()
            return bits.view(dtype_of(name))
        return np.asarray(array) if self.name == "jax" else np.from_dlpack(array)

    def constrained(self, constraint, w):
        """What the constraint makes of NumPy's values; compiled, where the framework compiles."""
        function = compiled(constraint) if self.name == "jax" else constraint
        # The strict standard is NumPy's arithmetic, which warns of infinite norms.
        with np.errstate(over="ignore", invalid="ignore"):
            return self.numpy(function(self.array(w)))

    def flushes(self, dtype):
        """The largest number that the arithmetic may take for zero, as XLA does on a CPU."""
        subnormal = self.name == "jax" and dtype.name != "float16"
        return float(ml_dtypes.finfo(dtype).smallest_normal) if subnormal else 0.0


@functools.cache
def compiled(constraint):
    """The constraint compiled by JAX, once."""
    import jax

    return jax.jit(constraint)


@pytest.fixture
def framework(request):
    """The framework of this name."""
    return Framework(request.param)


def each(*names):
    """The test once for each of these frameworks."""
    params = [pytest.param(name, marks=MARKS.get(name, [])) for name in names]
    return pytest.mark.parametrize("framework", params, indirect=True)


every_framework = each(*DTYPES)
every_dtype = pytest.mark.parametrize(
    ("framework", "dtype"),
    [
        pytest.param(name, dtype_of(dtype), id=f"{name}-{dtype}", marks=MARKS.get(name, []))
        for name, dtypes in DTYPES.items()
        for dtype in dtypes
    ],
    indirect=["framework"],
)
every_constraint = pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
every_radial = pytest.mark.parametrize("constraint", RADIAL, ids=str)


def weights(shape, dtype, seed=0, scale=1.0):
    """Normal numbers, some zeros of both signs, and some of the smallest numbers of the dtype."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(shape) * scale
    choice = rng.random(shape)
    for threshold, value in ((0.03, 0.0), (0.02, -0.0), (0.01, 3 * grid(dtype).tiny)):
        w = np.where(choice < threshold, value, w)
    return w.astype(dtype)


def bits(w):
    """The bytes, entry by entry."""
    return w.view(f"u{w.dtype.itemsize}")


def norms(w, axis):
    """Norms in float64, axes kept; of entries divided by the largest, so that none overflows."""
    values = w.astype(np.float64)
    largest = np.abs(values).max(axis=axis, keepdims=True)
    largest[largest == 0] = 1
    return largest * np.sqrt(np.square(values / largest).sum(axis=axis, keepdims=True))


def length_of(shape, constraint):
    """The number of entries of a vector."""
    axis = getattr(constraint, "axis", None)
    axes = range(len(shape)) if axis is None else [axis] if isinstance(axis, int) else axis
    return math.prod(shape[a] for a in axes)


def error_of(dtype, length):
    """How far an entry may be from the exact projection, relatively."""
    margin = math.sqrt(length) if dtype == np.float64 else 0
    return (ENTRY_ERROR[dtype.name] + margin) * grid(dtype).unit_roundoff


def inside(constraint, w):
    """`w`, moved well into the set where it can be; one-hot vectors for norms of exactly one."""
    if isinstance(constraint, UnitNorm):
        hot = np.zeros(w.shape, w.dtype)
        hot[..., 0] = -1
        return hot
    if isinstance(constraint, MinMaxNorm):
        return MinMaxNorm(0.55, 1.9, axis=constraint.axis)(w)
    if isinstance(constraint, MaxNorm):
        return MaxNorm(0.9 * constraint.max_value, axis=constraint.axis)(w)
    return np.where(w < 0, -w, w)


# Laws


@every_dtype
@every_constraint
def test_type_shape_dtype_and_device_stay(framework, dtype, constraint):
    """A new array of the same kind comes back, and the one that was given is as it was."""
    before = weights(SHAPE, dtype, scale=3)
    w = framework.array(before)
    out = constraint(w)

    assert type(out) is type(w)
    assert (out.shape, out.dtype, out.device) == (w.shape, w.dtype, w.device)
    assert out is not w
    assert (bits(framework.numpy(w)) == bits(before)).all()
    assert (bits(framework.numpy(out)) != bits(before)).any()


@every_dtype
@every_constraint
def test_what_is_inside_keeps_its_bits(framework, dtype, constraint):
    """Zeros of either sign and the smallest numbers included."""
    w = inside(constraint, weights(SHAPE, dtype))
    out = framework.constrained(constraint, w)

    assert (bits(out) == bits(w)).all()


@every_dtype
def test_vectors_inside_keep_their_bits_beside_others(framework, dtype):
    """Each vector is decided by itself."""
    w = weights((20, 6), dtype)
    w[:, ::2] = MaxNorm(1.9)(w[:, ::2])
    out = framework.constrained(MaxNorm(2), w)

    assert (bits(out[:, ::2]) == bits(w[:, ::2])).all()
    assert (out[:, 1::2] != w[:, 1::2]).any(axis=0).all()


@every_dtype
@pytest.mark.parametrize("constraint", [c for c in RADIAL if not c.step], ids=str)
def test_norms_come_within_rounding_of_the_bounds(framework, dtype, constraint):
    """Measured in float64, as stored."""
    lower, upper = constraint.bounds
    error = NORM_ERROR[dtype.name] * grid(dtype).unit_roundoff
    for scale in SCALES:
        w = weights(SHAPE, dtype, scale=scale)
        measured = norms(framework.constrained(constraint, w), constraint.axis)
        length = w.size / measured.size
        flushed = math.sqrt(length) * max(grid(dtype).tiny, framework.flushes(dtype))

        assert (measured <= upper * (1 + error) + flushed).all()
        assert (measured >= lower * (1 - error) - flushed).all()


@every_dtype
@every_constraint
def test_entries_agree_with_the_exact_projection(framework, dtype, constraint):
    """Within a few units of roundoff of what NumPy's arrays become."""
    axis, length = getattr(constraint, "axis", None), length_of(SHAPE, constraint)
    for scale in SCALES:
        w = weights(SHAPE, dtype, scale=scale)
        out = framework.constrained(constraint, w).astype(np.float64)
        exact = constraint(w).astype(np.float64)
        growth = norms(exact, axis) / np.maximum(norms(w, axis), grid(dtype).tiny)
        least = 2 * grid(dtype).tiny + framework.flushes(dtype) * np.maximum(growth, 1)

        assert (np.abs(out - exact) <= error_of(dtype, length) * np.abs(exact) + least).all()


@every_dtype
@every_radial
def test_no_magnitude_overflows_or_underflows(framework, dtype, constraint):
    """Not where squares leave float32, nor where a float16 norm leaves float16."""
    constraint = constraint.at(0)
    largest, normal = grid(dtype).largest, float(ml_dtypes.finfo(dtype).smallest_normal)
    pattern = np.array([0.25, -0.5, 0.75, 1.0])
    w = np.stack([pattern * s for s in (largest / 2, largest**0.5, 300, 8 * normal)], axis=1)
    w = w.astype(dtype)
    out = framework.constrained(constraint, w)
    u = grid(dtype).unit_roundoff
    if constraint.step:  # A norm beyond float32 has no target there, and stays.
        w, out = w[:, 1:], out[:, 1:]
    before, after = norms(w, 0), norms(out, 0)

    np.testing.assert_allclose(after, constraint.target(before), rtol=8 * u)
    np.testing.assert_allclose(out / after, w / before, rtol=8 * u)


@every_dtype
def test_a_norm_of_300_in_float16_is_no_zero(framework, dtype):
    """Keras squares in the dtype of the weights: in float16 the norm is infinite, the result 0."""
    w = np.full((9, 1), 100, dtype)
    out = framework.constrained(MaxNorm(3), w)

    np.testing.assert_allclose(out.astype(np.float64), 1, rtol=2 * grid(dtype).unit_roundoff)


@every_dtype
@every_radial
def test_zero_vectors_stay_zero(framework, dtype, constraint):
    """They have no direction; their signs stay, too, and the others are scaled."""
    constraint = constraint.at(0)
    w = weights((20, 6), dtype, scale=3)
    w[:, 1], w[:, 3] = 0.0, -0.0
    out = framework.constrained(constraint, w)

    assert (bits(out[:, [1, 3]]) == bits(w[:, [1, 3]])).all()
    assert (out[:, [0, 2, 4, 5]] != w[:, [0, 2, 4, 5]]).any(axis=0).all()


@every_dtype
def test_vectors_of_the_smallest_numbers_are_scaled_or_stay(framework, dtype):
    """Where the arithmetic knows no subnormal numbers they count as zero, and keep their bits."""
    tiny = grid(dtype).tiny
    w = np.array([[3 * tiny, -tiny], [-4 * tiny, 0]], dtype)
    out = framework.constrained(UnitNorm(), w)

    if framework.flushes(dtype):
        assert (bits(out) == bits(w)).all()
    else:
        u = grid(dtype).unit_roundoff
        np.testing.assert_allclose(out.astype(np.float64), [[0.6, -1], [-0.8, 0]], rtol=2 * u)


@every_dtype
def test_a_unit_vector_is_one_that_its_dtype_cannot_better(framework, dtype):
    """Satisfied means within u, as on files; in float64 within what a sum can tell."""
    u = grid(dtype).unit_roundoff
    near, off = (1 - u, 1 + 2 * u) if dtype != np.float64 else (1 - 4 * u, 1 + 20 * u)
    w = np.array([[near, -near, off, -off]], dtype)
    out = framework.constrained(UnitNorm(), w)

    assert (bits(out) == bits(np.array([[near, -near, 1, -1]], dtype))).all()
    assert (bits(out) == bits(UnitNorm()(w))).all()


@every_dtype
@every_radial
def test_vectors_that_are_not_finite_stay_and_disturb_no_other(framework, dtype, constraint):
    """As no error can be raised in compiled code."""
    constraint = constraint.at(0)
    w = weights((20, 6), dtype, scale=3)
    undisturbed = framework.constrained(constraint, w)
    w[3, 0], w[4, 2], w[5, 4], w[6, 4] = math.nan, math.inf, -math.inf, math.inf
    out = framework.constrained(constraint, w)

    assert (bits(out[:, ::2]) == bits(w[:, ::2])).all()
    assert (bits(out[:, 1::2]) == bits(undisturbed[:, 1::2])).all()


@every_dtype
def test_entries_that_are_not_finite_stay(framework, dtype):
    """Minus infinity included, as with --nonfinite skip."""
    w = np.array([math.nan, -math.inf, math.inf, -1, 1], dtype)
    out = framework.constrained(NonNeg(), w)

    assert (bits(out[[0, 1, 2, 4]]) == bits(w[[0, 1, 2, 4]])).all()
    assert bits(out[3]) == 0


@every_dtype
def test_what_the_dtype_does_not_hold_stays(framework, dtype):
    """No infinite weight comes of a finite one, where an exact projection is refused."""
    bound = 1e39 if dtype.name != "float64" else 1.7e308
    w = weights((2, 3), dtype) + np.ones((2, 3), dtype)
    w[1] = 0
    constraint = MinMaxNorm(bound, 2 * bound if dtype.name != "float64" else math.inf)
    out = framework.constrained(constraint, w)

    if dtype.name == "float64":
        np.testing.assert_allclose(out[0], bound * np.sign(w[0]), rtol=1e-15)
    else:
        assert (bits(out) == bits(w)).all()


@every_framework
@pytest.mark.parametrize(
    ("form", "axes"),
    [(-1, (2,)), (None, (0, 1, 2)), ([0, -2], (0, 1)), ([2, 0], (0, 2)), (1, (1,))],
    ids=str,
)
def test_axes_of_every_form_mean_what_they_mean_in_numpy(framework, form, axes):
    """Integers, several, negative ones and None."""
    dtype = np.dtype("float32")
    w = weights((4, 5, 6), dtype, scale=2)
    out = framework.constrained(MaxNorm(1, axis=form), w)

    assert (bits(out) == bits(framework.constrained(MaxNorm(1, axis=axes), w))).all()
    least = 2 * grid(dtype).tiny + framework.flushes(dtype)
    error = error_of(dtype, w.size)
    np.testing.assert_allclose(out, MaxNorm(1, axis=form)(w), rtol=error, atol=least)


@every_dtype
def test_a_scalar_is_one_vector_along_all_its_axes(framework, dtype):
    """Which are none."""
    w = framework.array(np.array(-3, dtype))

    assert float(MaxNorm(2, axis=None)(w)) == -2
    assert float(NonNeg()(w)) == 0
    assert MaxNorm(2, axis=None)(w).shape == ()


@every_dtype
@every_constraint
@pytest.mark.parametrize("shape", [(0, 3), (3, 0, 2)], ids=str)
def test_empty_arrays_stay_empty(framework, dtype, constraint, shape):
    """There is nothing to do, along an axis without entries or beside one."""
    w = framework.array(np.zeros(shape, dtype))
    out = constraint(w)

    assert type(out) is type(w)
    assert (tuple(out.shape), out.dtype) == (shape, w.dtype)


@every_framework
@pytest.mark.parametrize("bound", [1e300, math.inf, 2**200])
def test_a_bound_beyond_the_dtype_is_none(framework, bound):
    """Nor does it overflow on its way there."""
    w = weights((9, 4), np.dtype("float32"), scale=1e30)
    for constraint in (MaxNorm(bound), MinMaxNorm(0.5, bound), MinMaxNorm(0.5, bound, 0.5)):
        out = framework.constrained(constraint, w)

        assert (bits(out) == bits(w)).all()


# What is refused


@every_framework
@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64"])
@every_constraint
def test_arrays_that_are_not_floats_are_refused(framework, constraint, dtype):
    """The error names the dtype as the framework does."""
    w = framework.xp.zeros((3, 4), dtype=getattr(framework.xp, dtype))

    with pytest.raises(RequestError, match="constraints project float arrays of 8 to 64") as caught:
        constraint(w)
    assert str(caught.value).endswith(f"not {w.dtype}")


@every_framework
def test_an_axis_that_the_array_does_not_have_is_refused(framework):
    """The same errors as for NumPy's arrays."""
    w = framework.array(np.ones((3, 4), np.float32))

    with pytest.raises(AxisError, match=r"axis 2 is out of range for shape \(3,4\)"):
        MaxNorm(2, axis=2)(w)
    with pytest.raises(AxisError, match=r"axis \(0, -2\) names an axis twice for shape \(3,4\)"):
        UnitNorm(axis=[0, -2])(w)


class Tensor:
    """A tensor of a framework without an array-API namespace, as TensorFlow's."""

    device = "/device:GPU:0"
    dtype = "float32"
    shape = (3, 4)

    def __array__(self, dtype=None, copy=None):
        """Waits for the device."""
        raise AssertionError("the values were looked at")


@every_constraint
def test_tensors_without_a_namespace_are_refused_with_a_way_out(constraint):
    """The error says what is supported, and what to do on TensorFlow."""
    for given in (Tensor(), Held(Tensor())):
        with pytest.raises(RequestError) as caught:
            constraint(given)

    assert str(caught.value) == (
        "constraints take arrays of NumPy and of frameworks with an array API namespace, such as "
        f"PyTorch and JAX, not {Tensor.__module__}.Tensor; while training on TensorFlow, use "
        "Keras' own constraints, and project the saved model"
    )


# What is inside what is given


class Held:
    """A variable with a value, as Keras has them."""

    def __init__(self, value):
        self._value = value

    @property
    def value(self):
        """What it holds."""
        return self._value


class Column:
    """What NumPy makes an array of, with an attribute of its own that is called `value`."""

    def __init__(self, values):
        self._values = values

    def __getattr__(self, name):
        if name == "value":
            return self._values[:1]
        raise AttributeError(name)

    def __array__(self, dtype=None, copy=None):
        """The values."""
        return np.asarray(self._values, dtype)


@every_framework
@every_constraint
def test_of_a_variable_its_value_is_constrained(framework, constraint):
    """The framework's own array comes back."""
    w = framework.array(weights((8, 5), np.dtype("float32"), scale=3))
    out = constraint(Held(w))

    assert type(out) is type(w)
    assert (bits(framework.numpy(out)) == bits(framework.numpy(constraint(w)))).all()


@every_constraint
def test_a_variable_that_holds_numpys_array_is_projected_exactly(constraint):
    """Keras' NumPy backend has them: the same bytes as from the array."""
    w = weights((8, 5), np.dtype("float32"), scale=3)

    assert type(constraint(Held(w))) is np.ndarray
    assert constraint(Held(w)).tobytes() == constraint(w).tobytes()


# Keras 3.15 converts to NumPy as NumPy 1 had it.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@every_constraint
def test_a_variable_of_keras_gives_what_its_tensor_gives(constraint):
    """On the backend of the day: NumPy's in the fast suite, PyTorch's and JAX's with interop."""
    keras = importlib.import_module("keras")
    w = keras.ops.convert_to_tensor(weights((8, 5), np.dtype("float32"), scale=3))
    variable = keras.Variable(w)
    out = constraint(variable)

    assert type(out) is type(w)
    assert np.array_equal(*(keras.ops.convert_to_numpy(x) for x in (out, constraint(w))))


@every_constraint
def test_what_numpy_makes_an_array_of_is_projected_exactly(constraint):
    """No framework, no device: as before there were any."""
    w = weights((8, 5), np.dtype("float64"), scale=3)

    assert constraint(Column(w)).tobytes() == constraint(w).tobytes()


class Halved(RadialConstraint):
    """Norms of at most one, of those outside half; the formula is plain arithmetic."""

    axis = 0
    bounds = 0.0, 1.0
    step = True

    def target(self, norms):
        """Half the norms."""
        return norms / 2


@every_framework
def test_constraints_of_your_own_work_where_their_formulas_do(framework):
    """A radial one by its target; any other is called as it is."""
    w = np.array([[3.0, 0.3], [4.0, 0.4]], np.float32)
    given = []

    class Seen(wproj.Constraint):
        def __call__(self, w):
            given.append(w)
            return w

    array = framework.array(w)

    np.testing.assert_allclose(
        framework.numpy(Halved()(array)), [[1.5, 0.3], [2.0, 0.4]], rtol=3e-7
    )
    assert Seen()(array) is array
    assert given[0] is array


@every_constraint
def test_constraints_can_be_copied_and_pickled(constraint):
    """As trainers do with whole models."""
    for twin in (copy.deepcopy(constraint), pickle.loads(pickle.dumps(constraint))):  # noqa: S301 # ours
        assert twin == constraint
        assert type(twin) is type(constraint)


# JAX


@each("jax")
@every_constraint
@pytest.mark.parametrize("name", DTYPES["jax"])
def test_compiled_by_jax_it_does_the_same(framework, constraint, name):
    """Under `jit`, up to what XLA rounds differently when it fuses operations."""
    w = weights(SHAPE, dtype_of(name), scale=3)
    eager = framework.numpy(constraint(framework.array(w)))
    fused = framework.constrained(constraint, w)

    assert fused.dtype == eager.dtype
    error = error_of(eager.dtype, eager.size)
    np.testing.assert_allclose(fused.astype(float), eager.astype(float), rtol=error)


@each("jax")
@pytest.mark.parametrize("constraint", [UnitNorm(axis=-1), NonNeg()], ids=str)
def test_mapped_by_jax_each_array_is_constrained_by_itself(framework, constraint):
    """Under `vmap`, axes count in the inner arrays."""
    import jax

    w = framework.array(weights((4, 6, 5), np.dtype("float32"), scale=3))
    mapped = framework.numpy(jax.vmap(constraint)(w))
    alone = np.stack([framework.numpy(constraint(part)) for part in w])

    np.testing.assert_allclose(mapped, alone, rtol=5e-7)


@each("jax")
@every_radial
def test_compiled_code_leaves_what_is_not_finite_alone(framework, constraint):
    """There is no exception in it."""
    import jax

    w = framework.array(np.full((3, 4), math.nan, np.float32))

    assert np.isnan(framework.numpy(jax.jit(constraint)(w))).all()


# PyTorch


@each("torch")
@every_constraint
def test_no_gradient_is_recorded(framework, constraint):
    """A parameter gives a plain tensor: no tape, nothing saved for a backward pass."""
    torch = framework.xp
    w = torch.nn.Parameter(framework.array(weights((8, 5), np.dtype("float32"), scale=3)))
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(saved.append, lambda _: None):
        out = constraint(w)

    assert type(out) is torch.Tensor
    assert (out.requires_grad, out.grad_fn, out.is_leaf) == (False, None, True)
    assert saved == []
    assert w.requires_grad


@each("torch")
@every_constraint
@pytest.mark.parametrize("name", DTYPES["torch"])
def test_no_value_is_looked_at(framework, constraint, name):
    """On a device without values any look at one would fail, as it would wait on a GPU."""
    torch = framework.xp
    w = torch.empty((6, 5, 4), dtype=getattr(torch, name), device="meta")
    out = constraint(w)

    assert out.device.type == "meta"
    assert (out.shape, out.dtype) == (w.shape, w.dtype)


@each("torch")
@every_constraint
def test_strides_are_of_no_account(framework, constraint):
    """A transposed tensor is constrained as its copy."""
    w = framework.array(weights((9, 7), np.dtype("float32"), scale=3)).T
    ours, copied = (framework.numpy(constraint(x).contiguous()) for x in (w, w.contiguous()))

    u = grid(np.dtype("float32")).unit_roundoff
    np.testing.assert_allclose(ours, copied, rtol=8 * u)


@each("torch")
def test_the_loop_of_the_issue_keeps_a_model_inside(framework):
    """After each step, in place and without a gradient: every norm stays within rounding."""
    torch = framework.xp
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 3, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    constraint = MaxNorm(0.5, axis=1)
    for _ in range(20):
        x = torch.randn(8, 6)
        optimizer.zero_grad()
        (model(x) - 3 * x[:, :3]).square().mean().backward()
        optimizer.step()
        with torch.no_grad():
            model.weight.copy_(constraint(model.weight))
        measured = norms(model.weight.detach().numpy(), 1)

        assert (measured <= 0.5 * (1 + 5e-7)).all()
    assert (measured > 0.49).any()
    assert model.weight.requires_grad


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_grid_of_a_dtype_is_the_one_of_files(dtype):
    """What a framework tells of a dtype comes down to what is known of it as stored."""
    limits = arrays._limits((1.0, 2.0), 4, np.finfo(dtype), np.finfo("float32"))

    assert limits.grid == grid(np.dtype(dtype))
    assert (limits.lower, limits.upper, limits.length, limits.wide) == (1.0, 2.0, 4, False)
    assert arrays._limits((0.0, 1e39), 4, np.finfo("f2"), np.finfo("f4")).upper == math.inf
    assert arrays._limits((0.0, 1e39), 4, np.finfo("f2"), np.finfo("f8")).wide


# The page


def test_every_example_of_the_page_is_run_somewhere():
    """Blocks of another language than these would be run by no test."""
    page = Path(__file__).parents[2] / "docs" / "training.md"
    languages = re.findall(r"^```(.+)$", page.read_text("utf-8"), re.MULTILINE)

    assert set(languages) == {"python", "python torch", "python keras", "sh"}
