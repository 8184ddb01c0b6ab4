"""Files that are no checkpoints, damaged ones, and ones that hold what nobody expects."""

import json
import os
import re
import struct
import sys
import zipfile

import h5py
import ml_dtypes  # noqa: F401 # what the library needs for bfloat16
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="FIFOs, devices and limits are POSIX's")

WORDS = ("-m", "w", "-c", "max_norm=1", "-a", "0")
W = np.full((3, 2), 5, np.float32)
LFS = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
MEMORY = "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))"


def safetensors(header, data=b"", length=None):
    """The bytes of a safetensors file, its length as claimed."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def u8(start, stop):
    """A tensor of bytes at these offsets."""
    return {"dtype": "U8", "shape": [stop - start], "data_offsets": [start, stop]}


GOOD = safetensors({"w": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}}, W.tobytes())
TWICE = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
TWICE += b'"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}'

# The bytes of a file, what its error says, and its hint.
FILES = {
    "an empty file": (b"", "is empty", None),
    "text": (b"epoch,loss\n1,0.5\n", "is text", "safetensors"),
    "a Git LFS pointer": (LFS, "is a Git LFS pointer", "git lfs pull"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "neither a safetensors nor an HDF5", None),
    "a pickle": (b"\x80\x04\x95" + bytes(100), "Python pickle, which wproj never loads", "convert"),
    "a few bytes": (b"\x07\0\0", "has only 3 bytes", None),
    "safetensors cut in its length": (GOOD[:7], "has only 7 bytes", None),
    "safetensors cut behind its length": (GOOD[:8], "has only 8 bytes", None),
    "safetensors cut in its header": (GOOD[:30], "the file has 22 after it", None),
    "safetensors cut behind its header": (GOOD[:-24], "'w' ends 24 bytes behind the end", None),
    "safetensors cut in its data": (GOOD[:-9], "'w' ends 9 bytes behind the end", None),
    "safetensors cut by one byte": (GOOD[:-1], "'w' ends 1 bytes behind the end", None),
    "a header longer than the file": (
        safetensors(b"{}", length=5000),
        "the header claims 5000 bytes, the file has 2",
        None,
    ),
    "a header above 100 MB": (
        safetensors(b"{}", length=100_000_001),
        "the header claims 100000001 bytes, more than the 100000000 allowed",
        None,
    ),
    "a header of 2**64 - 1 bytes": (
        safetensors(b"{}", length=2**64 - 1),
        "more than the 100000000 allowed",
        None,
    ),
    "overlapping tensors": (
        safetensors({"a": u8(0, 3), "b": u8(2, 4)}, bytes(4)),
        "'b' overlaps tensor 'a'",
        None,
    ),
    "a hole between tensors": (
        safetensors({"a": u8(0, 1), "b": u8(3, 4)}, bytes(4)),
        "hole of 2 bytes after tensor 'a'",
        None,
    ),
    "bytes behind the tensors": (
        safetensors({"a": u8(0, 4)}, bytes(9)),
        "5 bytes follow tensor 'a'",
        None,
    ),
    "a name twice": (safetensors(TWICE, bytes(2)), "has 'w' twice", None),
    "an unknown dtype": (
        safetensors({"w": {**u8(0, 4), "dtype": "F7"}}, bytes(4)),
        "'w' has the unknown dtype 'F7'",
        None,
    ),
    "a shape that overflows": (
        safetensors({"w": {**u8(0, 0), "shape": [0, 2**64 - 1]}}),
        "'w'",
        None,
    ),
    "a header that is no JSON": (safetensors(b'{"w":'), "not JSON", None),
    "a header nested beyond reason": (
        safetensors(b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        "is not valid safetensors",
        None,
    ),
    "half a signature of HDF5": (b"\x89HDF\r\n", "has only 6 bytes", None),
    "the signature of HDF5 alone": (b"\x89HDF\r\n\x1a\n", "HDF5", None),
    "the signature of HDF5 and zeros": (b"\x89HDF\r\n\x1a\n" + bytes(600), "HDF5", None),
    "an empty zip": (b"PK\x05\x06" + bytes(18), "zip archive", None),
}


# Those that are the same case with other bytes are tried within this process.
VARIANTS = {
    "a picture",
    "a pickle",
    "a few bytes",
    "a header of 2**64 - 1 bytes",
    "bytes behind the tensors",
    "a shape that overflows",
    "a header that is no JSON",
    "a header nested beyond reason",
    "half a signature of HDF5",
    "the signature of HDF5 alone",
    "the signature of HDF5 and zeros",
    "an empty zip",
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_read_is_refused(
    run_or_call, tmp_path, snapshot, assert_refused, assert_told_in_json, case
):
    """With exit code 3, by name and cause; nothing is written, and JSON says the same."""
    content, problem, hint = FILES[case]
    (tmp_path / "bad").write_bytes(content)
    before = snapshot()
    run = run_or_call(alone=case not in VARIANTS)
    result = run("project", "bad", *WORDS, "-o", "out", "-f", "json")

    assert_refused(result, 3, "error: bad: ", problem, hint=hint)
    assert assert_told_in_json(result)["diagnostics"][0]["file"] == "bad"
    assert snapshot() == before


@pytest.mark.parametrize("verb", ["ls", "audit"])
@pytest.mark.parametrize("case", FILES)
def test_the_other_verbs_refuse_it_like_project(call, tmp_path, case, verb):
    """The same sentence, whoever reads the file."""
    content, problem, _ = FILES[case]
    (tmp_path / "bad").write_bytes(content)
    result = call(verb, "bad")

    assert (result.code, result.stdout) == (3, "")
    assert result.stderr.startswith("error: bad: ")
    assert problem in result.stderr


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.97, -1])
def test_truncated_hdf5_is_refused(
    run, tmp_path, snapshot, assert_refused, assert_told_in_json, kept
):
    """Wherever the download stopped."""
    path = tmp_path / "bad.h5"
    with h5py.File(path, "w") as file:
        file["g/w"] = np.full((40, 30), 5, np.float32)
        file.create_dataset("w", data=np.ones((40, 30)), compression="gzip")
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] if kept == -1 else raw[: int(kept * len(raw))])
    before = snapshot()
    result = run("project", "bad.h5", *WORDS, "-o", "out", "-f", "json")

    assert_refused(result, 3, "error: bad.h5: ", "HDF5")
    assert_told_in_json(result)
    assert snapshot() == before


NO_FILES = {
    "missing": ("there is no such file", None),
    "missing/model": ("there is no such file", None),
    "folder": (
        "is a folder without model.weights.h5 (an unzipped .keras archive) or safetensors files",
        "give a checkpoint in it",
    ),
    "fifo": ("is not a regular file", None),
    "/dev/zero": ("is not a regular file", None),
    "/dev/null": ("is not a regular file", None),
    "dangling": ("there is no such file", None),
    "loop": ("cannot be read", None),
    "plain/model": ("cannot be read", None),
}


@pytest.fixture
def no_files(tmp_path):
    """What the paths of the table lead to."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "plain").write_bytes(GOOD)


