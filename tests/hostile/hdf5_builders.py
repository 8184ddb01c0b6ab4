"""Functions that write hostile HDF5 files below 10 MB: with h5py, and patched afterwards.

Each takes the path of the file, and that of a file outside which nobody is to touch.
"""

import os
import re
import struct
import zlib

import h5py
import numpy as np

W = np.full((4, 3), 5, np.float32)
GIB = 2**30


def with_weights(path, **how):
    """An open HDF5 file that holds `w` already."""
    file = h5py.File(path, "w", **how)
    file["w"] = W
    return file


def patch(path, pattern, new):
    """Puts `new` over the first group of the one place that matches the pattern."""
    raw = path.read_bytes()
    (place,) = re.finditer(pattern, raw, re.DOTALL)
    start, stop = place.span(1)
    assert stop - start == len(new)
    path.write_bytes(raw[:start] + new + raw[stop:])


def zeros(nbytes):
    """Zeros packed by zlib a thousandfold, in no time: one packed piece again and again."""
    piece = 2**22
    press = zlib.compressobj(9, wbits=-15)
    packed = press.compress(bytes(piece)) + press.flush(zlib.Z_FULL_FLUSH)
    checksum = struct.pack(">HH", nbytes % 65521, 1)
    return b"\x78\xda" + packed * (nbytes // piece) + press.flush() + checksum


# Links


def soft_link(path, _sentinel):
    """A link by name, to nothing."""
    with with_weights(path) as file:
        file["link"] = h5py.SoftLink("/missing")


def external_link(path, sentinel):
    """A link into another file."""
    with with_weights(path) as file:
        file["link"] = h5py.ExternalLink(os.fspath(sentinel), "/secret")


def external_link_to_a_pipe(path, _sentinel):
    """A link into something that blocks whoever opens it."""
    os.mkfifo(path.with_name("pipe"))
    with with_weights(path) as file:
        file["link"] = h5py.ExternalLink("pipe", "/secret")


def user_defined_link(path, sentinel):
    """A link of a class that nobody registered: 65 where an external one has 64."""
    with with_weights(path) as file:
        file["link"] = h5py.ExternalLink(os.fspath(sentinel), "/secret")
    patch(path, rb"(\x40)\x04link", b"\x41")


# Values elsewhere


def external_storage(path, sentinel):
    """Values that are the bytes of another file."""
    with with_weights(path) as file:
        file.create_dataset("stolen", (16,), "f4", external=[(os.fspath(sentinel), 0, 64)])


def external_storage_in_a_pipe(path, _sentinel):
    """Values that are what comes out of something that blocks."""
    os.mkfifo(path.with_name("pipe"))
    with with_weights(path) as file:
        file.create_dataset("stolen", (16,), "f4", external=[("pipe", 0, 64)])


def virtual(path, sentinel):
    """Values that are another file's."""
    layout = h5py.VirtualLayout((16,), "f4")
    layout[:] = h5py.VirtualSource(os.fspath(sentinel), "secret", shape=(16,))
    with with_weights(path) as file:
        file.create_virtual_dataset("stolen", layout)


def virtual_without_end(path, sentinel):
    """Values that are another file's, which HDF5 opens to tell how many there are."""
    layout = h5py.VirtualLayout((16,), "f4", maxshape=(None,))
    source = h5py.VirtualSource(os.fspath(sentinel), "secret", shape=(16,), maxshape=(None,))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    with with_weights(path) as file:
        file.create_virtual_dataset("stolen", layout)


def virtual_in_a_pipe(path, _sentinel):
    """The same of something that blocks."""
    os.mkfifo(path.with_name("pipe"))
    virtual_without_end(path, "pipe")


# Shapes and sizes


def never_written(path, _sentinel):
    """A tebibyte of which nothing is stored."""
    with with_weights(path) as file:
        file.create_dataset("bomb", (2**38,), "f4")


def never_written_chunks(path, _sentinel):
    """The same in chunks, with a fill value."""
    with with_weights(path) as file:
        file.create_dataset("bomb", (2**38,), "f4", chunks=(2**20,), fillvalue=3)


def many_just_below_a_gibibyte(path, _sentinel):
    """Each of them would pass a limit for one."""
    with with_weights(path) as file:
        for number in range(64):
            file.create_dataset(f"bomb{number}", (2**28 - 1,), "f4")


def many_of_a_mebibyte(path, _sentinel):
    """Small ones, which are too much together."""
    with with_weights(path) as file:
        for number in range(300):
            file.create_dataset(f"bomb{number}", (2**18,), "f4")


def deflated_in_one_chunk(path, _sentinel):
    """A gibibyte that has to be in memory as a whole."""
    with with_weights(path) as file:
        made = file.create_dataset("bomb", (GIB // 4,), "f4", chunks=(GIB // 4,), compression=9)
        made.id.write_direct_chunk((0,), zeros(GIB))


def deflated_in_many_chunks(path, _sentinel):
    """Eight gibibytes, four mebibytes at a time."""
    packed = zeros(2**22)
    with with_weights(path) as file:
        bomb = file.create_dataset("bomb", (2 * GIB,), "f4", chunks=(2**20,), compression=9)
        for chunk in range(2000):
            bomb.id.write_direct_chunk((chunk * 2**20,), packed)


def a_chunk_beyond_its_dataset(path, _sentinel):
    """One entry in a chunk of three gibibytes."""
    with with_weights(path) as file:
        how = {"chunks": (3 * GIB // 4,), "maxshape": (None,), "compression": 9}
        made = file.create_dataset("bomb", (1,), "f4", **how)
        made.id.write_direct_chunk((0,), zeros(3 * GIB))


def a_chunk_that_inflates_too_far(path, _sentinel):
    """A chunk of 48 kB that is a quarter of a gibibyte of zeros."""
    with h5py.File(path, "w") as file:
        bomb = file.create_dataset("w", (4, 3000), "f4", chunks=(4, 3000), compression=9)
        bomb.id.write_direct_chunk((0, 0), zeros(2**25))


def tensors_in_one_place(path, _sentinel):
    """Two tensors whose values are the same bytes: the second has the address of the first."""
    with h5py.File(path, "w") as file:
        places = []
        for name in ("v", "w"):
            file[name] = W
            file.flush()
            places.append(file[name].id.get_offset())
    one, two = (re.escape(struct.pack("<QQ", place, W.nbytes)) for place in places)
    patch(path, b"(" + two + b")", struct.pack("<QQ", places[0], W.nbytes))
    assert re.search(one, path.read_bytes())


def values_behind_the_end(path, _sentinel):
    """A tensor whose values begin where the file ends."""
    with h5py.File(path, "w") as file:
        file["w"] = W
        file.flush()
        place = struct.pack("<QQ", file["w"].id.get_offset(), W.nbytes)
    patch(path, b"(" + re.escape(place) + b")", struct.pack("<QQ", 2**40, W.nbytes))


# Structure


def deep_groups(path, _sentinel):
    """Three thousand groups in each other."""
    with with_weights(path) as file:
        group = file
        for _ in range(3000):
            group = group.create_group("g")
        group["w"] = W


def circles(path, _sentinel):
    """Groups that hold themselves and each other."""
    with with_weights(path) as file:
        file["a/b/a"] = file["/"]
        file["a/self"] = file["a"]
        file["c"] = file["a/b"]


def doubling_groups(path, _sentinel):
    """Thirty groups that each have two names in the one above: 2**30 paths to one dataset."""
    with with_weights(path) as file:
        group = file
        for _ in range(30):
            below = group.create_group("a")
            group["b"] = below
            group = below
        group["v"] = W


def many_names_of_a_group(path, _sentinel):
    """Thousands of names of a group that holds hundreds of tensors: a million names."""
    with with_weights(path, libver="latest") as file:
        group = file.create_group("g")
        for number in range(400):
            group[f"v{number}"] = np.float32(number)
        for number in range(3000):
            file[f"h{number}"] = group


def long_paths(path, _sentinel):
    """Names of 60,000 characters in each other, with tensors in every group."""
    with with_weights(path) as file:
        group = file
        for _ in range(40):
            group = group.create_group("n" * 60_000)
            for number in range(8):
                group[str(number)] = np.float32(1)


def long_number(path, _sentinel):
    """A name of 9,000 digits, which Python does not take for a number."""
    with with_weights(path) as file:
        file["1" * 9000] = W


# Types


def unusual_types(path, _sentinel):
    """What is not numbers, and what NumPy has no name for."""
    with with_weights(path) as file:
        file["null"] = h5py.Empty("f4")
        file["text"] = "text"
        file["compound"] = np.zeros(2, [("a", "f4")])
        file.create_dataset("reference", data=[file.ref], dtype=h5py.ref_dtype)
        file["opaque"] = np.zeros(3, "V2")
        file.create_dataset("array", (2,), np.dtype(("f4", (3,))))
        kinds = {b"bits": h5py.h5t.STD_B32LE, b"time": h5py.h5t.UNIX_D32LE}
        for name, kind in kinds.items():
            h5py.h5d.create(file.id, name, kind, h5py.h5s.create_simple((3,)))


def short_floats(path, _sentinel):
    """Floats with 10 bits of their fraction, by the n-bit filter, which cuts what is written."""
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(18, 10, 8, 0, 10)
    kind.set_precision(19)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((4, 3))
    plist.set_filter(h5py.h5z.FILTER_NBIT, 0, ())
    with with_weights(path) as file:
        space = h5py.h5s.create_simple((4, 3))
        h5py.h5d.create(file.id, b"short", kind, space, plist).write(h5py.h5s.ALL, h5py.h5s.ALL, W)


def scale_offset(path, _sentinel):
    """Floats that are stored with two decimals."""
    with with_weights(path) as file:
        file.create_dataset("short", data=W / 3, chunks=(2, 2), scaleoffset=2)


def dataset_without_a_shape(path, _sentinel):
    """A dataset that HDF5 takes for a type, as a bit of its dataspace is turned."""
    with with_weights(path) as file:
        file["lost"] = np.ones((2, 7), np.float32)
    patch(path, rb"\x01(\x00).{14}\x02\0{7}\x07\0{7}", b"\x80")


def one_name_twice(path, _sentinel):
    """Two tensors of one name, as a letter of the first is damaged: HDF5 finds one of them."""
    with with_weights(path) as file:
        file["lost"] = W
        file["most"] = W
    patch(path, rb"(lost)", b"most")


def missing_filter(path, _sentinel):
    """Values that were packed with a filter of a plugin: Zstandard."""
    _with_filter(path, "w", 32015)


def lossy_filter(path, _sentinel):
    """The same with a filter that may lose something: ZFP."""
    _with_filter(path, "short", 32013)


def unknown_filter(path, _sentinel):
    """The same with a number that nobody has registered."""
    _with_filter(path, "short", 32766)


def _with_filter(path, name, code):
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=W, chunks=(4, 3), compression="lzf")
        if name != "w":
            file["w"] = W
    patch(path, rb"(\x00\x7d)\x08\x00\x01\x00\x03\x00lzf", struct.pack("<H", code))


# Attributes


def text_of_four_gibibytes(path, _sentinel):
    """A config whose length, which is not beside its text, is damaged."""
    with with_weights(path) as file:
        file.attrs["model_config"] = "#" * 77
    patch(path, rb"(\x4d\0\0\0)(?!\0\0\0\0)", b"\xff\xff\xff\xff")


def deep_config(path, _sentinel):
    """Brackets in brackets."""
    _with_config(path, '{"class_name": "Sequential", "config": ' + "[" * 10**6)


def nested_layers(path, _sentinel):
    """Models in models beyond Python's recursion."""
    text = '{"class_name": "Sequential", "config": {"name": "s", "layers": ['
    _with_config(path, text * 5000 + "]}}" * 5000)


def wide_config(path, _sentinel):
    """Millions of empty lists."""
    lists = "[]," * (3 * 10**6)
    _with_config(path, f'{{"class_name": "Model", "config": [{lists}[]]}}')


def slow_names(path, _sentinel):
    """Numbers behind names, as TensorFlow counts scopes, without end."""
    name = "_1" * 30_000 + "x"
    layer = f'{{"class_name": "Dense", "config": {{"name": "{name}"}}}}'
    _with_config(path, f'{{"class_name": "Model", "config": {{"layers": [{layer}]}}}}')
    with h5py.File(path, "r+") as file:
        file[f"{name}/{name}/kernel:0"] = W
        file[f"{name}/{name}_/kernel:0"] = W


def _with_config(path, text):
    with with_weights(path) as file:
        file.attrs["layer_names"] = ["w"]
        file.attrs["model_config"] = text
