"""`.keras` archives: the weights are patched, every other member stays as it is."""

import json
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import wproj
from wproj import MaxNorm
from wproj.errors import FileError
from wproj.formats import keras_archive

SAMPLE = Path(__file__).parents[2] / "sample_weights/digits_cnn.keras"
WEIGHTS = "model.weights.h5"
RULE = "layers/dense/vars/0 max_norm=1.5 axis=0"


def members(path):
    """What a zip says about its members, but for the weights' checksum, and their bytes."""
    with zipfile.ZipFile(path) as archive:
        return [
            (i.filename, i.date_time, i.compress_type, i.external_attr, i.extra, i.file_size)
            for i in archive.infolist()
        ], {i.filename: archive.read(i) for i in archive.infolist()}


def weights(path, tmp_path):
    """The weights of an archive by path."""
    with zipfile.ZipFile(path) as archive:
        inside = tmp_path / "inside.h5"
        inside.write_bytes(archive.read(WEIGHTS))
    found = {}
    with h5py.File(inside) as file:
        file.visititems(lambda n, o: found.update({n: o[()]}) if hasattr(o, "shape") else None)
    return found


def rewritten(tmp_path, change, compression=zipfile.ZIP_STORED):
    """A copy of the sample whose list of (name, bytes) was changed."""
    with zipfile.ZipFile(SAMPLE) as archive:
        content = [(info.filename, archive.read(info)) for info in archive.infolist()]
    path = tmp_path / "changed.keras"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in change(content):
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_only_the_projected_weights_differ(tmp_path, compression):
    """Members keep their order, metadata and bytes; the weights their other tensors."""
    source, target = rewritten(tmp_path, lambda c: c, compression), tmp_path / "out.keras"

    list(wproj.project(source, target, RULE))

    (before, old), (after, new) = members(source), members(target)
    assert before == after
    assert {name for name in old if old[name] != new[name]} == {WEIGHTS}
    old, new = weights(source, tmp_path), weights(target, tmp_path)
    assert {name for name in old if (old[name] != new[name]).any()} == {"layers/dense/vars/0"}
    expected = MaxNorm(1.5, axis=0)(old["layers/dense/vars/0"])
    np.testing.assert_array_equal(new["layers/dense/vars/0"], expected)


def test_an_archive_that_complies_is_copied_byte_for_byte(tmp_path):
    """Projecting the output again gives the same file."""
    once, twice = tmp_path / "once.keras", tmp_path / "twice.keras"

    list(wproj.project(SAMPLE, once, RULE))
    list(wproj.project(once, twice, RULE))

    assert once.read_bytes() == twice.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["once.keras", "twice.keras"]