@pytest.mark.usefixtures("no_files")
@pytest.mark.parametrize("path", NO_FILES)
def test_what_is_no_file_is_refused(run_or_call, snapshot, assert_refused, path):
    """At once: reading from a FIFO that nobody writes to would wait forever."""
    problem, hint = NO_FILES[path]
    before = snapshot()
    run = run_or_call(alone=path in ("missing", "folder", "fifo", "/dev/zero"))
    result = run("project", path, *WORDS, "-o", "out")

    assert_refused(result, 3, f"error: {path}: ", problem, hint=hint)
    assert snapshot() == before


@pytest.mark.usefixtures("no_files")
@pytest.mark.parametrize("verb", ["ls", "audit"])
@pytest.mark.parametrize("path", NO_FILES)
def test_the_other_verbs_refuse_what_is_no_file(call, path, verb):
    """Like project."""
    problem, _ = NO_FILES[path]
    result = call(verb, path)

    assert (result.code, result.stdout) == (3, "")
    assert result.stderr.startswith(f"error: {path}: {problem}")


def test_a_file_that_may_not_be_read_is_refused(
    run, tmp_path, snapshot, assert_refused, without_privileges
):
    """With the system's reason."""
    (tmp_path / "secret").write_bytes(GOOD)
    (tmp_path / "secret").chmod(0)
    before = snapshot() if os.geteuid() == 0 else None
    result = run("project", "secret", *WORDS, "-o", "out", before=without_privileges)

    assert_refused(result, 3, "error: secret: cannot be read: Permission denied")
    assert before is None or snapshot() == before


