"""Keras saves wproj's constraints with a model, and they come back; wproj reads them there, too.

On Keras' NumPy backend in the fast suite, on PyTorch and JAX with `make test-interop`.
"""

import importlib
import json
import os
import warnings
import zipfile

os.environ.setdefault("KERAS_BACKEND", "numpy")

import keras
import pytest

import wproj
from wproj import MaxNorm, MinMaxNorm, NonNeg, UnitNorm
from wproj.constraints import custom_objects
from wproj.constraints.registry import ALL

OURS = {
    "hidden": MaxNorm(2.5, axis=[0]),
    "shared": UnitNorm(axis=None),
    "narrow": MinMaxNorm(0.25, 4.0, 0.75, axis=(0, -1)),
    "positive": NonNeg(),
}


def model():
    """One dense layer for each of our constraints, and one with Keras' own between them."""
    layers = [keras.layers.Dense(3, kernel_constraint=ours, name=n) for n, ours in OURS.items()]
    theirs = keras.constraints.MaxNorm(1.5, axis=0)
    layers.insert(1, keras.layers.Dense(3, kernel_constraint=theirs, name="theirs"))
    return keras.Sequential([keras.layers.Input((4,)), *layers])


def found(loaded):
    """The constraints of a model's layers by name."""
    return {layer.name: layer.kernel_constraint for layer in loaded.layers}


def assert_same(loaded):
    """Ours are equal to what they were, Keras' own is Keras' own."""
    constraints = found(loaded)
    theirs = constraints.pop("theirs")

    assert constraints == OURS
    assert [type(c) for c in constraints.values()] == [type(c) for c in OURS.values()]
    assert type(theirs) is keras.constraints.MaxNorm
    assert theirs.get_config() == {"max_value": 1.5, "axis": 0}


@pytest.fixture
def registered(monkeypatch):
    """Our classes are registered with Keras, as docs/training.md shows, until the test ends."""
    registry = importlib.import_module("keras.src.saving.object_registration")
    for name in ("GLOBAL_CUSTOM_OBJECTS", "GLOBAL_CUSTOM_NAMES"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    for cls in ALL.values():
        keras.saving.register_keras_serializable("wproj")(cls)


def saved(path):
    """A model, saved there by Keras."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Keras says of its own legacy format
        model().save(path)
    return path


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_saved_model_comes_back_with_its_constraints(tmp_path, name):
    """Equal ones of the same class, given the mapping; Keras' own in the same file are its own."""
    path = saved(tmp_path / name)

    assert_same(keras.models.load_model(path, custom_objects=custom_objects))


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_registered_constraints_come_back_by_themselves(tmp_path, name):
    """Whoever has registered the classes names them nowhere else, not even to clone a model."""
    path = saved(tmp_path / name)

    assert_same(keras.models.load_model(path))
    assert_same(keras.models.clone_model(model()))


def test_what_was_saved_registered_is_loaded_unregistered(tmp_path, request):
    """The mapping holds both names that Keras writes."""
    registry = importlib.import_module("keras.src.saving.object_registration")
    request.getfixturevalue("registered")
    path = saved(tmp_path / "model.keras")
    registry.GLOBAL_CUSTOM_OBJECTS.clear()
    registry.GLOBAL_CUSTOM_NAMES.clear()

    with zipfile.ZipFile(path) as archive:
        assert "wproj>MaxNorm" in archive.read("config.json").decode()
    assert_same(keras.models.load_model(path, custom_objects=custom_objects))


def test_a_model_can_be_cloned_and_made_from_its_config():
    """In the scope of the mapping."""
    with keras.saving.custom_object_scope(custom_objects):
        assert_same(keras.models.clone_model(model()))
        assert_same(keras.Sequential.from_config(model().get_config()))
    assert_same(keras.Sequential.from_config(model().get_config(), custom_objects))


def test_without_the_mapping_keras_takes_its_own_of_the_same_name(tmp_path):
    """As docs/training.md says: such a file loads where wproj is not installed."""
    constraints = found(keras.models.load_model(saved(tmp_path / "model.keras")))

    assert all(type(c).__module__.startswith("keras.") for c in constraints.values())
    assert {n: c.get_config() for n, c in constraints.items() if n != "theirs"} == {
        name: ours.get_config() for name, ours in OURS.items()
    }


def test_the_mapping_holds_every_constraint():
    """By the names of Keras' configs, registered and not."""
    names = {cls.__name__: cls for cls in ALL.values()}

    assert custom_objects == names | {f"wproj>{name}": cls for name, cls in names.items()}


@pytest.mark.parametrize("case", ["plain", "registered"])
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_wproj_applies_what_such_a_model_declares(tmp_path, request, case, name):
    """`--declared` knows wproj's own classes, whatever they are registered as."""
    if case == "registered":
        request.getfixturevalue("registered")
    plan = wproj.plan_declared(saved(tmp_path / name))
    rules = {item.entry.name.split("/")[-2]: item.steps for item in plan.assignments}

    assert len(plan.items) == len(OURS) + 1
    assert rules == {
        "hidden": (MaxNorm(2.5, axis=(0,)),),
        "theirs": (MaxNorm(1.5, axis=(0,)),),
        "shared": (UnitNorm(axis=(0, 1)),),
        "narrow": (MinMaxNorm(0.25, 4.0, 0.75, axis=(0, 1)),),
        "positive": (NonNeg(),),
    }


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        (("wproj.constraints.keras", "MaxNorm", "MaxNorm"), "max_norm=2 axis=0"),
        (("wproj.constraints.keras", "NonNeg", "wproj>NonNeg"), "non_neg"),
        (("wproj.constraints.keras", "MaxNorm", "lab>MaxNorm"), "lab>MaxNorm (unknown)"),
        (("wproj.constraints.keras", "Sparse", "Sparse"), "Sparse (unknown)"),
        (("wproj.constraints.keras", "Sparse", "wproj>Sparse"), "wproj>Sparse (unknown)"),
        (("wprojects.constraints", "MaxNorm", "MaxNorm"), "MaxNorm (unknown)"),
        (("wproj_user_center", "MaxNorm", "MaxNorm"), "MaxNorm (unknown)"),
        (("lab.constraints", "MaxNorm", "wproj>MaxNorm"), "wproj>MaxNorm (unknown)"),
    ],
    ids=str,
)
def test_only_a_class_of_wproj_itself_is_taken_for_one(declared, text):
    """Module, class and registered name have to agree."""
    module, name, registered = declared
    form = {"module": module, "class_name": name, "config": {}, "registered_name": registered}

    assert wproj.declared_text(json.loads(json.dumps(form))) == text
