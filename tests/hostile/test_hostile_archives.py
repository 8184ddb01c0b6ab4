"""Zip archives that lie, lead out, overlap or explode."""

import io
import json
import stat
import struct
import warnings
import zipfile

import h5py
import numpy as np
import pytest

CONFIG, WEIGHTS = "config.json", "model.weights.h5"


def hdf5(tree=None):
    """The bytes of an HDF5 file; without a tree, of one Dense kernel."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, values in (tree or {"layers/dense/vars/0": np.ones((2, 3), np.float32)}).items():
            file[name] = values
    return content.getvalue()


def layer(kind, **config):
    """A layer in a config."""
    return {"class_name": kind, "config": {"name": kind.lower(), **config}}


def model(*layers):
    """The config of a model with these layers, as JSON."""
    return json.dumps(layer("Sequential", layers=list(layers)))


def info(name, **fields):
    """The headers of a member, some of their fields set."""
    found = zipfile.ZipInfo(name)
    for key, value in fields.items():
        setattr(found, key, value)
    return found


def archive(*extra, config=None, weights=None, method=zipfile.ZIP_STORED):
    """The bytes of an archive of one Dense layer, with members besides; as (name, bytes)."""
    content = io.BytesIO()
    config = model(layer("Dense", units=3)) if config is None else config
    with warnings.catch_warnings(), zipfile.ZipFile(content, "w", method) as file:
        warnings.simplefilter("ignore")  # Of names that are there twice.
        file.writestr("metadata.json", "{}")
        for name, data in ((CONFIG, config), *extra, (WEIGHTS, weights or hdf5())):
            file.writestr(name, data)
    return content.getvalue()


def central(data, name):
    """Where the directory of an archive has its record of a member."""
    at = data.index(b"PK\x01\x02")
    while data[at + 46 : at + 46 + len(name)] != name.encode():
        at = data.index(b"PK\x01\x02", at + 1)
    return at


def with_field(data, at, value, width=4):
    """The archive with a number at a position."""
    return data[:at] + value.to_bytes(width, "little") + data[at + width :]


def with_zip64_offset(data, name, offset):
    """The archive whose directory has a member at an offset of 64 bits."""
    at = central(data, name)
    end = at + 46 + len(name)
    extra = struct.pack("<HHQ", 1, 8, offset)
    data = data[:end] + extra + data[end:]
    data = with_field(with_field(data, at + 42, 0xFFFFFFFF), at + 30, len(extra), 2)
    tail = data.index(b"PK\x05\x06")
    size = int.from_bytes(data[tail + 12 : tail + 16], "little") + len(extra)
    return with_field(data, tail + 12, size)


LINK = {"create_system": 3, "external_attr": (stat.S_IFLNK | 0o777) << 16}
FIFO = {"create_system": 3, "external_attr": (stat.S_IFIFO | 0o777) << 16}
PLAIN = archive()
TARGET = "../outside/secret.txt"


def directory(name, field, value, width=4):
    """The plain archive with one number of its directory replaced."""
    return with_field(PLAIN, central(PLAIN, name) + field, value, width)


def local(name, field, value, width=4):
    """The plain archive with one number of a member's own header replaced."""
    at = int.from_bytes(PLAIN[(c := central(PLAIN, name) + 42) : c + 4], "little")
    return with_field(PLAIN, at + field, value, width)


def renamed(name, other, occurrence):
    """The plain archive with a name replaced where it occurs for the nth time."""
    at = -1
    for _ in range(occurrence):
        at = PLAIN.index(name.encode(), at + 1)
    return PLAIN[:at] + other + PLAIN[at + len(name) :]


def bomb(count, size):
    """An archive with members of one byte, both headers of which claim so many."""
    names = [f"assets/{n}" for n in range(count)]
    deflated = [(info(name, compress_type=zipfile.ZIP_DEFLATED), b"x") for name in names]
    data = archive(*deflated)
    for name in names:
        record = central(data, name)
        start = int.from_bytes(data[record + 42 : record + 46], "little")
        data = with_field(with_field(data, record + 24, size), start + 22, size)
    return data


