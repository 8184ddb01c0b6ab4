"""Constraints of one's own: a subclass, its config, and classes loaded from files and modules."""

import json
import math
import os
import sys
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from wproj import (
    Constraint,
    ElementwiseConstraint,
    Numerics,
    RadialConstraint,
    load_constraint,
)
from wproj.constraints import deserialize, get, serialize
from wproj.constraints.registry import build
from wproj.errors import ConstraintLoadError, NonFiniteError, RequestError, TensorError
from wproj.numerics.scaling import Place

SOURCE = '''
import wproj


class CenterAround(wproj.Constraint):
    """Weights whose mean is a reference value."""

    def __init__(self, reference=0.0):
        self.reference = reference

    def __call__(self, w):
        return w - w.mean() + self.reference

    def get_config(self):
        return {"reference": self.reference}


class NotOne:
    pass


def center(w):
    return w


VALUE = 3
'''


class CenterAround(Constraint):
    """Weights whose mean is a reference value."""

    def __init__(self, reference: float = 0.0):
        self.reference = reference

    def __call__(self, w):
        """The weights, moved so that their mean is the reference."""
        return w - w.mean() + self.reference

    def get_config(self):
        """The reference value."""
        return {"reference": self.reference}


def stored(constraint: Constraint, w: np.ndarray, **options: Any) -> np.ndarray:
    """What a constraint makes of a tensor in a file."""
    flat = w.reshape(-1)
    result = flat.copy()

    def write(start: int, values: np.ndarray) -> None:
        assert values.dtype == w.dtype
        result[start : start + len(values)] = values

    place = Place(lambda a, b: flat[a:b], write, lambda a, b: result[a:b], lambda _a, _b: None)
    assert not list(constraint.store(w.shape, place, Numerics(**options)))
    return result.reshape(w.shape)


# A subclass


def test_a_subclass_overrides_the_call():
    """As in Keras: weights in, weights of the same shape out."""
    assert CenterAround(1.0)(np.array([1.0, 3.0])).tolist() == [0.0, 2.0]


def test_its_name_is_its_class_in_lower_case():
    """Rules and reports call it so."""
    assert CenterAround().name == "center_around"


def test_its_config_makes_an_equal_one():
    """From config to constraint and back, by way of JSON."""
    config = json.loads(json.dumps(CenterAround(0.5).get_config()))
    again = CenterAround.from_config(config)

    assert again.get_config() == {"reference": 0.5}
    assert again(np.array([0.0, 1.0])).tolist() == [0.0, 1.0]


def test_it_is_deserialized_with_custom_objects():
    """Its serialized form names the class; custom_objects has it."""
    form = json.loads(json.dumps(serialize(CenterAround(0.5))))
    made = deserialize(form, custom_objects={"CenterAround": CenterAround})

    assert isinstance(made, CenterAround)
    assert made.reference == 0.5
    assert get(made) is made


def test_it_has_no_axis_to_change():
    """`at` gives the constraint itself."""
    constraint = CenterAround(0.5)

    assert constraint.at([0, 1]) is constraint


def test_parameters_that_it_does_not_take_are_refused():
    """The sentence lists those that its constructor has."""
    with pytest.raises(RequestError, match=r"CenterAround takes reference, not \{'mean': 1\}"):
        build(CenterAround, {"mean": 1})


def test_a_radial_constraint_of_ones_own_is_certified():
    """A subclass that gives bounds and targets gets exact rounding for nothing."""

    class HalfNorm(RadialConstraint):
        axis = 0
        bounds = (0.0, 0.5)

        def at(self, _axis):
            return self

        def target(self, norms):
            return np.minimum(norms, 0.5)

    w = np.random.default_rng(0).standard_normal((100, 50)).astype(ml_dtypes.bfloat16)
    out = HalfNorm()(w)

    assert (np.sqrt(np.square(out.astype(float)).sum(axis=0)) <= 0.5).all()
    assert HalfNorm().contains(out).all()
    assert HalfNorm()(out).tobytes() == out.tobytes()


def test_an_elementwise_constraint_of_ones_own_clips_entries():
    """A subclass that clips values works on arrays of any dtype."""

    class Box(ElementwiseConstraint):
        def clip(self, values):
            return np.clip(values, -0.5, 0.5)

    w = np.array([-2.0, -0.0, 0.25, 3.0, math.inf]).astype(ml_dtypes.bfloat16)
    out = Box().project(w, nonfinite="skip")

    assert out.astype(float).tolist() == [-0.5, 0.0, 0.25, 0.5, math.inf]
    assert Box().contains(w[:4]).tolist() == [False, True, True, False]


