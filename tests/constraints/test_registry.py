"""Constraints by name: get, serialize, deserialize, and what is said of unknown ones."""

import json

import numpy as np
import pytest

from wproj import ElementwiseConstraint, MaxNorm, MinMaxNorm, NonNeg, RadialConstraint, UnitNorm
from wproj.constraints import Constraint, deserialize, get, serialize
from wproj.constraints.registry import ALL, build, find, known_name
from wproj.errors import RequestError, UnknownConstraintError

EXAMPLES = [
    MaxNorm(),
    MaxNorm(3.5, axis=[0, 1, 2]),
    MaxNorm(1, axis=None),
    UnitNorm(axis=-1),
    NonNeg(),
    MinMaxNorm(0.1, 0.7, 0.5, (0, -1)),
]


class Doubled(Constraint):
    """Twice the weights."""

    def __init__(self, times: float = 2.0):
        self.times = times

    def __call__(self, w):
        """The product."""
        return w * self.times

    def get_config(self):
        """How many times."""
        return {"times": self.times}


def halved(w):
    """A constraint that is a function."""
    return w / 2


def test_the_registry_holds_the_four_of_keras():
    """Their names are those of their classes in lower case."""
    expected = [
        ("max_norm", MaxNorm),
        ("min_max_norm", MinMaxNorm),
        ("non_neg", NonNeg),
        ("unit_norm", UnitNorm),
    ]

    assert sorted(ALL.items()) == expected
    assert all(cls().name == name for name, cls in ALL.items())


@pytest.mark.parametrize("cls", ALL.values())
def test_every_constraint_is_radial_or_elementwise(cls):
    """The laws are parametrized over these two kinds."""
    assert issubclass(cls, RadialConstraint | ElementwiseConstraint)


@pytest.mark.parametrize(
    ("alias", "cls"),
    [
        ("max_norm", MaxNorm),
        ("MaxNorm", MaxNorm),
        ("maxnorm", MaxNorm),
        ("min_max_norm", MinMaxNorm),
        ("MinMaxNorm", MinMaxNorm),
        ("non_neg", NonNeg),
        ("NonNeg", NonNeg),
        ("nonneg", NonNeg),
        ("unit_norm", UnitNorm),
        ("UnitNorm", UnitNorm),
        ("unitnorm", UnitNorm),
        ("constraint", Constraint),
        ("Constraint", Constraint),
    ],
)
def test_names_and_aliases_find_their_class(alias, cls):
    """Keras 3, Keras 2 and tf.keras names alike, made with the defaults."""
    assert known_name(alias)
    assert find(alias) is cls
    assert type(get(alias)) is cls
    assert type(deserialize(alias)) is cls


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("max_nrom", "did you mean max_norm?"),
        ("min_maxnorm", "did you mean min_max_norm?"),
        ("unitnrm", "did you mean unit_norm?"),
        ("non-neg", "did you mean non_neg?"),
        ("spectral", "your own is named file.py:Class or package.module:Class"),
        ("", "your own is named file.py:Class or package.module:Class"),
    ],
)
@pytest.mark.parametrize("question", [find, get, deserialize])
def test_an_unknown_name_is_refused_with_a_suggestion(question, name, hint):
    """The sentence lists the names, the hint has the nearest."""
    assert not known_name(name)
    with pytest.raises(UnknownConstraintError) as caught:
        question(name)
    assert str(caught.value) == (
        f"unknown constraint {name!r}; choose from max_norm, min_max_norm, non_neg, unit_norm"
    )
    assert caught.value.hint == hint


def test_an_unknown_name_is_a_lookup_error():
    """It can be caught as one, and as an error of the request."""
    with pytest.raises(LookupError):
        get("spectral")
    with pytest.raises(RequestError):
        get("spectral")


def test_control_characters_in_an_unknown_name_are_escaped():
    """What strangers wrote into a config does not reach the terminal."""
    with pytest.raises(UnknownConstraintError, match=r"unknown constraint '\\\\x1b\[31m'"):
        get("\x1b[31m")


# get


def test_get_passes_on_what_is_a_constraint_already():
    """None stays None; constraints and other callables come back as they are."""
    constraint = MaxNorm(3)

    assert get(None) is None
    assert get(constraint) is constraint
    assert get(halved) is halved


def test_get_makes_classes_and_reads_dicts():
    """A class is made with its defaults, a dict deserialized."""
    assert get(UnitNorm) == UnitNorm()
    assert get({"class_name": "MaxNorm", "config": {"max_value": 4}}) == MaxNorm(4)


@pytest.mark.parametrize("identifier", [3, 2.5, ["max_norm"], ("max_norm",), b"max_norm"])
def test_get_refuses_what_stands_for_nothing(identifier):
    """The sentence shows what was given."""
    with pytest.raises(RequestError) as caught:
        get(identifier)
    expected = f"could not interpret the constraint identifier {identifier!r}"
    assert str(caught.value) == expected


# serialize and deserialize


@pytest.mark.parametrize("constraint", EXAMPLES, ids=str)
def test_serializing_survives_json(constraint):
    """To a dict, to text, and back: an equal constraint."""
    text = json.dumps(serialize(constraint))

    assert deserialize(json.loads(text)) == constraint
    assert get(json.loads(text)) == constraint