@pytest.mark.parametrize("verb", ["ls", "audit"])
def test_one_bad_file_does_not_stop_the_others(run, tmp_path, assert_refused, verb):
    """The good ones are reported, and the exit code is the highest."""
    (tmp_path / "good").write_bytes(GOOD)
    (tmp_path / "text").write_text("epoch,loss\n")
    result = run(verb, "text", "good", "missing", "good", "-f", "json")
    document = json.loads(result.stdout)

    assert_refused(result, 3, "text: is text", "missing: there is no such file")
    assert [file["path"] for file in document["files"]] == ["good", "good"]
    assert [d["file"] for d in document["diagnostics"]] == ["text", "missing"]
    assert document["exit_code"] == 3


@pytest.mark.parametrize(
    ("make", "count", "first"),
    [
        (lambda w: w.__setitem__((2, 1), np.nan), "1 non-finite entry", "[2, 1]"),
        (lambda w: w.__setitem__((0, 1), -np.inf), "1 non-finite entry", "[0, 1]"),
        (lambda w: w.__setitem__((slice(1, 3), 0), np.inf), "2 non-finite entries", "[1, 0]"),
        (lambda w: w.fill(np.nan), "6 non-finite entries", "[0, 0]"),
    ],
    ids=["NaN", "-inf", "two", "all"],
)
def test_nonfinite_values_are_refused(
    run_or_call,
    write_safetensors,
    snapshot,
    assert_refused,
    assert_told_in_json,
    make,
    count,
    first,
):
    """With the tensor, how many there are, and where the first is; nothing is written."""
    w = W.copy()
    make(w)
    write_safetensors("model", {"fine": W, "w": w})
    before = snapshot()
    words = ("-m", "*", "-c", "non_neg+max_norm=1", "-a", "0")
    run = run_or_call(alone=count.startswith("2"))
    result = run("project", "model", *words, "-o", "out", "-f", "json")

    assert_refused(
        result, 3, f"error: model: w: {count}, the first at index {first}", hint="--nonfinite skip"
    )
    assert_told_in_json(result)
    assert snapshot() == before


def test_nonfinite_vectors_are_left_alone_on_request(run, write_safetensors, tmp_path):
    """They are counted in a warning, and nothing else is said."""
    w = W.copy()
    w[0, 0], w[1, 0] = np.inf, np.nan
    write_safetensors("model", {"w": w})
    result = run("project", "model", *WORDS, "-o", "out", "--nonfinite", "skip")
    after = np.frombuffer((tmp_path / "out").read_bytes()[-24:], np.float32).reshape(3, 2)
    lines = result.stderr.splitlines()

    assert result.code == 0
    assert after[:, 0].tobytes() == w[:, 0].tobytes()
    assert np.linalg.norm(after[:, 1].astype(np.float64)) <= 1
    assert len(lines) == 2
    assert lines[1].startswith("warning: w: 1 vector with non-finite entries")


def test_a_result_that_the_dtype_cannot_hold_is_refused(run, tmp_path, snapshot, assert_refused):
    """A norm of 1e6 is beyond float16."""
    with h5py.File(tmp_path / "model", "w") as file:
        file["w"] = np.ones((1, 2), np.float16)
    before = snapshot()
    words = ("-m", "w", "-c", "min_max_norm=1e6..2e6", "-a", "0")
    result = run("project", "model", *words, "-o", "out")

    assert_refused(result, 3, "error: model: w: ", "65504", "float16", hint="lower the bound")
    assert snapshot() == before


