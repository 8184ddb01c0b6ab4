"""The examples of docs/training.md that need a framework; tests/test_docs.py runs the others."""

import importlib
import re
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.interop,
    # Keras 3.15's variables implement `__array__` as NumPy 1 had it.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def blocks(language):
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)


def run(language):
    """Runs the blocks of a language in order; returns their names."""
    names = {}
    for block in blocks(language):
        exec(compile(block, PAGE.name, "exec"), names)  # noqa: S102 # our own document
    return names


def test_the_example_for_pytorch_trains_inside_its_bound(torch):
    """It runs as it stands; every norm is within rounding of the bound, and some are at it."""
    names = run("python torch")
    layers = [layer for layer in names["model"] if isinstance(layer, torch.nn.Linear)]
    norms = torch.cat([layer.weight.double().norm(dim=1) for layer in layers])

    assert (norms <= 1 + 5e-7).all()
    assert (norms > 1 - 5e-7).any()


def test_the_examples_for_keras_save_and_load(keras, tmp_path, monkeypatch):
    """They run as they stand."""
    registry = importlib.import_module("keras.src.saving.object_registration")
    for name in ("GLOBAL_CUSTOM_OBJECTS", "GLOBAL_CUSTOM_NAMES"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    names = run("python keras")

    assert len(blocks("python keras")) == 3
    assert (names["loaded"].get_weights()[2] >= 0).all()
