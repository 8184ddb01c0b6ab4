"""Patterns over names: exact ones first, then layers, globs and regular expressions."""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from wproj.errors import NoMatchError, RuleSyntaxError
from wproj.formats.base import Checkpoint, TensorEntry
from wproj.selection import globs


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Checkpoint):
    """A checkpoint of names alone."""

    @contextmanager
    def stores(self, path=None, *, writable=False):  # noqa: ARG002 # the contract's
        """There are no values."""
        raise NotImplementedError
        yield


def entry(name, path=None, aliases=()):
    """A float tensor of this name."""
    return TensorEntry(
        name=name,
        path=path or name,
        shape=(2, 2),
        dtype="float32",
        stored=np.dtype("float32"),
        kind="float",
        nbytes=16,
        aliases=aliases,
    )


def checkpoint(*names):
    """A checkpoint with tensors of these names."""
    return Listed(
        path=Path("model.st"),
        format="safetensors",
        layout="unknown",
        entries=tuple(entry(name) for name in names),
    )


NAMES = (
    "conv1/kernel",
    "conv1/bias",
    "conv2/kernel",
    "conv10/kernel",
    "dense",
    "dense/kernel",
    "dense_1/kernel",
    "dense.bias",
    "Dense/kernel",
    "model.layers.0.mlp.weight",
    "model.layers.11.mlp.weight",
    "w[0]",
    "w0",
    "a*b",
    "axb",
    "{x,y}",
    "x",
    ".hidden/kernel",
    "re:x",
    "!x",
    "with space",
    "ünï/重み",
)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        # Exact equality comes first, whatever the characters.
        ("w[0]", ["w[0]"]),
        ("a*b", ["a*b"]),
        ("{x,y}", ["{x,y}"]),
        ("re:x", ["re:x"]),
        ("!x", ["!x"]),
        ("with space", ["with space"]),
        ("ünï/重み", ["ünï/重み"]),
        ("dense", ["dense"]),
        ("/conv1/bias", ["conv1/bias"]),
        # A pattern without wildcards takes a whole layer.
        ("conv1", ["conv1/kernel", "conv1/bias"]),
        ("/conv1", ["conv1/kernel", "conv1/bias"]),
        ("model.layers.0", ["model.layers.0.mlp.weight"]),
        ("model.layers", ["model.layers.0.mlp.weight", "model.layers.11.mlp.weight"]),
        ("conv", []),
        ("model.layers.1", []),
        # A star crosses slashes and dots; a question mark is one character.
        ("*", list(NAMES)),
        ("conv*/kernel", ["conv1/kernel", "conv2/kernel", "conv10/kernel"]),
        ("conv?/kernel", ["conv1/kernel", "conv2/kernel"]),
        ("*.weight", ["model.layers.0.mlp.weight", "model.layers.11.mlp.weight"]),
        ("model*weight", ["model.layers.0.mlp.weight", "model.layers.11.mlp.weight"]),
        ("*hidden*", [".hidden/kernel"]),
        ("?hidden/kernel", [".hidden/kernel"]),
        ("*重*", ["ünï/重み"]),
        ("/conv*/bias", ["conv1/bias"]),
        # Sets, their complements, and alternatives.
        ("conv[12]/kernel", ["conv1/kernel", "conv2/kernel"]),
        ("conv[1-9]/kernel", ["conv1/kernel", "conv2/kernel"]),
        ("conv[!1]/kernel", ["conv2/kernel"]),
        ("a[*]b", ["a*b"]),
        ("w[[]0]", ["w[0]"]),
        ("{conv1,dense}/kernel", ["conv1/kernel", "dense/kernel"]),
        ("conv{1,10}/{kernel,bias}", ["conv1/kernel", "conv1/bias", "conv10/kernel"]),
        ("*layers.{0..9}.*", ["model.layers.0.mlp.weight"]),
        # The whole name, and its case, count.
        ("kernel", []),
        ("*/kerne", []),
        ("dense?kernel", ["dense/kernel"]),
        ("[Dd]ense/kernel", ["dense/kernel", "Dense/kernel"]),
        ("DENSE*", []),
        # Nothing else is special.
        ("!conv1/kernel", []),
        ("-conv1/kernel", []),
        ("conv1/*|dense/*", []),
        ("@(conv1|conv2)/kernel", []),
        ("~", []),
        # Regular expressions, for the whole name.
        ("re:conv[0-9]+/kernel", ["conv1/kernel", "conv2/kernel", "conv10/kernel"]),
        ("re:conv1", []),
        ("re:(?i)dense/kernel", ["dense/kernel", "Dense/kernel"]),
        (r"re:.*\.(0|3)\..*", ["model.layers.0.mlp.weight"]),
    ],
)
def test_a_pattern_takes_what_it_says(pattern, expected):
    """In the order of the checkpoint."""
    found = globs.select(pattern, checkpoint(*NAMES).entries)

    assert [entry.name for entry in found] == expected