def test_a_damaged_chunk_is_refused(run, tmp_path, snapshot, assert_refused):
    """With file and tensor; the other tensors are not written either."""
    path = tmp_path / "model"
    w = np.random.default_rng(1).normal(size=(50, 50)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["a"] = w
        file.create_dataset("w", data=w, chunks=(50, 50), compression="gzip")
    raw = bytearray(path.read_bytes())
    raw[-4000:-3900] = bytes(100)
    path.write_bytes(raw)
    before = snapshot()
    result = run("project", "model", "-m", "*", "-c", "max_norm=1", "-a", "0", "-o", "out")

    assert_refused(result, 3, "error: model: w: ", "HDF5 cannot read it")
    assert snapshot() == before


HOSTILE = "a\x1b[31mred\x07\r\n\u202eb\x00\t"
ESCAPED = r"a\x1b[31mred\x07\r\n\u202eb\x00\t"


def only_harmless(text):
    """Whether nothing in a text does anything to a terminal."""
    return all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ("ls", "model")),
        (0, ("ls", "model", "-m", "a?[[]31m*")),
        (2, ("ls", "model", "-m", "a[[]31m")),
        (0, ("audit", "model")),
        (0, ("audit", "model", "-a", "0")),
        (0, ("project", "model", "-m", "*", "-c", "max_norm=1", "-a", "0", "-n")),
        (0, ("project", "model", "-m", "*", "-c", "max_norm=1", "-a", "0", "-o", "out")),
        (2, ("project", "model", "-m", "*red*", "-c", "max_norm=1", "-n")),
        (2, ("project", "model", "-m", "*red*", "-c", "max_norm=1", "-a", "9", "-n")),
        (2, ("project", "model", "-r", "*red* non_neg", "-r", "*31* non_neg", "-n")),
    ],
)
def test_names_are_escaped_on_both_streams(call, write_safetensors, code, words):
    """A tensor's name clears no screen and hides no line."""
    write_safetensors("model", {HOSTILE: W, "red": np.zeros((2, 2), np.int32)})
    result = call(*words)

    assert result.code == code
    assert only_harmless(result.stdout)
    assert only_harmless(result.stderr)
    assert ESCAPED in result.stdout + result.stderr


def test_a_name_in_an_error_is_escaped(run, write_safetensors, assert_refused):
    """Also where the values are at fault."""
    write_safetensors("model", {HOSTILE: np.full((2, 2), np.nan, np.float32)})
    result = run("project", "model", "-m", "*", "-c", "non_neg", "-o", "out")

    assert_refused(result, 3, f"error: model: {ESCAPED}: 4 non-finite")
    assert only_harmless(result.stderr)


@pytest.mark.parametrize("verb", ["audit", "project"])
def test_a_name_in_a_reason_is_escaped(call, write_safetensors, verb):
    """The tensor that holds another's scales is named in the report, too."""
    name = "w\x1b[31m"
    header = {
        f"{name}.weight": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]},
        f"{name}.weight_scale": {"dtype": "F32", "shape": [], "data_offsets": [4, 8]},
    }
    write_safetensors("model", header, bytes(8))
    words = ("-m", "*", "-c", "max_norm=1", "-a", "all", "-n") if verb == "project" else ()
    result = call(verb, "model", *words)

    assert result.code == 0
    assert r"scaled by w\x1b[31m.weight_scale" in result.stdout
    assert only_harmless(result.stdout)
    assert only_harmless(result.stderr)


def test_a_header_with_hostile_names_is_quoted_safely(run, write_safetensors, assert_refused):
    """What is wrong with a tensor is said without its name doing anything."""
    write_safetensors("model", {HOSTILE: {**u8(0, 4), "dtype": "\x1b[2J"}}, bytes(4))
    result = run("ls", "model")

    assert_refused(result, 3, "unknown dtype")
    assert only_harmless(result.stderr)


