"""Names, declared constraints and axes, against what the loaded model itself says."""

import inspect
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import wproj
from wproj import MaxNorm
from wproj.errors import FileError, RequestError

FILES = [".keras", ".h5", ".weights.h5"]
NAMES = ["zoo", "recurrent", "attention", "states", "nesting", "operations"]
EVERYTHING = [(name, suffix) for name in NAMES for suffix in FILES]
EVERYTHING.remove(("operations", ".h5"))  # Keras cannot load it


def opened(folder, name, suffix):
    """The checkpoint; bare weights with the config beside them."""
    config = folder / f"{name}.json" if suffix == ".weights.h5" else None
    return wproj.open_checkpoint(folder / f"{name}{suffix}", config)


def values(checkpoint):
    """The entries of a checkpoint by name, each with its values."""
    with checkpoint.stores() as stores:
        return {
            entry.name: (entry, stores(entry).read(0, int(np.prod(entry.shape))))
            for entry in checkpoint.entries
        }


def variables(model, *, legacy=False):
    """Every variable of the model by its full name, with the class of its layer.

    The cell of a layer that is a loop has no name of its own here, and the layers inside an
    attention layer are of its class. Legacy files have no second copy of a variable.
    """
    from keras import layers, saving

    found, visited = {}, set()
    loops = (layers.SimpleRNN, layers.GRU, layers.LSTM)
    loops += (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)
    attention = (layers.MultiHeadAttention, layers.GroupQueryAttention)

    def walk(layer, names, kind):
        if id(layer) in visited:
            return
        visited.add(id(layer))
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            borrowed = isinstance(layer, layers.SpectralNormalization) and "_u" not in variable.name
            if not (legacy and borrowed):
                owner = kind_of(layer.layer) if borrowed else kind
                found["/".join([*names, variable.name])] = (variable, owner)
        for below in layer._layers:
            if isinstance(layer, loops):
                walk(below, names, kind)
            else:
                inner = kind if isinstance(layer, attention) else kind_of(below)
                walk(below, [*names, below.name], inner)

    def kind_of(layer):
        return (
            type(layer).__name__ if legacy else saving.serialize_keras_object(layer)["class_name"]
        )

    walk(model, [], None)
    return found


def constraint_of(variable):
    """The class and the config of a variable's constraint, as Keras serializes them."""
    from keras import constraints

    if variable.constraint is None:
        return None
    serialized = constraints.serialize(variable.constraint)
    return {key: serialized[key] for key in ("class_name", "config")}


def axis_of(variable):
    """The axes that a variable's constraint sums over, from 0; None for one of entries."""
    axis = getattr(variable.constraint, "axis", None)
    if axis is None:
        return None
    return tuple(sorted(one % len(variable.shape) for one in np.atleast_1d(axis).tolist()))


@pytest.mark.parametrize(("name", "suffix"), EVERYTHING)
def test_every_variable_is_what_the_loaded_model_says(saved, loaded, name, suffix):
    """Full name, values, class of the layer, declared constraint and axis, and nothing else."""
    checkpoint = opened(saved(name), name, suffix)
    entries = values(checkpoint)
    known = variables(loaded(name, suffix), legacy=suffix == ".h5")
    axes = {}
    for item in wproj.plan_declared(checkpoint).assignments:
        axes[item.entry.name] = item.axis

    assert sorted(entries) == sorted(known)
    for full_name, (entry, data) in entries.items():
        variable, kind = known[full_name]
        told = entry.declared and {key: entry.declared[key] for key in ("class_name", "config")}

        assert entry.layer == kind, full_name
        assert data.tobytes() == np.asarray(variable).tobytes(), full_name
        assert told == constraint_of(variable), full_name
        assert axes.get(full_name) == axis_of(variable), full_name
        assert entry.named_by == "config", full_name
        assert entry.obstacle is None, full_name


@pytest.mark.parametrize("suffix", FILES)
def test_every_layer_of_keras_that_has_variables_is_among_them(saved, suffix):
    """So that a new layer of Keras fails here, and is added."""
    files = [file for file in EVERYTHING if file[1] == suffix]
    found = [entry for name, _ in files for entry in opened(saved(name), name, suffix).entries]
    kinds = {entry.layer for entry in found}

    missing = _kinds_with_weights() - kinds

    assert missing == (set() if suffix != ".h5" else {"Attention", "STFTSpectrogram"})
    assert len(kinds) >= (33 if suffix == ".h5" else 35)
    assert len(found) >= 190


@cache
def _kinds_with_weights():
    from keras import layers

    # Code of other frameworks in a layer; and loops, whose variables are those of a cell.
    foreign = {"FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper", "RNN"}
    every = [kind for kind in vars(layers).values() if inspect.isclass(kind)]
    return {kind.__name__ for kind in every if _adds_weights(kind)} - foreign


def _adds_weights(kind):
    own = [base for base in kind.__mro__ if base.__module__.startswith("keras.src.layers.")]
    return any("add_weight(" in inspect.getsource(base) for base in own if base.__name__ != "Layer")