def test_the_config_of_a_dataclass_of_ones_own_survives_json():
    """NumPy's numbers and tuples among its fields become JSON's."""

    @dataclass(frozen=True)
    class Box(ElementwiseConstraint):
        low: float = 0.0
        channels: tuple[int, ...] = ()

        def clip(self, values):
            return np.maximum(values, self.low)

    config = json.loads(json.dumps(Box(np.float32(0.5), (1, 2)).get_config()))

    assert config == {"low": 0.5, "channels": [1, 2]}


# On a tensor


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_a_tensor_is_constrained_in_float64_and_rounded_once(dtype):
    """Every stored value is the nearest to what the constraint returned for float64."""
    w = np.random.default_rng(1).standard_normal((30, 4)).astype(getattr(ml_dtypes, dtype, dtype))
    out = stored(CenterAround(0.3), w)
    exact = w.astype(np.float64) - w.astype(np.float64).mean() + 0.3
    u = float(ml_dtypes.finfo(w.dtype).eps) / 2

    assert out.dtype == w.dtype
    assert (np.abs(out.astype(np.float64) - exact) <= u * np.abs(exact)).all()


def test_the_constraint_sees_the_tensor_whole_in_its_shape():
    """It gets one float64 array, which is its own to write to."""
    seen = []

    class Spy(Constraint):
        def __call__(self, w):
            seen.append((w.shape, w.dtype))
            w[...] = 0
            return w

    w = np.ones((2, 3), np.float32)
    out = stored(Spy(), w)

    assert seen == [((2, 3), np.dtype(np.float64))]
    assert out.tolist() == [[0.0] * 3] * 2
    assert w.tolist() == [[1.0] * 3] * 2


def test_values_that_do_not_change_keep_their_bytes():
    """What the constraint leaves equal is not rewritten: -0.0 stays -0.0."""

    class Absolute(Constraint):
        def __call__(self, w):
            return np.where(w < 0, -w, w + 0.0)

    w = np.array([-0.0, 0.0, -1.0, 1e-45], np.float32)

    assert stored(Absolute(), w).tobytes() == np.array([-0.0, 0.0, 1.0, 1e-45], "f4").tobytes()


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (np.zeros(3), "returns returned float64 of shape (3,), not floats of (2, 2)"),
        (np.zeros((2, 2), int), "returns returned int64 of shape (2, 2), not floats of (2, 2)"),
        (None, "returns returned object of shape (), not floats of (2, 2)"),
        (np.full((2, 2), math.nan), "returns returned values that float32 cannot hold"),
        (np.full((2, 2), 1e300), "returns returned values that float32 cannot hold"),
    ],
)
def test_results_that_cannot_be_stored_are_refused_in_a_sentence(result, sentence):
    """Another shape, another kind, NaN, or beyond the dtype."""

    class Returns(Constraint):
        def __call__(self, _w):
            return result

    with pytest.raises(TensorError) as caught:
        stored(Returns(), np.ones((2, 2), np.float32))
    assert str(caught.value) == sentence


def test_what_its_own_code_raises_is_named():
    """An exception inside of the constraint says whose it is."""

    class Fails(Constraint):
        def __call__(self, _w):
            raise ZeroDivisionError("nothing to divide by")

    with pytest.raises(TensorError) as caught:
        stored(Fails(), np.ones(3, np.float32))
    assert str(caught.value) == "fails failed: ZeroDivisionError: nothing to divide by"
    assert caught.value.hint == "the constraint's own code raised this"


def test_nonfinite_tensors_are_refused_or_keep_those_entries():
    """As with any other constraint: refused by default, left alone with skip."""

    class Zero(Constraint):
        def __call__(self, w):
            return np.zeros_like(w)

    w = np.array([1.0, math.nan, -math.inf], np.float32)

    with pytest.raises(NonFiniteError, match=r"2 non-finite entries, the first at index \[1\]"):
        stored(Zero(), w)
    skipped = stored(Zero(), w, nonfinite="skip")
    assert skipped.tobytes() == np.array([0.0, math.nan, -math.inf], np.float32).tobytes()


# Loading


@pytest.fixture
def source(tmp_path):
    """A file with a constraint, and with other things."""
    path = tmp_path / "center.py"
    path.write_text(SOURCE)
    return path


def test_a_class_is_loaded_from_a_file(source):
    """`path/to/file.py:Class` is run and its class found."""
    cls = load_constraint(f"{source}:CenterAround")

    assert issubclass(cls, Constraint)
    assert cls(1.0)(np.array([1.0, 3.0])).tolist() == [0.0, 2.0]
    assert build(cls, {"reference": 2.0}).get_config() == {"reference": 2.0}


def test_a_class_is_loaded_from_a_relative_path(source, monkeypatch):
    """Relative to the directory that the command is run in."""
    monkeypatch.chdir(source.parent)

    assert load_constraint("center.py:CenterAround").__name__ == "CenterAround"