def test_the_serialized_form_is_that_of_keras_3():
    """Module, class name, config, registered name."""
    assert serialize(MinMaxNorm(0.5, 2.0, 0.9, [0, 1])) == {
        "module": "keras.constraints",
        "class_name": "MinMaxNorm",
        "config": {"min_value": 0.5, "max_value": 2.0, "rate": 0.9, "axis": [0, 1]},
        "registered_name": None,
    }
    assert serialize(None) is None


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("MaxNorm", {"max_value": 3, "axis": [0, 1, 2]}, MaxNorm(3, [0, 1, 2])),
        ("NonNeg", {}, NonNeg()),
        ("UnitNorm", None, UnitNorm()),
        ("unit_norm", {"axis": 1}, UnitNorm(1)),
        ("MinMaxNorm", {"min_value": 0.1, "rate": 0.5}, MinMaxNorm(0.1, rate=0.5)),
    ],
)
def test_dicts_of_keras_2_and_3_are_read(name, config, expected):
    """With or without module, registered name and config."""
    two = {"class_name": name, "config": config}
    three = {"module": "keras.constraints", **two, "registered_name": None}

    assert deserialize(two) == expected
    assert deserialize(three) == expected


def test_a_dict_without_a_config_means_the_defaults_and_none_stays_none():
    """What is not said is as in the constructor."""
    assert deserialize({"class_name": "MaxNorm"}) == MaxNorm()
    assert deserialize(None) is None


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({}, "a constraint's config has a class_name; this has []"),
        ({"name": "MaxNorm"}, "a constraint's config has a class_name; this has ['name']"),
        ({"class_name": 3}, "a constraint's config has a class_name; this has ['class_name']"),
        (7, "a constraint is a name or a dict, not 7"),
        (
            {"class_name": "MaxNorm", "config": [1]},
            "the parameters of a constraint are a dict, not [1]",
        ),
        (
            {"class_name": "MaxNorm", "config": {"max_value": -1}},
            "max_norm: max_value must be a number that is not negative, not -1",
        ),
    ],
)
def test_dicts_of_another_form_are_refused_in_a_sentence(form, sentence):
    """What is missing or out of range is said."""
    with pytest.raises(RequestError) as caught:
        deserialize(form)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("name", "config", "start"),
    [
        ("MaxNorm", {"limit": 2}, "MaxNorm takes max_value, axis, not {'limit': 2}: "),
        ("NonNeg", {"axis": 0}, "NonNeg takes no parameters, not {'axis': 0}: "),
        ("UnitNorm", {"max_value": 1}, "UnitNorm takes axis, not {'max_value': 1}: "),
    ],
)
def test_parameters_that_a_constraint_does_not_take_are_refused(name, config, start):
    """The sentence lists the ones that it takes."""
    with pytest.raises(RequestError) as caught:
        deserialize({"class_name": name, "config": config})
    assert str(caught.value).startswith(start)
    with pytest.raises(RequestError) as caught:
        build(find(name), config)
    assert str(caught.value).startswith(start)


def test_a_config_that_is_nested_too_deeply_is_refused_in_a_sentence():
    """It cannot even be shown."""
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RequestError) as caught:
        build(MaxNorm, {"max_value": deep})
    assert str(caught.value) == "MaxNorm has a config that is nested too deeply"


def test_a_class_of_ones_own_is_serialized_under_its_own_module():
    """It is not claimed to be Keras'."""
    form = serialize(Doubled(3.0))

    assert form == {
        "module": __name__,
        "class_name": "Doubled",
        "config": {"times": 3.0},
        "registered_name": "Doubled",
    }


def test_custom_objects_name_classes_of_ones_own():
    """They are looked up by class name, and come first."""
    form = serialize(Doubled(3.0))
    made = deserialize(form, custom_objects={"Doubled": Doubled})
    shadowed = deserialize({"class_name": "MaxNorm"}, custom_objects={"MaxNorm": Doubled})

    assert isinstance(made, Doubled)
    assert made.times == 3.0
    assert isinstance(shadowed, Doubled)
    assert deserialize("NonNeg", custom_objects={"NonNeg": dict}) == {}
    with pytest.raises(UnknownConstraintError, match="unknown constraint 'Doubled'"):
        deserialize(form)


def test_a_function_is_serialized_by_name_and_found_in_custom_objects():
    """As Keras 3 writes functions."""
    form = serialize(halved)

    assert form["class_name"] == "function"
    assert form["config"] == "halved"
    assert deserialize(form, custom_objects={"halved": halved}) is halved


def test_nothing_is_imported_for_a_module_that_a_config_names():
    """A config is data: its module is not run, whatever it says."""
    form = {"module": "no.such.module", "class_name": "MaxNorm", "config": {"max_value": 4}}

    assert deserialize(form) == MaxNorm(4)


def test_the_base_constraint_constrains_nothing():
    """As in Keras, it returns what it gets."""
    w = np.array([1.0, -2.0])

    assert get("constraint")(w) is w
    assert serialize(Constraint())["class_name"] == "Constraint"
    assert Constraint().get_config() == {}