@pytest.mark.parametrize(("name", "suffix"), EVERYTHING)
def test_declared_constraints_give_what_keras_would(saved, loaded, tmp_path, name, suffix):
    """Each constrained variable is within 2e-6 of what Keras makes of it, all else as it was."""
    target = tmp_path / f"projected{suffix}"
    checkpoint = opened(saved(name), name, suffix)
    list(wproj.apply(wproj.plan_declared(checkpoint), target, wproj.Numerics("keras")))
    config = saved(name) / f"{name}.json" if suffix == ".weights.h5" else None
    after = values(wproj.open_checkpoint(target, config))

    for full_name, (variable, _) in variables(loaded(name, suffix), legacy=suffix == ".h5").items():
        found = after[full_name][1].reshape(variable.shape)
        if variable.constraint is None:
            assert found.tobytes() == np.asarray(variable).tobytes(), full_name
        else:
            expected = np.asarray(variable.constraint(variable.value))
            np.testing.assert_allclose(found, expected, rtol=2e-6, atol=0, err_msg=full_name)


@pytest.mark.parametrize(("name", "suffix"), EVERYTHING)
def test_declared_constraints_hold_as_stored(saved, tmp_path, name, suffix):
    """In exact numerics nothing declared is violated afterwards, nor changed a second time."""
    target = tmp_path / f"exact{suffix}"
    checkpoint = opened(saved(name), name, suffix)
    reports = list(wproj.apply(wproj.plan_declared(checkpoint), target, wproj.Numerics()))
    config = saved(name) / f"{name}.json" if suffix == ".weights.h5" else None
    again = list(wproj.apply(wproj.plan_declared(target, config=config), None, wproj.Numerics()))

    assert sum(report.violations.before for report in reports) > 0
    assert sum(report.violations.after for report in reports) == 0
    assert {report.status for report in again} == {"unchanged"}


def test_numbers_in_names_and_paths_are_never_mixed_up(zoo):
    """The layer named dense is not the one stored as `layers/dense`; a name wins over a path."""
    _, folder = zoo
    checkpoint = opened(folder, "zoo", ".keras")
    by_name = wproj.select_any(["dense/kernel"], checkpoint)
    by_glob = wproj.select_any(["*dense_1*"], checkpoint)
    by_path = wproj.select_any(["layers/dense_1/vars/0"], checkpoint)

    assert [entry.path for entry in by_name] != ["layers/dense/vars/0"]
    assert {entry.name for entry in by_glob} == {"dense_1/kernel", "dense_1/bias"}
    assert [entry.path for entry in by_path] == ["layers/dense_1/vars/0"]
    assert by_path[0].name != "dense_1/kernel"


@pytest.mark.parametrize(
    ("name", "axis"),
    [
        ("c_in/kernel", (0, 1, 2)),
        ("conv2d_transpose/kernel", (0, 1, 3)),
        ("dw/kernel", (0, 1)),
        ("words/embeddings", (1,)),
        ("mha/query/kernel", (0,)),
        ("mha/attention_output/kernel", (0, 1)),
        ("my_lstm/recurrent_kernel", (0,)),
        ("einsum_dense/kernel", (0,)),
        ("shared/kernel", (0,)),
    ],
)
def test_the_incoming_axes_are_those_of_the_layer(zoo, name, axis):
    """`in`, and no axis at all, mean the weights that each unit takes in."""
    _, folder = zoo
    for rule in (f"{name} max_norm=1 axis=in", f"{name} max_norm=1"):
        (item,) = wproj.plan(folder / "zoo.keras", rule).assignments

        assert item.axis == axis


SINGLE = {
    "Dense": {"units": 3},
    "Conv1D": {"filters": 3, "kernel_size": 2},
    "Conv2D": {"filters": 4, "kernel_size": (2, 1), "groups": 2},
    "Conv3D": {"filters": 2, "kernel_size": (1, 2, 1)},
    "Conv1DTranspose": {"filters": 3, "kernel_size": 2},
    "Conv2DTranspose": {"filters": 3, "kernel_size": (1, 2)},
    "Conv3DTranspose": {"filters": 3, "kernel_size": (1, 1, 2)},
    "DepthwiseConv1D": {"kernel_size": 2, "depth_multiplier": 2},
    "DepthwiseConv2D": {"kernel_size": (2, 1), "depth_multiplier": 2},
    "EinsumDense": {"equation": "abc,cd->abd", "output_shape": (None, 3)},
    "EinsumDense two": {"equation": "abc,bcd->abd", "output_shape": (3, 2)},
    "EinsumDense none": {"equation": "abc,c->abc", "output_shape": (3, 2)},
}


