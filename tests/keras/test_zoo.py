"""Names, declared constraints and axes, against what the model itself says."""

import json
from pathlib import Path

import numpy as np
import pytest

import wproj
from wproj import MaxNorm
from wproj.errors import FileError, RequestError

FILES = ["zoo.keras", "zoo.h5", "zoo.weights.h5"]


def opened(folder, name):
    """The checkpoint; bare weights with the config beside them."""
    return wproj.open_checkpoint(
        folder / name, folder / "zoo.json" if name == "zoo.weights.h5" else None
    )


def values(checkpoint):
    """The float tensors of a checkpoint by path, and their entries."""
    with checkpoint.stores() as stores:
        return {
            entry.path: (entry, stores(entry).read(0, int(np.prod(entry.shape))))
            for entry in checkpoint.entries
            if entry.kind == "float" and not entry.path.startswith("optimizer")
        }


def variables(model):
    """Every variable of the model with its layer, by its bytes, which are random."""
    found = {}

    def walk(layer):
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            found.setdefault(np.asarray(variable).tobytes(), (layer, variable))
        for below in layer._layers:
            walk(below)

    walk(model)
    return found


@pytest.mark.parametrize("name", FILES)
def test_every_variable_has_the_name_and_the_constraint_that_its_model_gives_it(zoo, name):
    """Layer, variable name, declared constraint and axis: more than 100 variables, no mismatch."""
    from keras import constraints

    model, folder = zoo
    known, kinds, mismatches = variables(model), set(), []
    entries = values(opened(folder, name))
    for entry, data in entries.values():
        layer, variable = known[data.tobytes()]
        kinds.add(entry.layer)
        own = layer.name in entry.name.split("/") or "cell" in layer.name
        own = own or entry.layer in ("SpectralNormalization", "Conv2D")
        declared = constraints.serialize(variable.constraint) if variable.constraint else None
        told = entry.declared and {k: entry.declared[k] for k in ("class_name", "config")}
        wanted = declared and {k: declared[k] for k in ("class_name", "config")}
        if not (own and entry.name.split("/")[-1] == variable.name and told == wanted):
            mismatches.append((entry.path, entry.name, variable.path, told, wanted))

    assert mismatches == []
    assert len(entries) > 100
    assert len(kinds) >= 25


@pytest.mark.parametrize("name", FILES)
def test_declared_constraints_give_what_keras_would_on_the_next_update(zoo, name):
    """Every constrained variable is within 2e-6 of its constraint applied to it by Keras."""
    model, folder = zoo
    checkpoint = opened(folder, name)
    target = folder / f"projected-{name}"
    plan = wproj.plan_declared(checkpoint)
    list(wproj.apply(plan, target, wproj.Numerics("keras"), overwrite=True))
    known = variables(model)
    before, after = values(checkpoint), values(wproj.open_checkpoint(target))

    compared = 0
    for path, (_, data) in before.items():
        _, variable = known[data.tobytes()]
        expected = np.asarray(variable)
        if variable.constraint is not None:
            expected = np.asarray(variable.constraint(variable.value))
            compared += 1
        found = after[path][1].reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-30)
    assert compared >= 40


@pytest.mark.parametrize("name", FILES)
def test_declared_constraints_hold_as_stored(zoo, name):
    """In exact numerics nothing declared is violated afterwards, nor changed a second time."""
    _, folder = zoo
    checkpoint = opened(folder, name)
    target = folder / f"exact-{name}"
    reports = list(
        wproj.apply(wproj.plan_declared(checkpoint), target, wproj.Numerics(), overwrite=True)
    )
    config = folder / "zoo.json" if name == "zoo.weights.h5" else None
    again = list(wproj.apply(wproj.plan_declared(target, config=config), None, wproj.Numerics()))

    assert sum(report.violations.before for report in reports) > 0
    assert sum(report.violations.after for report in reports) == 0
    assert {report.status for report in again} == {"unchanged"}


def test_numbers_in_names_and_paths_are_never_mixed_up(zoo):
    """The layer named dense is not the one stored as `layers/dense`; a name wins over a path."""
    _, folder = zoo
    checkpoint = opened(folder, "zoo.keras")
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
