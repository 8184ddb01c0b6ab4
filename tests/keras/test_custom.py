"""Classes that are not of Keras: named by what the file notes, and never by a guess."""

import json
import zipfile

import h5py
import numpy as np
import pytest

import wproj
from wproj.errors import FileError, RequestError

# Keras makes arrays of its variables in a way that NumPy warns of.
pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:keras.*")


def stack(*below, kind=None):
    """A sequential model of these layers."""
    import keras

    return (kind or keras.Sequential)([keras.Input((4, 8)), *below])


def entries_of(model, path):
    """The entries of the model as saved, by path."""
    model.save(path)
    return {entry.path: entry for entry in wproj.open_checkpoint(path).entries}


def test_weights_beyond_the_tenth_keep_their_numbers(custom, tmp_path):
    """They are stored as 0, 1, 10, 11, 12, 2: no name is that of another."""
    found = entries_of(
        stack(custom.Block(name="mine"), custom.Block(name="other")), tmp_path / "m.keras"
    )
    own = {entry.name: entry for path, entry in found.items() if path.startswith("layers/block/v")}

    assert list(own) == [f"mine/{number}" for number in range(13)]
    for number in range(13):
        assert own[f"mine/{number}"].shape == (2, number + 1)
        assert own[f"mine/{number}"].named_by == "attribute"


def test_layers_in_lists_and_dicts_are_called_by_the_names_in_the_file(custom, tmp_path):
    """The attribute that holds them is not their name, nor is their number in it."""
    found = entries_of(stack(custom.Block(name="mine")), tmp_path / "m.keras")
    names = {path: entry.name for path, entry in found.items() if "/vars/0" in path}
    below = "layers/block"

    assert names == {
        f"{below}/vars/0": "mine/0",
        f"{below}/blocks/dense/vars/0": "mine/first/0",
        f"{below}/blocks/dense_1/vars/0": "mine/dense_9/0",
        f"{below}/heads/dense/vars/0": "mine/up/0",
        f"{below}/heads/container/dense/vars/0": "mine/down/0",
    }
    assert all(entry.layer is None and entry.declared is None for entry in found.values())


def test_a_class_that_is_called_like_one_of_keras_is_another(custom, tmp_path):
    """Its first variable is no kernel, and what its config declares is its own affair."""
    from keras import layers

    mine = custom.Dense(name="mine")
    found = entries_of(stack(mine, layers.Dense(3, name="theirs")), tmp_path / "m.keras")

    assert [(entry.name, entry.layer) for entry in found.values()] == [
        ("mine/0", None),
        ("mine/1", None),
        ("theirs/kernel", "Dense"),
        ("theirs/bias", "Dense"),
    ]
    with pytest.raises(RequestError, match="declare no constraints"):
        wproj.plan_declared(tmp_path / "m.keras")


def test_a_class_of_a_script_has_no_module_and_is_none_of_keras(custom, tmp_path):
    """Keras then notes the name alone that the class is registered under."""
    model, config = stack(custom.Dense(name="mine")), tmp_path / "m.json"
    config.write_text(model.to_json().replace('"module": "custom"', '"module": null'))
    found = json.loads(config.read_text())["config"]["layers"][1]
    model.save_weights(tmp_path / "m.weights.h5")

    assert (found["module"], found["registered_name"]) == (None, "lab>Dense")
    with pytest.raises(FileError, match="has no layer of"):
        wproj.open_checkpoint(tmp_path / "m.weights.h5", config)


def test_a_layer_that_is_elsewhere_than_its_config_says_is_not_missed(custom, tmp_path):
    """The config of the rest of the model goes with the file all the same."""
    from keras import layers

    hidden = custom.Hidden(layers.Dense(8, name="inner"), name="hidden")
    model, config = stack(hidden, layers.Dense(2, name="out")), tmp_path / "m.json"
    model.save_weights(tmp_path / "m.weights.h5")
    config.write_text(model.to_json())
    entries = wproj.open_checkpoint(tmp_path / "m.weights.h5", config).entries

    assert {entry.path: entry.name for entry in entries if "/0" in entry.path} == {
        "layers/dense/vars/0": "out/kernel",
        "layers/hidden/inner/vars/0": "hidden/inner/0",
    }


def test_a_layer_in_a_custom_one_is_known_if_the_file_confirms_it(custom, tmp_path):
    """Where the layer of that name is; without names in the file, nobody can tell."""
    from keras import layers
    from keras.constraints import MaxNorm

    inner = layers.Dense(8, kernel_constraint=MaxNorm(1), name="inner")
    model = stack(custom.Wrapped(inner, name="wrap"), layers.Dense(2, name="out"))
    found = entries_of(model, tmp_path / "m.keras")
    path, config = tmp_path / "m.weights.h5", tmp_path / "m.json"
    model.save_weights(path)
    config.write_text(model.to_json())
    with h5py.File(path, "r+") as file:
        groups = [group for group in _groups(file) if "name" in group.attrs]
        for group in groups:
            del group.attrs["name"]
    unknown = {entry.path: entry for entry in wproj.open_checkpoint(path, config).entries}
    kernel = "layers/wrapped/layer/vars/0"

    assert (found[kernel].name, found[kernel].layer) == ("wrap/inner/kernel", "Dense")
    assert [item.entry.path for item in wproj.plan_declared(tmp_path / "m.keras").items] == [kernel]
    assert (unknown[kernel].name, unknown[kernel].layer) == (kernel, None)
    assert unknown["layers/dense/vars/0"].name == "out/kernel"