@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:keras.*")  # on arrays of variables
@pytest.mark.parametrize("case", SINGLE)
def test_incoming_weights_are_those_that_change_one_unit(case, tmp_path):
    """Each weight is moved on its own: those of one vector, and no others, move the same units."""
    import keras
    from keras import layers

    kind = case.partition(" ")[0]
    rank = int(digits[0]) if (digits := [c for c in kind if c.isdecimal()]) else 1
    x = np.random.default_rng(0).standard_normal((1, *(3,) * rank, 2)) + 3
    layer = getattr(layers, kind)(**SINGLE[case], name="layer")
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    model.save(tmp_path / "m.keras")
    (entry,) = wproj.select_any(["layer/kernel"], wproj.open_checkpoint(tmp_path / "m.keras"))
    kernel, before = np.array(layer.kernel.value), np.asarray(layer(x))
    moved = {}
    for index in np.ndindex(kernel.shape):
        changed = kernel.copy()
        changed[index] += 1
        layer.kernel.assign(changed)
        units = np.argwhere(np.asarray(layer(x)) != before)
        units = units[:, 1:] if case == "EinsumDense two" else units[:, -1:]
        moved.setdefault(frozenset(map(tuple, units.tolist())), set()).add(index)
    kept = [axis for axis in range(kernel.ndim) if axis not in (entry.incoming or ())]
    vectors = {}
    for index in np.ndindex(kernel.shape):
        vectors.setdefault(tuple(index[axis] for axis in kept), set()).add(index)

    assert sorted(map(sorted, moved.values())) == sorted(map(sorted, vectors.values()))
    assert (entry.incoming is None) == (case == "EinsumDense none")


def test_another_axis_than_that_of_the_layer_is_warned_of(zoo):
    """The mistake of the published EEGNet: axis 0 on a depthwise kernel."""
    _, folder = zoo
    plan = wproj.plan(folder / "zoo.keras", wproj.Rule("dw/kernel", MaxNorm(1, axis=0)))
    (warning,) = plan.warnings

    assert "dw/kernel: axis 0 sums over 3 weights at a time" in str(warning)
    assert "takes in 9, along axis 0,1" in str(warning)


def test_a_config_of_another_model_is_refused(zoo):
    """It lists layers that the file lacks, or none that the file has."""
    model, folder = zoo
    config = json.loads(model.to_json())
    sample = Path(__file__).parents[2] / "sample_weights/digits_mlp.weights.h5"
    broken = folder / "broken.json"

    with pytest.raises(FileError, match=r"is of another model: .* lacks"):
        wproj.open_checkpoint(sample, folder / "zoo.json")
    for text, problem in (("{", "is not JSON"), ("[]", "does not describe a model")):
        broken.write_text(text)
        with pytest.raises(FileError, match=problem):
            wproj.open_checkpoint(folder / "zoo.weights.h5", broken)
    assert config["class_name"] == "Functional"


def test_without_a_config_layers_are_called_by_the_names_in_the_file(zoo):
    """Layer names, also of layers in layers, and the variable's number."""
    _, folder = zoo
    checkpoint = wproj.open_checkpoint(folder / "zoo.weights.h5")
    names = {entry.name for entry in checkpoint.entries}

    assert {"dense_7/0", "nested/first/0", "functional/first/0"} <= names
    with pytest.raises(RequestError, match="there is no config"):
        wproj.plan_declared(checkpoint)


def test_a_custom_constraint_is_unknown_until_it_is_given(zoo, tmp_path):
    """Nothing that a config names is imported; `custom` has the class under its name."""
    _, folder = zoo
    config = json.loads((folder / "zoo.json").read_text())
    foreign = {"module": "lab", "class_name": "Clip", "config": {}, "registered_name": "lab>Clip"}
    layer = next(one for one in config["config"]["layers"] if one["config"]["name"] == "dense_7")
    layer["config"]["kernel_constraint"] = foreign
    path = tmp_path / "custom.json"
    path.write_text(json.dumps(config))

    class Clip(wproj.Constraint):
        def __call__(self, w):
            return w.clip(-1, 1)

    checkpoint = wproj.open_checkpoint(folder / "zoo.weights.h5", path)
    unknown = {item.entry.name: item for item in wproj.plan_declared(checkpoint).items}
    given = wproj.plan_declared(checkpoint, custom={"lab>Clip": Clip})
    known = {item.entry.name: item for item in given.items}

    assert unknown["dense_7/kernel"].reason == "declares the unknown constraint lab>Clip"
    assert isinstance(known["dense_7/kernel"].steps[0], Clip)


def test_a_shape_that_contradicts_the_config_is_an_obstacle(zoo, tmp_path):
    """The layer that the config describes cannot have written it."""
    _, folder = zoo
    config = json.loads((folder / "zoo.json").read_text())
    layer = next(one for one in config["config"]["layers"] if one["config"]["name"] == "dense_7")
    layer["config"]["units"] = 9
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(config))
    (entry,) = wproj.select_any(
        ["dense_7/kernel"], wproj.open_checkpoint(folder / "zoo.weights.h5", path)
    )

    assert entry.obstacle == "its shape contradicts the config, whose Dense has (?,9)"
