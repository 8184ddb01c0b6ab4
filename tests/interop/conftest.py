"""What needs PyTorch, or Keras on a backend that trains; `make test-interop` has both."""

import importlib
import os

import pytest


@pytest.fixture(scope="session")
def torch():
    """PyTorch."""
    return pytest.importorskip("torch", reason="make test-interop installs PyTorch")


@pytest.fixture(scope="session")
def keras():
    """Keras on PyTorch or JAX: whichever KERAS_BACKEND says, as a process has one backend."""
    backend = os.environ.get("KERAS_BACKEND")
    if backend not in ("torch", "jax"):
        pytest.skip("make test-interop sets KERAS_BACKEND to torch and to jax")
    return importlib.import_module("keras")
