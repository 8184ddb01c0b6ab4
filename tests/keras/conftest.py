"""Models of every kind of layer, written by Keras itself."""

import os

os.environ.setdefault("KERAS_BACKEND", "numpy")

import importlib.util
import warnings
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest


@contextmanager
def quiet():
    """Without what Keras has to say about its own legacy formats and arguments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def shake(model, seed=0):
    """The model with random values, other ones for another seed."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if "float" in variable.dtype:
            variable.assign(rng.standard_normal(variable.shape).astype(np.float32))
    return model


@pytest.fixture(scope="session")
def shaken():
    """What gives a model random values, each variable its own."""
    return shake


def module(name):
    """The module of that name beside this one, as the tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="session")
def models():
    """Models of every kind of layer."""
    return module("models")


@pytest.fixture(scope="session")
def custom():
    """Classes that are not of Keras."""
    return module("custom")


@pytest.fixture(scope="session")
def saved(tmp_path_factory, models):
    """The folder that Keras saved the model of a name in, in every format."""
    import keras

    @cache
    def save(name):
        folder = tmp_path_factory.mktemp(name)
        keras.utils.clear_session()  # and begins to count names anew
        with quiet():
            model = shake(models.MODELS[name]())
            model.save(folder / f"{name}.keras")
            if name != "operations":  # which Keras does not load from its legacy format
                model.save(folder / f"{name}.h5")
            model.save_weights(folder / f"{name}.weights.h5")
            (folder / f"{name}.json").write_text(model.to_json(), encoding="utf-8")
        return folder

    return save


@pytest.fixture(scope="session")
def loaded(saved):
    """The model of a name as Keras loads it from a file with a suffix."""
    import keras

    @cache
    def load(name, suffix):
        path = saved(name) / f"{name}{suffix}"
        with quiet():
            if suffix != ".weights.h5":
                return keras.models.load_model(path, compile=False)
            model = keras.models.load_model(path.with_name(f"{name}.keras"), compile=False)
            shake(model, seed=1).load_weights(path)
        return model

    return load


@pytest.fixture(scope="session")
def zoo(saved, loaded):
    """The first of the models, and the folder that Keras saved it in."""
    return loaded("zoo", ".keras"), saved("zoo")