def _groups(file):
    found = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Group) else None)
    return found


def test_a_layer_that_is_not_where_the_config_has_it_is_not_taken_for_it(custom, tmp_path):
    """Two of one class in another order: each has the name that the file gives it."""
    import keras
    from keras import layers
    from keras.constraints import NonNeg

    first = layers.Dense(8, name="first", kernel_constraint=NonNeg())
    parts = [first, layers.Dense(8, name="second")]
    configs = [keras.saving.serialize_keras_object(layer) for layer in parts]
    found = entries_of(stack(custom.Swapped(configs, name="swapped")), tmp_path / "m.keras")
    names = {path: entry.name for path, entry in found.items() if path.endswith("vars/0")}

    assert names == {
        "layers/swapped/layers/dense/vars/0": "swapped/second/0",
        "layers/swapped/layers/dense_1/vars/0": "swapped/first/0",
    }
    assert all(entry.declared is None for entry in found.values())


def test_models_of_other_classes_are_stored_like_those_of_keras(custom, tmp_path):
    """Functional and sequential ones: their layers are known, on their own and inside others."""
    import keras
    from keras import layers
    from keras.constraints import NonNeg

    x = keras.Input((4, 8))
    chain = stack(layers.Dense(8, name="a", kernel_constraint=NonNeg()), kind=custom.Chain)
    graph = custom.Network(
        x, layers.Dense(8, name="b", bias_constraint=NonNeg())(chain(x)), name="graph"
    )
    outer = keras.Model(x, layers.Dense(2, name="c")(graph(x)))
    inside = [f"{chain.name}/a/kernel", f"{chain.name}/a/bias", "b/kernel", "b/bias"]
    for model, names in (
        (chain, ["a/kernel", "a/bias"]),
        (graph, inside),
        (outer, [*(f"graph/{name}" for name in inside), "c/kernel", "c/bias"]),
    ):
        found = entries_of(model, tmp_path / f"{model.name}.keras")

        assert sorted(entry.name for entry in found.values()) == sorted(names)
        assert {entry.layer for entry in found.values()} == {"Dense"}
        assert wproj.plan_declared(tmp_path / f"{model.name}.keras").assignments


def test_a_model_without_a_config_is_named_by_the_file(custom, tmp_path):
    """An attribute, a model in a list, and no word on what they declare."""
    model = custom.Subclassed()
    model(np.zeros((1, 5)))
    found = entries_of(model, tmp_path / "m.keras")
    tail = model.tail[0].name

    assert {path: entry.name for path, entry in found.items()} == {
        "encoder/vars/0": "enc/0",
        "encoder/vars/1": "enc/1",
        "layers/sequential/layers/dense/vars/0": f"{tail}/a/0",
        "layers/sequential/layers/dense/vars/1": f"{tail}/a/1",
        "layers/sequential/layers/dense_1/vars/0": f"{tail}/b/0",
        "layers/sequential/layers/dense_1/vars/1": f"{tail}/b/1",
    }
    assert {entry.named_by for entry in found.values()} == {"attribute"}
    with pytest.raises(RequestError, match="declare no constraints"):
        wproj.plan_declared(tmp_path / "m.keras")


def test_two_layers_at_one_path_are_an_error(tmp_path):
    """Keras writes no such config: whose constraint the tensor has cannot be told."""
    import keras
    from keras import layers
    from keras.constraints import NonNeg

    model = stack(layers.LSTM(3, name="loop"))
    path, config = tmp_path / "m.keras", json.loads(model.to_json())
    cell = keras.saving.serialize_keras_object(layers.LSTMCell(3, kernel_constraint=NonNeg()))
    config["config"]["layers"][1]["config"]["cell"] = cell
    model.save(path)
    model.save_weights(tmp_path / "m.weights.h5")
    (tmp_path / "m.json").write_text(json.dumps(config))
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "two.keras", "w") as new:
        for name in old.namelist():
            new.writestr(name, json.dumps(config) if name == "config.json" else old.read(name))
    problem = r"resolves both loop/kernel and loop/lstm_cell\S*/kernel to layers/lstm/cell/vars/0"
    checkpoint = wproj.open_checkpoint(tmp_path / "two.keras")

    with pytest.raises(FileError, match=problem):
        wproj.open_checkpoint(tmp_path / "m.weights.h5", tmp_path / "m.json")
    assert any("config.json inside is not one of Keras: resolves" in n for n in checkpoint.notes)
    assert {entry.declared for entry in checkpoint.entries} == {None}


def test_two_layers_of_one_name_are_called_by_their_paths(tmp_path):
    """Keras writes no such config either, but their variables can be told from each other."""
    from keras import layers

    model = stack(layers.Dense(3, name="one"), layers.Dense(3, name="two"))
    config = tmp_path / "m.json"
    config.write_text(model.to_json().replace('"name": "two"', '"name": "one"'))
    model.save_weights(tmp_path / "m.weights.h5")
    entries = wproj.open_checkpoint(tmp_path / "m.weights.h5", config).entries

    assert [entry.name for entry in entries] == [entry.path for entry in entries]
    assert {entry.named_by for entry in entries} == {"path"}