def test_a_module_knows_its_file_and_leaves_none_beside_it(source, monkeypatch):
    """It has its `__file__`, and no compiled twin appears in the user's folder."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    module = sys.modules[load_constraint(f"{source}:CenterAround").__module__]

    assert module.__file__ == str(source)
    assert module.__name__ == "wproj_user_center"
    assert module.__loader__.get_source(module.__name__) == SOURCE
    assert list(source.parent.iterdir()) == [source]


@pytest.mark.skipif(os.name == "nt", reason="Windows has its own colon, after the drive")
def test_a_folder_may_have_a_colon_in_its_name(source):
    """The class is named after the last one."""
    folder = source.parent / "v1:2"
    folder.mkdir()
    moved = source.rename(folder / source.name)

    assert load_constraint(f"{moved}:CenterAround").__name__ == "CenterAround"


def test_a_class_is_loaded_from_a_module(source, monkeypatch):
    """`package.module:Class` is imported as Python would."""
    package = source.parent / "wproj_test_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "centering.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(source.parent)
    cls = load_constraint("wproj_test_package.centering:CenterAround")

    assert cls.__module__ == "wproj_test_package.centering"
    assert isinstance(cls(), Constraint)


def test_files_of_one_name_in_two_directories_are_told_apart(tmp_path):
    """Loading one does not bring back the other."""
    for folder, reference in (("a", 1.0), ("b", 2.0)):
        (tmp_path / folder).mkdir()
        text = SOURCE.replace("reference=0.0", f"reference={reference}")
        (tmp_path / folder / "center.py").write_text(text)
    first, second = (
        load_constraint(f"{tmp_path}/{folder}/center.py:CenterAround") for folder in "ab"
    )

    assert first().reference == 1.0
    assert second().reference == 2.0


def test_a_file_with_the_name_of_a_module_does_not_replace_it(tmp_path):
    """A file called json.py is loaded as itself, and json stays json."""
    (tmp_path / "json.py").write_text(SOURCE)
    cls = load_constraint(f"{tmp_path}/json.py:CenterAround")

    assert issubclass(cls, Constraint)
    assert sys.modules["json"] is json


def test_a_dataclass_with_postponed_annotations_can_be_loaded(tmp_path):
    """Dataclasses look their module up; it is there."""
    (tmp_path / "box.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "import wproj\n"
        "@dataclass(frozen=True)\n"
        "class Box(wproj.ElementwiseConstraint):\n"
        "    low: float = 0.0\n"
        "    high: float = 1.0\n"
        "    known: ClassVar[int] = 1\n"
        "    def clip(self, values):\n"
        "        return values.clip(self.low, self.high)\n"
    )
    cls = load_constraint(f"{tmp_path}/box.py:Box")

    assert build(cls, {"high": 0.5})(np.array([-1.0, 3.0])).tolist() == [0.0, 0.5]


def test_a_missing_file_is_named(tmp_path):
    """The sentence has the reference and the file that is not there."""
    with pytest.raises(ConstraintLoadError) as caught:
        load_constraint(f"{tmp_path}/nowhere.py:CenterAround")
    assert str(caught.value) == (
        f"constraint {tmp_path}/nowhere.py:CenterAround: cannot be imported: "
        f"FileNotFoundError: no file {tmp_path}/nowhere.py"
    )


def test_a_missing_module_is_named():
    """The sentence has the reference and what Python said."""
    with pytest.raises(ConstraintLoadError) as caught:
        load_constraint("no_such_package.module:CenterAround")
    assert str(caught.value) == (
        "constraint no_such_package.module:CenterAround: cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_package'"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("raise RuntimeError('not today')\n", "RuntimeError: not today"),
    ],
)
def test_a_file_that_cannot_be_run_says_why(tmp_path, text, problem):
    """Whatever its module raises is in the sentence."""
    (tmp_path / "broken.py").write_text(text)

    with pytest.raises(ConstraintLoadError) as caught:
        load_constraint(f"{tmp_path}/broken.py:Any")
    assert str(caught.value) == (
        f"constraint {tmp_path}/broken.py:Any: cannot be imported: {problem}"
    )


def test_a_syntax_error_is_named(tmp_path):
    """A file that is not Python is refused like one that does not run."""
    (tmp_path / "broken.py").write_text("class :\n")

    with pytest.raises(ConstraintLoadError, match="cannot be imported: SyntaxError: "):
        load_constraint(f"{tmp_path}/broken.py:Any")


@pytest.mark.parametrize("name", ["Missing", "NotOne", "center", "VALUE", "wproj", ""])
def test_a_name_that_is_no_constraint_class_is_refused(source, name):
    """Missing names, other classes, functions, values and modules alike."""
    with pytest.raises(ConstraintLoadError) as caught:
        load_constraint(f"{source}:{name}")
    assert str(caught.value) == (
        f"constraint {source}:{name}: {source} has no subclass of wproj.Constraint named {name!r}"
    )
