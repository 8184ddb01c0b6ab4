"""Headers of safetensors that are as large, as deep or as long as a stranger likes.

What is malformed in small is in tests/formats/test_safetensors.py and test_bad_input.py.
"""

import json
import struct

import h5py
import pytest

DIGITS = "9" * 4000


def entry(shape="[4]", offsets="[0,4]", dtype='"U8"', name='"w"'):
    """A header with one tensor, its parts as JSON."""
    return f'{{{name}:{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}}}'


def tensors(count):
    """A header with tensors of one byte each, without blanks."""
    fields = {"dtype": "U8", "shape": [1]}
    header = {f"{n:x}": {**fields, "data_offsets": [n, n + 1]} for n in range(count)}
    return json.dumps(header, separators=(",", ":"))


# The header, and what its error says.
HEADERS = {
    "more axes than an array has": (entry(f"[{'1,' * 64}4]"), "has 65 axes, more than the 64"),
    "a product of a million digits": (entry(f"[{'9,' * 200_000}9]"), "has 200001 axes"),
    "a product of long factors": (entry(f"[{DIGITS},{DIGITS}]"), "'w' has the shape [9"),
    "sixty dimensions of zero": (entry(f"[{'0,' * 60}4]"), "does not take 4 bytes"),
    "offsets of many digits": (entry(offsets=f"[{DIGITS},{DIGITS}9]"), "has the data_offsets"),
    "an integer of a million digits": (entry(f"[{'9' * 10**6}]"), "a number has too many digits"),
    "a number beyond all bounds": (entry("[1e999]"), "has the shape [inf]"),
    "a dtype of a megabyte": (entry(dtype=f'"{"x" * 10**6}"'), "unknown dtype 'xxx"),
    "a shape of a million mistakes": (entry(f"[{'-1,' * 10**6}1]"), "has the shape [-1, -1"),
    "a name of 64 KiB with a mistake": (entry("[5]", name=f'"{"n" * 65536}"'), "tensor 'nnn"),
    "a name of 64 KiB twice": (f'{{"{"n" * 65536}":{{}},"{"n" * 65536}":{{}}}}', "has 'nnn"),
    "metadata with a key twice": ('{"__metadata__":{"a":"b","a":"c"}}', "has 'a' twice"),
    "lists in a list": (f'{{"w":[{"[]," * 10**5}[]]}}', "'w' is not described by an object"),
    "nesting of a megabyte": ('{"w":' + "[" * 10**6, "is nested too deeply"),
    "objects in objects": ('{"w":' * 10**5, "is nested too deeply"),
    "a lone surrogate": (entry(name='"\\ud800"'), "invalid JSON"),
    "a byte order mark": ("\ufeff" + entry(), "neither a safetensors"),
    "a length of nothing": ("", "neither a safetensors"),
}


def write(path, header, data=b"data"):
    """A safetensors file with this header."""
    text = header.encode("utf-8", "surrogatepass")
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize("case", HEADERS)
def test_a_hostile_header_is_refused_in_one_sentence(
    call_beside_secrets, assert_one_sentence, given, case
):
    """However long what it says is, and whatever its numbers come to."""
    header, problem = HEADERS[case]
    write(given / "bad", header)

    assert_one_sentence(call_beside_secrets("ls", "bad"), 3, "bad: ", problem)


@pytest.mark.parametrize("shard", ["model.safetensors", "model-00001-of-00001.safetensors"])
def test_a_hostile_shard_is_refused_in_one_sentence(
    call_beside_secrets, assert_one_sentence, given, shard
):
    """Of a folder with an index, or without one."""
    write(given / shard, HEADERS["a dtype of a megabyte"][0])
    if "of" in shard:
        index = {"weight_map": {"w": shard}}
        (given / "model.safetensors.index.json").write_text(json.dumps(index))

    assert_one_sentence(call_beside_secrets("ls", "."), 3, "unknown dtype 'xxx")


@pytest.mark.parametrize("pattern", ["*n*n*n*n*b", "*n*n[n]?*b", "{*n,*n*n}*n*n*b"])
def test_a_pattern_against_a_name_of_64_kib_takes_no_time(
    call_beside_secrets, assert_one_sentence, given, pattern
):
    """A star does not try again what an earlier one has found."""
    write(given / "model", entry(name=f'"{"n" * 65536}"'))

    assert_one_sentence(call_beside_secrets("ls", "model", "-m", pattern), 2, "matches no tensor")


def test_the_nearest_of_many_names_are_found_in_no_time(
    call_beside_secrets, assert_one_sentence, given
):
    """Of so many that letters cannot be compared in all of them, some are."""
    write(given / "model", tensors(8000), bytes(8000))
    result = call_beside_secrets("ls", "model", "-m", "1a2x")

    assert_one_sentence(result, 2, "nearest: ")


def test_a_recipe_for_many_odd_names_has_a_pattern_for_each(call_beside_secrets, given):
    """Found by exact names, not by trying every pattern on every name."""
    names = [f"/{n}" for n in range(3000)]
    fields = {"dtype": "F32", "shape": [1, 1]}
    header = {n: {**fields, "data_offsets": [4 * i, 4 * i + 4]} for i, n in enumerate(names)}
    write(given / "model", json.dumps(header), bytes(4 * len(names)))
    result = call_beside_secrets("init", "model", "-o", "-")

    assert result.code == 0
    assert result.stdout.count('"//') == len(names)


def test_a_column_is_not_as_wide_as_the_longest_path_in_it(call_beside_secrets, given):
    """A thousand rows with one path of 64 KiB do not take 64 MB."""
    with h5py.File(given / "model.h5", "w") as file:
        file["layers/" + "p" * 60_000 + "/vars/0"] = [1.0]
        for number in range(100):
            file[f"layers/dense/{number}/vars/0"] = [1.0]
    result = call_beside_secrets("ls", "model.h5")

    assert result.code == 0
    assert len(result.stdout) < 200_000


def test_the_number_of_a_variable_may_have_any_length(call_beside_secrets, given):
    """Python makes no integer of more than 4300 digits."""
    name = "batch_normalization/vars/" + "1" * 5000
    write(given / "model", entry("[1]", "[0,4]", '"F32"', json.dumps(name)))
    result = call_beside_secrets("project", "model", "-m", "*", "-c", "non_neg", "-n")

    assert result.code in (0, 2)