def test_hdf5_names_and_links_are_escaped(run, tmp_path):
    """Also in the warning that a link is not followed."""
    with h5py.File(tmp_path / "model", "w") as file:
        file["w\x1b[31m"] = W
        file["link\x1b[31m"] = h5py.SoftLink("/w")
    result = run("audit", "model")

    assert result.code == 0
    assert r"link\x1b[31m is a soft link and is not followed" in result.stderr
    assert r"w\x1b[31m" in result.stdout
    assert only_harmless(result.stdout)
    assert only_harmless(result.stderr)


@pytest.mark.parametrize(
    "name",
    [
        "m\x1b[31m\n",
        "-m",
        pytest.param(
            os.fsdecode(b"m\xff"),
            marks=pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there"),
        ),
    ],
)
def test_the_name_of_a_file_is_escaped(run_or_call, tmp_path, name):
    """It may have been unpacked from an archive of a stranger's."""
    (tmp_path / name).write_bytes(GOOD)
    run = run_or_call(alone=not name.isascii())
    listed = run("ls", "--", name)
    refused = run("project", *WORDS, "-n", "-x", "w", "-f", "json", "--", name)

    assert listed.code == 0
    assert refused.code == 2
    assert only_harmless(listed.stdout + listed.stderr + refused.stderr)
    assert json.loads(refused.stdout)["exit_code"] == 2


NAMES = ("ünï", "重み", "\U0001f600", "plain")


@pytest.fixture
def unicode_model(write_safetensors):
    """A checkpoint with names beyond ASCII."""
    write_safetensors("model", dict.fromkeys(NAMES, W))


