"""Checkpoints of every format to do harm to, the ways to write them, and what may be left after."""

import hashlib
import json
import re
import shutil
import struct
import zipfile

import h5py
import numpy as np

RULE = ("-r", "* max_norm=1 axis=0")
DRAFT = re.compile(r"\.wproj-tmp$")


def matrices(rows, count=2):
    """Matrices whose columns are all outside of the rule."""
    rng = np.random.default_rng(5)
    return {f"w{i}": rng.standard_normal((rows, 40)).astype(np.float32) for i in range(count)}


def write_safetensors(path, tensors):
    """Tensors as a safetensors file."""
    header, data = {}, b""
    for name, w in tensors.items():
        offsets = [len(data), len(data) + w.nbytes]
        header[name] = {"dtype": "F32", "shape": list(w.shape), "data_offsets": offsets}
        data += w.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_hdf5(path, tensors, **how):
    """Tensors as an HDF5 file, each in one piece."""
    with h5py.File(path, "w") as file:
        for name, w in tensors.items():
            file.create_dataset(name, data=w, **how)


def write_gzip(path, tensors):
    """Tensors as an HDF5 file, in compressed chunks."""
    write_hdf5(path, tensors, chunks=(16, 40), compression=1, shuffle=True)


def write_lzf(path, tensors):
    """Tensors in chunks that HDF5 itself packs."""
    write_hdf5(path, tensors, chunks=(16, 40), compression="lzf")


def write_keras(path, tensors, method=zipfile.ZIP_STORED):
    """Tensors as the weights in an archive."""
    inside = path.with_name("inside")
    write_hdf5(inside, {f"layers/{name}/vars/0": w for name, w in tensors.items()})
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": []}}
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.write(inside, "model.weights.h5")
    inside.unlink()


def write_deflated(path, tensors):
    """The same, in an archive that has to be unpacked."""
    write_keras(path, tensors, zipfile.ZIP_DEFLATED)


def write_folder(path, tensors):
    """A shard for each tensor, and a config."""
    path.mkdir()
    for name, w in tensors.items():
        write_safetensors(path / f"{name}.safetensors", {name: w})
    (path / "config.json").write_text("{}")


FORMATS = {
    "safetensors": write_safetensors,
    "hdf5": write_hdf5,
    "gzip": write_gzip,
    "lzf": write_lzf,
    "keras": write_keras,
    "deflated": write_deflated,
    "folder": write_folder,
}
FILE_WAYS = {
    "new": ("-o", "out"),
    "force": ("-o", "out", "--force"),
    "in place": ("--in-place",),
}
FOLDER_WAYS = {
    "new": ("-o", "out"),
    "in place": ("--in-place",),
    "resume": ("-o", "out", "--resume"),
}
CASES = [
    (form, way) for form in FORMATS for way in (FOLDER_WAYS if form == "folder" else FILE_WAYS)
]


def words_of(form, way):
    """The command line, in the folder that has `source`."""
    ways = FOLDER_WAYS if form == "folder" else FILE_WAYS
    return ["project", "source", *RULE, *ways[way], "-q"]


def digests(path):
    """The digest of a file, or of all files in a folder by name, but for drafts; none if absent."""
    if path.is_dir():
        files = [each for each in path.rglob("*") if each.is_file()]
        paths = {each.relative_to(path).as_posix(): each for each in files}
        return {
            name: hashlib.sha256(paths[name].read_bytes()).hexdigest()
            for name in sorted(paths)
            if not any(map(DRAFT.search, name.split("/")))
        }
    return {"": hashlib.sha256(path.read_bytes()).hexdigest()} if path.exists() else {}


def leftovers(place):
    """The drafts and journals in a folder, and in `source` there."""
    return sorted(path.name for path in place.rglob("*") if DRAFT.search(path.name))


class Case:
    """A checkpoint, a way to write it, and what is right before and after; `reset` lays it out."""

    def __init__(self, place, form, way, run, rows=60):
        self.place, self.form, self.way = place, form, way
        self.source, self.target = place / "source", place / "out"
        self.words = words_of(form, way)
        self._template = place.with_name(place.name + "-template")
        self._template.mkdir()
        FORMATS[form](self._template / "source", matrices(rows))
        if way == "force":
            (self._template / "out").write_bytes(b"old")
        self.reset()
        self.original, self.old = digests(self.source), digests(self.target)
        assert run(self.words) == 0
        self.new = digests(self.source if way == "in place" else self.target)
        assert self.new not in ({}, self.original, self.old)
        assert leftovers(place) == []

    def reset(self):
        """Lays out the source anew, and the old target, if there is one."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self._template, self.place)

    def reset_target(self):
        """Removes the target."""
        if self.target.is_dir():
            shutil.rmtree(self.target)
        else:
            self.target.unlink()

    def problems(self):
        """What is wrong with the original, and with the target."""
        found = []
        source, target = digests(self.source), digests(self.target)
        if self.way == "in place":
            # Files of a folder are replaced one after the other, each as a whole.
            whole = source.keys() == self.original.keys() and all(
                source[name] in (self.original[name], self.new[name]) for name in source
            )
            return found if whole else ["original changed"]
        if source != self.original:
            found.append("original changed")
        if target not in (self.old, self.new):
            found.append("broken target")
        return found

    def is_done(self):
        """Whether the result is where it should be, whole."""
        return digests(self.source if self.way == "in place" else self.target) == self.new