# The bytes of the archive, and what its error says.
ARCHIVES = {
    "a member that leads out": (archive((TARGET, b"")), "leaves the archive"),
    "a member with backslashes": (archive(("..\\secret.txt", b"")), "leaves the archive"),
    "a member that leads out inside": (archive(("a/../../b", b"")), "leaves the archive"),
    "an absolute member": (archive(("/etc/evil", b"")), "leaves the archive"),
    "a member on a drive": (archive(("C:evil", b"")), "leaves the archive"),
    "a member on a share": (archive(("\\\\host\\share\\x", b"")), "leaves the archive"),
    "a member twice": (archive((CONFIG, b"{}")), "two members named config.json"),
    "a member twice, once with a dot": (archive(("./config.json", b"{}")), "two members named"),
    "a member twice, once with slashes": (archive(("a//b", b""), ("a/b", b"")), "two members"),
    "weights twice": (archive((WEIGHTS, b"")), "two members named model.weights.h5"),
    "a symbolic link": (archive((info("assets/x", **LINK), TARGET)), "which is a link"),
    "a named pipe": (archive((info("assets/x", **FIFO), b"")), "another thing than a file"),
    "an encrypted member": (directory(CONFIG, 8, 1, 2), "config.json inside is encrypted"),
    "one encrypted in its own header alone": (local(CONFIG, 6, 1, 2), "headers that differ"),
    "strong encryption": (directory(WEIGHTS, 8, 0x40, 2), "is encrypted"),
    "bzip2": (archive(method=zipfile.ZIP_BZIP2), "compressed by method 12, not by deflate"),
    "LZMA": (archive(method=zipfile.ZIP_LZMA), "compressed by method 14"),
    "an unknown method": (directory(CONFIG, 10, 99, 2), "compressed by method 99"),
    "a bomb of one member": (bomb(1, (256 << 20) + 1), "inflates 3 bytes to 268435457"),
    "a bomb of many members": (bomb(5, 60 << 20), "in 8 members"),
    "a bomb that lies of its size": (directory(CONFIG, 24, 0xFFFFFFF0), "config.json inside inf"),
    "a size of 64 bits": (with_zip64_offset(PLAIN, CONFIG, 2**64 - 5), "not where the directory"),
    "an offset of 63 bits": (with_zip64_offset(PLAIN, CONFIG, 2**63 - 5), "not where the direc"),
    "an offset behind the end": (directory(CONFIG, 42, 0xFFFFFFF0), "not where the directory has"),
    "an offset in another member": (directory(WEIGHTS, 42, len(PLAIN) - 999), "not where the dir"),
    "two members in one place": (directory(CONFIG, 42, 0), "config.json inside overlaps"),
    "a size that reaches into the next": (directory(CONFIG, 20, 2000), "headers that differ"),
    "another size in the directory": (directory(CONFIG, 24, 5), "has two headers that differ"),
    "another checksum in the directory": (directory(WEIGHTS, 16, 5), "headers that differ"),
    "another method in its own header": (local(CONFIG, 8, 8, 2), "has two headers that differ"),
    "another name in its own header": (renamed(CONFIG, b"c0nfig.json", 1), "headers that differ"),
    "another name in the directory": (renamed(CONFIG, b"c0nfig.json", 2), "headers that differ"),
    "a longer name in its own header": (local(WEIGHTS, 26, 60_000, 2), "headers that differ"),
    "a field that is longer than the file": (local(WEIGHTS, 28, 60_000, 2), "behind the last"),
    "a name with a NUL": (renamed(CONFIG, b"config\0json", 2), "name has a NUL inside"),
    "a name that is not UTF-8": (
        with_field(
            renamed("metadata.json", b"met\xffdata.json", 2),
            central(PLAIN, "metadata.json") + 8,
            0x800,
            2,
        ),
        "is a damaged zip archive",
    ),
    "a directory that is cut": (PLAIN[:-30], "is a damaged zip archive"),
    "no weights": (archive().replace(WEIGHTS.encode(), b"m0del.weights.h5"), "without model.weigh"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_a_hostile_archive_is_refused_in_one_sentence(
    call_beside_secrets, assert_one_sentence, given, case
):
    """Before anything is unpacked."""
    content, problem = ARCHIVES[case]
    (given / "bad").write_bytes(content)
    result = call_beside_secrets("project", "bad", "-m", "*", "-c", "non_neg", "-o", "out")

    assert_one_sentence(result, 3, "bad: ", problem)
    assert [path.name for path in given.iterdir()] == ["bad"]


def test_an_archive_that_is_none_of_these_is_read(call_beside_secrets, given):
    """The table is of single changes to it."""
    (given / "good").write_bytes(PLAIN)

    assert call_beside_secrets("ls", "good").code == 0


def test_an_archive_of_thousands_of_members_is_read(call_beside_secrets, given):
    """In a time that grows with their number."""
    (given / "good").write_bytes(archive(*((f"assets/{n}", b"") for n in range(3000))))

    assert call_beside_secrets("ls", "good").code == 0


def nested(kind, depth):
    """A layer in a layer in a layer."""
    inner = layer("LSTM", units=2) if kind == "Bidirectional" else layer("Dense", units=3)
    for _ in range(depth):
        inner = layer(kind, layer=inner)
    return inner


def deep(depth):
    """A list in a list in a list."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


def long_name(length, count):
    """A model of layers in a layer whose name each of theirs begins with."""
    inside = [layer("Dense")] * count
    return model({"class_name": "Sequential", "config": {"name": "n" * length, "layers": inside}})


# The config, and what the warning says of it; the weights are read all the same.
CONFIGS = {
    "no JSON": ("{", "is not JSON"),
    "no model": ("[]", "does not describe a model"),
    "not UTF-8": (b'{"class_name": "\xff"}', "is not UTF-8 at byte 16"),
    "UTF-16": (model().encode("utf-16"), "is not JSON"),
    "a number of many digits": (f'{{"a": {"9" * 10**5}}}', "a number has too many digits"),
    "nesting": ("[" * 10**5, "is nested too deeply"),
    "layers in layers": ('{"class_name":"Sequential","config":{"layers":[' * 400 + "]}}" * 400, ""),
    "more than a config has": (b" " * ((1 << 24) + 1), "has more than 16777216 bytes"),
    "millions of values": (b"[" + b"[]," * (1 << 20) + b"[]]", "has more than 2097152 values"),
    "what doubles in what doubles": (model(nested("Bidirectional", 60)), "that doubles its own"),
    "what is stored twice in such": (model(nested("SpectralNormalization", 60)), "doubles its own"),
    "a long name around many": (long_name(4000, 9000), "its names are too long, all in all"),
    "a longer name": (long_name(5000, 1), "the name of a layer is too long"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_hostile_config_is_set_aside_with_a_warning(call_beside_secrets, given, case):
    """Names come from the weights alone; nothing that it names is imported or called."""
    config, problem = CONFIGS[case]
    extra = {"method": zipfile.ZIP_DEFLATED} if len(config) > 10**6 else {}
    (given / "model").write_bytes(archive(config=config, **extra))
    result = call_beside_secrets("ls", "model", "-f", "json")

    assert result.code == 0
    assert result.stderr.startswith(f"warning: model: {CONFIG} inside ")
    assert problem in result.stderr
    assert len(result.stderr.splitlines()) == 1


# What a layer declares as the constraint of its kernel.
DECLARED = {
    "a number": 1,
    "an infinite number": float("inf"),
    "a list": [1],
    "a deep list": deep(300),
    "a deep object": {"class_name": "MaxNorm", "config": {"axis": deep(300)}},
    "a lone surrogate": "\ud800\x1b[31m",
    "a lone surrogate as a key": {"\ud800": 1},
    "a text of a megabyte": "x" * 10**6,
    "no parameters but a text": {"class_name": "MaxNorm", "config": "abc"},
    "parameters in a list": {"class_name": "MaxNorm", "config": [1, 2]},
    "a bound of many digits": {"class_name": "MaxNorm", "config": {"max_value": 10**4000}},
    "an infinite bound": {"class_name": "MaxNorm", "config": {"max_value": float("inf")}},
    "an axis of many digits": {"class_name": "MaxNorm", "config": {"axis": 10**4000}},
    "many axes": {"class_name": "MaxNorm", "config": {"axis": [0] * 10**4}},
    "many parameters": {"class_name": "MaxNorm", "config": {str(n): n for n in range(10**4)}},
    "a function of the system": {"class_name": "os:system", "module": "os", "config": {"a": 1}},
    "a function": {"class_name": "function", "config": "os.system", "module": "builtins"},
    "a class of an odd name": {"class_name": "\x1b\ud800", "config": {}},
}


@pytest.mark.parametrize("case", DECLARED)
def test_a_hostile_declaration_is_told_and_left_alone(call_beside_secrets, given, case):
    """By every verb, in every format, whatever stands where a constraint is expected."""
    config = model(layer("Dense", units=3, kernel_constraint=DECLARED[case]))
    (given / "model").write_bytes(archive(config=config))
    results = [
        call_beside_secrets("audit", "model", "--report", "json=report.json"),
        call_beside_secrets("check", "model", "--declared"),
        call_beside_secrets("init", "model", "-o", "-"),
    ]

    assert [result.code for result in results] == [0, 0, 0]
    for result in results:
        assert all(c.isprintable() or c == "\n" for c in result.stdout + result.stderr)
        assert len(result.stdout) < 10_000


SIZES = {"units of many digits": 10**4299, "infinite units": float("inf"), "units in a list": [3]}


@pytest.mark.parametrize("case", SIZES)
def test_a_hostile_size_in_a_config_harms_nobody(call_beside_secrets, given, case):
    """A shape that contradicts the weights is said in a few words."""
    weights = hdf5({"layers/lstm/cell/vars/0": np.ones((2, 12), np.float32)})
    config = model(layer("LSTM", units=SIZES[case]))
    (given / "model").write_bytes(archive(config=config, weights=weights))
    result = call_beside_secrets("ls", "model")

    assert result.code == 0
    assert len(result.stdout) < 1000


def test_a_window_of_many_axes_is_said_in_a_few_words(call_beside_secrets, given):
    """The reason why a kernel is left alone does not repeat all of a config."""
    weights = hdf5({"layers/conv2d/vars/0": np.ones((2, 2, 3, 3), np.float32)})
    config = model(layer("Conv2D", filters=3, kernel_size=[1] * 10**4))
    (given / "model").write_bytes(archive(config=config, weights=weights))
    result = call_beside_secrets("ls", "model")

    assert "its shape contradicts the config" in result.stdout
    assert len(result.stdout) < 1000