LOCALES = {
    "ascii": {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    "latin-1": {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.usefixtures("unicode_model")
@pytest.mark.parametrize(
    ("locale", "verb"), [("ascii", "ls"), ("ascii", "project"), ("latin-1", "ls"), ("C", "project")]
)
def test_a_terminal_without_unicode_gets_escapes(start, locale, verb):
    """Nothing fails on a character that cannot be shown."""
    words = ("-m", "*", "-c", "non_neg", "-n") if verb == "project" else ()
    process = start(verb, "model", *words, env=LOCALES[locale])
    stdout, stderr = process.communicate(timeout=60)

    assert process.returncode == 0
    assert b"Traceback" not in stderr
    assert b"\\u91cd\\u307f" in stdout if locale != "C" else stdout
    assert b"plain" in stdout


@pytest.mark.usefixtures("unicode_model")
@pytest.mark.parametrize("locale", LOCALES)
def test_json_is_json_in_any_locale(start, locale):
    """A program reads it, whatever the terminal can show."""
    process = start("ls", "model", "-f", "json", env=LOCALES[locale])
    stdout, _ = process.communicate(timeout=60)
    document = json.loads(stdout)

    assert [t["name"] for t in document["files"][0]["tensors"]] == list(NAMES)


@pytest.mark.parametrize(
    ("verb", "shape"),
    [("audit", [0, 2**62, 2**62]), ("audit", [0, 2**40]), ("project", [2**40, 0])],
)
def test_an_empty_tensor_of_absurd_shape_costs_nothing(run, write_safetensors, shape, verb):
    """Eighty bytes must not ask for terabytes: it is refused, or there is nothing to do."""
    write_safetensors("model", {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}})
    axis = str(shape.index(0))
    words = ("-m", "w", "-c", "max_norm=1", "-o", "out") if verb == "project" else ()
    result = run(verb, "model", *words, "-a", axis, before=MEMORY)

    assert "internal fault" not in result.stderr
    assert result.code in (0, 3)


@pytest.mark.parametrize(
    "norms",
    [
        [1e18, 1e18],
        [1.0, 1.0 + 2.0**-52],
        [1.0 - 2.0**-53, 1.0],
        [1e300, 1e300],
        [5e-324, 1e-323],
        [0.0, 1e308],
        [1e308, np.nextafter(1e308, 2e308)],
    ],
    ids=str,
)
def test_norms_of_any_size_and_distance_are_audited(call, write_safetensors, norms):
    """Equal ones, ones an ulp apart as after a projection, and those at the ends of float64."""
    write_safetensors("model", {"w": np.array([norms])})
    result = call("audit", "model", "-a", "0", "-f", "json")

    assert (result.code, result.stderr) == (0, "")
    (tensor,) = json.loads(result.stdout)["files"][0]["tensors"]
    assert sum(tensor["histogram"]["counts"]) == 2
    assert tensor["norm_before"]["max"] == norms[1]


@pytest.mark.parametrize("extreme", [1e308, 5e-324, -1.7976931348623157e308])
@pytest.mark.parametrize("spec", ["max_norm=1", "unit_norm", "non_neg+max_norm=0.5"])
def test_values_at_the_ends_of_float64_are_projected(call, write_safetensors, extreme, spec):
    """No square overflows, none vanishes, and no warning of NumPy's gets out."""
    write_safetensors("model", {"w": np.full((4, 3), extreme)})
    result = call("project", "model", "-m", "w", "-c", spec, "-a", "0", "-n", "-f", "json")
    (tensor,) = json.loads(result.stdout)["files"][0]["tensors"]

    assert result.code == 0
    assert len(result.stderr.splitlines()) == 1
    assert tensor["norm_after"]["max"] <= 1 + 2.0**-49


def test_what_unit_norm_wrote_can_be_audited(call, write_safetensors):
    """Its norms in float64 are an ulp or two apart."""
    write_safetensors("model", {"w": np.random.default_rng(0).normal(size=(50, 40))})
    projected = call("project", "model", "-m", "w", "-c", "unit_norm", "-a", "0", "-o", "out")
    result = call("audit", "out", "-a", "0")

    assert (projected.code, result.code, result.stderr) == (0, 0, "")
    assert re.search(r"\n +40 +50 +0 +1\.0000", result.stdout)


def test_an_archive_with_weights_where_a_user_block_ends_stays_an_archive(run, tmp_path):
    """The signature of HDF5 in the middle of a zip does not make HDF5 of it."""
    weights = tmp_path / "weights"
    with h5py.File(weights, "w") as file:
        file["layers/dense/vars/0"] = W
    config, member = "config.json", "model.weights.h5"
    padding = 1024 - (30 + len(config)) - (30 + len(member))
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr(config, "{}".ljust(padding))
        archive.write(weights, member)
    raw = (tmp_path / "model.keras").read_bytes()
    result = run("project", "model.keras", "-m", "*", "-c", "max_norm=1", "-a", "0", "-o", "out")

    assert raw[1024:1032] == b"\x89HDF\r\n\x1a\n"
    assert result.code == 0
    with zipfile.ZipFile(tmp_path / "out") as archive:
        assert archive.testzip() is None


def test_a_fault_says_that_it_is_one(call, write_safetensors, monkeypatch):
    """What nobody has thought of is a sentence, too, and exit code 3."""

    def fail(*_arguments, **_options):
        raise RuntimeError("an \x1b[31munexpected\nthing")

    write_safetensors("model", {"w": W})
    monkeypatch.setattr("wproj.open_checkpoint", fail)
    result = call("ls", "model")

    assert (result.code, result.stdout) == (3, "")
    assert result.stderr.startswith(
        r"error: internal fault: RuntimeError: an \x1b[31munexpected\nthing"
    )
    assert "--debug" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_fault_shows_where_it_happened_on_request(call, write_safetensors, monkeypatch):
    """For a report of the defect."""
    write_safetensors("model", {"w": W})
    monkeypatch.setattr("wproj.open_checkpoint", lambda *_arguments, **_options: 1 / 0)
    result = call("ls", "model", "--debug")

    assert result.code == 3
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError" in result.stderr