def test_the_mode_of_the_archive_is_kept(tmp_path):
    """A projected archive has the mode of its source."""
    source, target = tmp_path / "in.keras", tmp_path / "out.keras"
    shutil.copy(SAMPLE, source)
    source.chmod(0o640)

    list(wproj.project(source, target, RULE))

    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda c: c[:-1], "without model.weights.h5"),
        (lambda c: [*c, c[0]], "two members named metadata.json"),
        (lambda c: [*c, ("../evil", b"x")], "leaves the archive"),
        (lambda c: [*c, ("/etc/evil", b"x")], "leaves the archive"),
        (lambda c: [*c, ("C:\\evil", b"x")], "leaves the archive"),
        (lambda c: [*c[:-1], (WEIGHTS, b"not hdf5")], "inside is damaged"),
        (lambda c: [*c[:-1], (WEIGHTS, c[-1][1][:-1000])], "inside is damaged"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile warns when it writes one.
def test_an_unsafe_or_damaged_archive_is_refused(tmp_path, change, problem):
    """Each gets an error that names the file and what is wrong with it."""
    path = rewritten(tmp_path, change)

    with pytest.raises(FileError, match=problem) as caught:
        wproj.open_checkpoint(path)

    assert str(path) in str(caught.value)


def test_a_member_that_inflates_a_hundredfold_is_refused(tmp_path):
    """A bomb is recognized by what the archive declares, before anything is unpacked."""
    path = rewritten(tmp_path, lambda c: [("config.json", b" " * (300 << 20)), *c[2:]], 8)

    with pytest.raises(FileError, match="inflates"):
        wproj.open_checkpoint(path)


@pytest.mark.parametrize("cut", [100, 5_000, 70_000])
def test_a_truncated_archive_is_refused(tmp_path, cut):
    """A zip without its end is no archive."""
    path = tmp_path / "cut.keras"
    path.write_bytes(SAMPLE.read_bytes()[:cut])

    with pytest.raises(FileError, match="damaged zip"):
        wproj.open_checkpoint(path)


def test_keras_loads_what_was_written(tmp_path, monkeypatch):
    """Keras reads the projected archive, and finds the values that wproj wrote."""
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    keras = pytest.importorskip("keras")
    target = tmp_path / "out.keras"

    list(wproj.project(SAMPLE, target, RULE))

    kernel = np.asarray(keras.models.load_model(target).get_layer("hidden").kernel)
    np.testing.assert_array_equal(kernel, weights(target, tmp_path)["layers/dense/vars/0"])
    with zipfile.ZipFile(target) as archive:
        assert json.loads(archive.read("config.json"))["config"]["name"] == "digits_cnn"


# Stored weights are patched where they are


@pytest.fixture
def never_unpacked(monkeypatch):
    """Fails if anything is unpacked or packed again."""
    for name in ("_unpacked", "_repack"):
        monkeypatch.setattr(keras_archive, name, lambda *_: pytest.fail("was unpacked"))


def streamed(tmp_path):
    """The sample as zipfile writes it to a pipe: checksums behind the members."""

    class Pipe:
        """Where one can only write."""

        def __init__(self, file):
            self.write, self.flush = file.write, file.flush

    path = tmp_path / "streamed.keras"
    with (
        path.open("wb") as file,
        zipfile.ZipFile(Pipe(file), "w") as new,
        zipfile.ZipFile(SAMPLE) as old,
    ):
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    return path


@pytest.mark.usefixtures("never_unpacked")
@pytest.mark.parametrize("make", [lambda _: SAMPLE, streamed], ids=["seekable", "streamed"])
def test_stored_weights_are_patched_in_the_archive(tmp_path, make):
    """The bytes of one tensor and two checksums differ; the archive is whole."""
    source, target = make(tmp_path), tmp_path / "out.keras"
    (entry,) = wproj.select_any(["layers/dense/vars/0"], wproj.open_checkpoint(source))

    list(wproj.project(source, target, RULE))

    old = np.frombuffer(source.read_bytes(), np.uint8)
    new = np.frombuffer(target.read_bytes(), np.uint8)
    different = np.flatnonzero(old != new)
    start, stop = entry.extent.offset, entry.extent.offset + entry.extent.nbytes
    outside = different[(different < start) | (different >= stop)]
    assert 2 <= outside.size <= 8 < different.size
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None


def test_unpacked_or_not_the_weights_are_the_same(tmp_path, monkeypatch):
    """Both ways write the same bytes into the weights, and nothing else."""
    list(wproj.project(SAMPLE, tmp_path / "patched.keras", RULE))
    monkeypatch.setattr(keras_archive, "stored_member", lambda *_: None)
    list(wproj.project(SAMPLE, tmp_path / "packed.keras", RULE))

    assert members(tmp_path / "patched.keras") == members(tmp_path / "packed.keras")


@pytest.mark.parametrize("verb", ["project", "audit"])
def test_weights_with_another_checksum_are_refused(tmp_path, verb):
    """A flipped bit among the values, which HDF5 itself does not notice."""
    (entry,) = wproj.select_any(["layers/dense/vars/0"], wproj.open_checkpoint(SAMPLE))
    data = bytearray(SAMPLE.read_bytes())
    data[entry.extent.offset + 5] ^= 1
    path, target = tmp_path / "flipped.keras", tmp_path / "out.keras"
    path.write_bytes(data)

    with pytest.raises(FileError, match="its checksum is another"):
        list(wproj.project(path, target, RULE) if verb == "project" else wproj.audit(path))

    assert [p.name for p in tmp_path.iterdir()] == ["flipped.keras"]


@pytest.mark.parametrize("field", ["name length", "extra length"])
def test_weights_that_overlap_other_members_are_not_patched_in_place(tmp_path, field):
    """A header that lies of where the bytes are, so that a patch would hit another member."""
    with zipfile.ZipFile(SAMPLE) as archive:
        header = archive.getinfo(WEIGHTS).header_offset
    data = bytearray(SAMPLE.read_bytes())
    at = header + (26 if field == "name length" else 28)
    data[at : at + 2] = (60_000).to_bytes(2, "little")
    path = tmp_path / "lying.keras"
    path.write_bytes(data)

    with pytest.raises(FileError):
        list(wproj.project(path, tmp_path / "out.keras", RULE))

    assert [p.name for p in tmp_path.iterdir()] == ["lying.keras"]


def test_chunked_weights_in_an_archive_are_still_projected(tmp_path):
    """HDF5 has to fetch them, so they are unpacked."""

    def chunked(content):
        inside = tmp_path / "inside.h5"
        inside.write_bytes(content[-1][1])
        with h5py.File(inside, "r+") as file:
            values = file["layers/dense/vars/0"][()]
            del file["layers/dense/vars/0"]
            file.create_dataset(
                "layers/dense/vars/0", data=values, chunks=(16, 16), compression="gzip"
            )
        return [*content[:-1], (content[-1][0], inside.read_bytes())]

    source, target = rewritten(tmp_path, chunked), tmp_path / "out.keras"

    list(wproj.project(source, target, RULE))

    kernel = weights(target, tmp_path)["layers/dense/vars/0"]
    expected = MaxNorm(1.5, axis=0)(weights(source, tmp_path)["layers/dense/vars/0"])
    np.testing.assert_array_equal(kernel, expected)
