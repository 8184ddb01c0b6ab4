"""Maps that lead elsewhere, and pipes, devices, sockets and folders where files should be."""

import json
import os
import socket
import struct
import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from wproj.errors import FileError
from wproj.formats import positional

pytestmark = pytest.mark.skipif(os.name == "nt", reason="FIFOs, devices and links are POSIX's")

RULE = ("-m", "w", "-c", "max_norm=1", "-a", "0")
RECIPE = "version = 1\n[[rule]]\nmatch = 'w'\nconstraint = 'max_norm'\naxis = 0\n"
INDEX, MAP = "model.safetensors.index.json", "m.weights.json"


@pytest.fixture
def model(given):
    """A good checkpoint in both formats, and a recipe."""
    header = {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
    text = json.dumps(header).encode()
    (given / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
    with h5py.File(given / "w.h5", "w") as file:
        file["w/vars/0"] = np.ones(3, np.float32)
    (given / "recipe.toml").write_text(RECIPE)
    return given


# What a map may have for the name of a file; `{}` is the suffix of the format.
NAMES = {
    "nothing": "",
    "here": ".",
    "above": "..",
    "outside": "../outside/secret{}",
    "outside, by Windows": "..\\outside\\secret{}",
    "below": "a/w{}",
    "itself by a path": "./w{}",
    "absolute": "/etc/secret{}",
    "a drive": "C:\\secret{}",
    "a drive's folder": "C:secret{}",
    "a share": "\\\\host\\share\\secret{}",
    "a stream of a file": "w{}:stream",
    "a device of Windows": "NUL{}",
    "a device in small letters": "com1{}",
    "a device with blanks": "aux {}",
    "a device alone": "con",
    "a dot at the end": "w{}.",
    "a blank at the end": "w{} ",
    "a NUL": "w{}\0",
    "a lone surrogate": "\ud800{}" + "x" * 100,
    "too long": "w" * 70_000 + "{}",
    "a number": 1,
    "a list in a list": [["w{}"]],
    "an object": {"w{}": "w{}"},
    "no list": [],
    "infinite": float("inf"),
}  # fmt: skip


def filled(name, suffix):
    """The value with the suffix in it."""
    return json.loads(json.dumps(name).replace("{}", suffix))


@pytest.mark.parametrize("case", NAMES)
@pytest.mark.usefixtures("model")
def test_an_index_that_leads_elsewhere_is_refused(
    call_beside_secrets, assert_one_sentence, given, case
):
    """Whatever it has for a file: nothing is opened but files beside it."""
    mapped = {"v": filled(NAMES[case], ".safetensors"), "w": "w.safetensors"}
    (given / INDEX).write_text(json.dumps({"weight_map": mapped}))

    for path in (".", INDEX):
        assert_one_sentence(call_beside_secrets("audit", path, "-a", "0"), 3, INDEX)


@pytest.mark.parametrize("case", NAMES)
@pytest.mark.usefixtures("model")
def test_a_map_of_keras_that_leads_elsewhere_is_refused(
    call_beside_secrets, assert_one_sentence, given, case
):
    """The same for HDF5, whose library follows any path."""
    mapped = {"/v/vars": filled(NAMES[case], ".h5"), "/w/vars": "w.h5"}
    (given / MAP).write_text(json.dumps({"weight_map": mapped}))

    assert_one_sentence(call_beside_secrets("audit", MAP, "-a", "0"), 3, MAP)


@pytest.mark.parametrize("kind", ["index", "map", "map in a folder"])
@pytest.mark.usefixtures("model")
def test_a_shard_that_is_a_link_to_elsewhere_is_refused(
    call_beside_secrets, assert_one_sentence, given, outside, kind
):
    """Its name is plain; the file is not the model's."""
    suffix, name = (".safetensors", INDEX) if kind == "index" else (".h5", MAP)
    if kind == "map in a folder":
        name = "model.weights.json"
    (given / f"v{suffix}").symlink_to(outside / f"secret{suffix}")
    mapped = {"S3NTINEL": f"v{suffix}"} if kind == "index" else {"S3NTINEL/vars": f"v{suffix}"}
    (given / name).write_text(json.dumps({"weight_map": mapped}))
    result = call_beside_secrets("audit", name if kind == "map" else ".", "-a", "0")

    assert_one_sentence(result, 3, f"v{suffix}, which is a link")


def test_many_groups_in_a_map_take_time_with_their_number(call_beside_secrets, given):
    """Not with their number times that of the tensors."""
    with h5py.File(given / "w.h5", "w") as file:
        for number in range(500):
            file[f"g{number}/vars/0"] = np.ones(1, np.float32)
    mapped = {f"{'/' * slash}g{n}/vars": "w.h5" for n in range(500) for slash in range(5)}
    (given / MAP).write_text(json.dumps({"weight_map": mapped}))

    assert call_beside_secrets("ls", MAP).code == 0


@pytest.fixture(params=["fifo", "socket", "folder", "device", "loop", "process"])
def odd(request, given):
    """What is no regular file, or none with an end."""
    path = given / "odd"
    if request.param == "fifo":
        os.mkfifo(path)
    elif request.param == "socket":
        here = os.getcwd()  # noqa: PTH109 # a socket's path has to be short
        os.chdir(given)
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind("odd")
        finally:
            os.chdir(here)
    elif request.param == "folder":
        path.mkdir()
    else:
        ends = {"device": "/dev/zero", "loop": "odd", "process": "/proc/self/mem"}
        if request.param == "process" and not os.path.exists(ends["process"]):  # noqa: PTH110 # a text
            pytest.skip("there is no such file system here")
        path.symlink_to(ends[request.param])
    return SimpleNamespace(path=path, kind=request.param)


# The words in which `odd` is a file that is read, and the exit code.
POSITIONS = {
    "the file": (("audit", "odd"), 3),
    "the second of two": (("diff", "w.safetensors", "odd"), 3),
    "the config": (("audit", "w.h5", "--config", "odd"), 3),
    "the recipe": (("check", "w.safetensors", "--recipe", "odd"), 2),
    "the baseline": (("check", "w.safetensors", *RULE, "--baseline", "odd"), 2),
    "the list of files": (("check", *RULE, "--files-from", "odd"), 3),
    "the module of a constraint": (("check", "w.safetensors", "-m", "w", "-c", "odd:C"), 2),
}


@pytest.mark.parametrize("case", POSITIONS)
@pytest.mark.usefixtures("model", "odd")
def test_what_is_no_file_is_refused_in_any_position(call_beside_secrets, assert_one_sentence, case):
    """At once: nobody waits for what a pipe or a device might say."""
    words, code = POSITIONS[case]

    assert_one_sentence(call_beside_secrets(*words), code)


@pytest.mark.parametrize("place", ["shard", "index", "config.json", "a file beside"])
@pytest.mark.usefixtures("model")
def test_what_is_no_file_in_a_folder_is_refused(
    call_beside_secrets, assert_one_sentence, given, odd, place
):
    """As a shard, an index, or anything else that would have to be copied."""
    names = {"shard": "v.safetensors", "index": INDEX, "config.json": "config.json"}
    (given / INDEX).write_text(json.dumps({"weight_map": {"w": "w.safetensors"}}))
    name = names.get(place, "vocabulary.txt")
    (given / name).unlink(missing_ok=True)
    odd.path.rename(given / name)
    result = call_beside_secrets("audit", ".", "-a", "0")

    if odd.kind == "folder" and place != "shard":
        assert result.code == 0  # A folder may have any name.
    elif odd.kind == "folder":
        assert result.code in (0, 3)
    else:
        assert_one_sentence(result, 3, name)


@pytest.mark.usefixtures("model")
def test_a_shard_of_keras_that_is_no_file_is_refused(
    call_beside_secrets, assert_one_sentence, given, odd
):
    """HDF5 itself would wait for a pipe."""
    (given / MAP).write_text(json.dumps({"weight_map": {"/w/vars": odd.path.name}}))

    assert_one_sentence(call_beside_secrets("audit", MAP), 3, "names the shard odd")


@pytest.mark.usefixtures("model", "odd")
def test_what_is_no_file_beside_a_map_that_does_not_name_it_does_no_harm(
    call_beside_secrets, given
):
    """Its size is asked for, nothing else."""
    (given / MAP).write_text(json.dumps({"weight_map": {"/w/vars": "w.h5"}}))

    assert call_beside_secrets("ls", MAP).code == 0


@pytest.mark.parametrize("option", ["-o", "--report"])
@pytest.mark.usefixtures("model")
def test_what_is_no_file_is_no_target(call_beside_secrets, odd, option):
    """It is neither opened nor replaced."""
    target = "odd" if option == "-o" else "json=odd"
    before = odd.path.lstat().st_mode, odd.path.lstat().st_ino
    words = ("project", "w.safetensors", *RULE, option, target, *(("-n",) * (option != "-o")))
    result = call_beside_secrets(*words)

    assert result.code in (2, 3)
    assert "error: " in result.stderr
    assert (odd.path.lstat().st_mode, odd.path.lstat().st_ino) == before


@pytest.mark.parametrize("path", ["x" * 5000, "x/" * 3000, "a\0b", "w.safetensors/x"])
@pytest.mark.parametrize("verb", ["ls", "check"])
@pytest.mark.usefixtures("model")
def test_a_path_that_cannot_be_is_refused(call_beside_secrets, path, verb):
    """A name that is too long, or has a NUL, is a sentence, too."""
    words = RULE if verb == "check" else ()
    result = call_beside_secrets(verb, path, *words)

    assert result.code == 3
    assert result.stderr.startswith("error: ")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's files")
@pytest.mark.parametrize("path", ["/proc/self/mem", "/proc/self/environ", "/proc/self/maps"])
def test_a_file_of_the_kernel_is_refused(call_beside_secrets, assert_one_sentence, path):
    """It says that it is empty, or cannot be read where it is begun to."""
    assert_one_sentence(call_beside_secrets("ls", path), 3, path)


@pytest.mark.skipif(not hasattr(os, "O_NONBLOCK"), reason="nothing waits here")
def test_a_file_that_becomes_a_pipe_is_not_waited_for(given, monkeypatch):
    """Between the look at it and its opening."""
    path, look = given / "file", os.stat
    path.touch()
    regular = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(
        positional.Path, "stat", lambda self: regular if self == path else look(self)
    )

    with pytest.raises(FileError, match="is not a regular file"):
        positional.open_regular(path)


# What TOML may say that takes a parser long; found by `check`, nobody has named it.
RECIPES = {
    "a key of half a million parts": "version = 1\n" + "a." * 500_000 + "a = 1\n",
    "a table of half a million parts": "[" + "a." * 500_000 + "a]\n",
    "a key of quoted parts": "version = 1\n" + "'a' . " * 150_000 + "a = 1\n",
    "a key behind a quotation mark": 'version = 1\n"\\"".' + "a." * 500_000 + 'a = "x"\n',
    "a million brackets": "version = 1\na = " + "[" * 10**6,
    "a number of many digits": "version = " + "1" * 10**6,
    "more than a recipe has": "#" * ((1 << 20) + 1),
}


@pytest.mark.parametrize("case", RECIPES)
@pytest.mark.parametrize("name", ["wproj.toml", "pyproject.toml"])
@pytest.mark.usefixtures("model")
def test_a_hostile_recipe_nearby_is_refused(call_beside_secrets, given, case, name):
    """A repository that was cloned may hold anything; a project without recipe says nothing."""
    (given / name).write_text(RECIPES[case])
    (given / ".git").mkdir()
    result = call_beside_secrets("check", "w.safetensors")

    assert result.code == 2
    assert result.stderr.startswith("error: recipe" if name == "wproj.toml" else "error: give a")