@pytest.mark.parametrize(
    "pattern", ["dense/kernel", "layers/dense/vars/0", "tied", "layers/*/0", "dense", "ti?d"]
)
def test_a_pattern_is_held_against_name_path_and_aliases(pattern):
    """Any of them will do, and the tensor is found once."""
    dense = entry("dense/kernel", "layers/dense/vars/0", ("tied",))

    assert globs.select(pattern, [dense, entry("other")]) == [dense]


def test_an_exact_name_takes_nothing_that_it_would_match_as_a_pattern():
    """`w[0]` is not `w0` where there is a tensor of exactly that name."""
    assert [e.name for e in globs.select("w[0]", checkpoint("w0", "w[0]").entries)] == ["w[0]"]
    assert [e.name for e in globs.select("w[0]", checkpoint("w0").entries)] == ["w0"]


@pytest.mark.parametrize("name", ["re:(", "re:[a", "{0..999999999}"])
def test_an_exact_name_need_not_be_a_pattern(name):
    """It is compared before anything is made of it."""
    assert [e.name for e in globs.select(name, checkpoint("w", name).entries)] == [name]


@pytest.mark.parametrize("pattern", ["dense_1", "dense_1/*", "dense_1/kernel", "re:dense_1/.*"])
def test_names_come_before_paths(pattern):
    """In Keras files the name of one layer is the path of another."""
    one = entry("dense_1/kernel", "dense_2/kernel")
    two = entry("dense_2/kernel", "dense_1/kernel")

    assert globs.select(pattern, [one, two]) == [one]


def test_several_patterns_take_each_tensor_once():
    """In the order of the checkpoint, not of the patterns."""
    found = globs.select_any(["b", "*"], checkpoint("a", "b"))

    assert [entry.name for entry in found] == ["a", "b"]


def test_any_pattern_without_a_match_is_an_error():
    """Also beside others that match."""
    with pytest.raises(NoMatchError, match=r"'c' matches no tensor in model\.st"):
        globs.select_any(["a", "c"], checkpoint("a", "b"))


def test_an_empty_checkpoint_has_nothing_to_match():
    """Listing it is no error."""
    assert globs.select_any(["*"], checkpoint()) == []


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [
        ("dense/kernal", "dense/kernel"),
        ("convl/kernel", "conv1/kernel"),
        ("denze*", "dense/kernel"),
        ("re:conv[3]/kernel", "conv1/kernel"),
    ],
)
def test_an_error_shows_the_nearest_names(pattern, nearest):
    """Behind the pattern and the file."""
    error = globs.no_match(pattern, checkpoint("dense/kernel", "conv1/kernel", "conv2/kernel"))
    message, _, names = str(error).partition("; nearest: ")

    assert message == f"{pattern!r} matches no tensor in model.st"
    assert nearest in names.split(", ")
    assert "'wproj ls model.st' lists the names" in error.hint


def test_an_error_shows_no_names_where_none_is_near():
    """Three names that have nothing to do with the pattern would not help."""
    assert str(globs.no_match("qqq", checkpoint("a/b"))) == "'qqq' matches no tensor in model.st"


@pytest.mark.parametrize(
    ("pattern", "looser"),
    [
        ("dense", "'*dense*' would match 2"),
        ("dense/*", "'*dense*' would match 2"),
        ("kernel", "'*kernel*' would match 3"),
        ("weights.dense.kernel", "'*kernel*' would match 3"),
        ("*.kernel", "'*kernel*' would match 3"),
    ],
)
def test_an_error_says_what_a_looser_pattern_would_match(pattern, looser):
    """Around the longest part of the pattern that any name holds."""
    names = ("my_dense/kernel", "my_dense/bias", "conv1/kernel", "conv2/kernel")

    assert looser in globs.no_match(pattern, checkpoint(*names)).hint


@pytest.mark.parametrize(
    "pattern", ["", "!!!", "[", "]", "{", "}", "{a", "[a", "a{1..2", "*[", "\\", "re:", "((", "**"]
)
def test_an_error_can_be_made_of_any_pattern(pattern):
    """However odd it is: nothing but an error about it comes out."""
    error = globs.no_match(pattern, checkpoint("a/b"))

    assert str(error).startswith(f"{pattern!r} matches no tensor in model.st")


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("", "the pattern is empty"),
        ("re:(", "is not a regular expression"),
        ("re:[a", "is not a regular expression"),
        ("re:a{2,1}", "is not a regular expression"),
        ("{0..999999999}/kernel", "is not a glob"),
        ("{a,b}" * 30, "is not a glob"),
    ],
)
def test_a_pattern_that_cannot_be_read_is_an_error(pattern, problem):
    """It names the pattern, and costs no time."""
    with pytest.raises(RuleSyntaxError, match=problem) as caught:
        globs.select(pattern, checkpoint("a").entries)

    assert repr(pattern) in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "exact"),
    [
        ("dense/kernel", True),
        ("/dense/kernel", True),
        ("vars/0", True),
        ("dense", False),
        ("*", False),
    ],
)
def test_what_is_exact_is_a_name_letter_by_letter(pattern, exact):
    """Or a path; a layer's name and a wildcard are not."""
    assert globs.exactly(pattern, entry("dense/kernel", "vars/0")) is exact
