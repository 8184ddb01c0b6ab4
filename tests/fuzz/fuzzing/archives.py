""".keras archives: what a zip says of its members, and what is in them."""

import io
import json
import warnings
import zipfile

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from fuzzing import hdf5_files, keras_configs
from fuzzing.damage import scrambled
from fuzzing.rendering import render_listing
from fuzzing.scratch import file_of
from fuzzing.target import Target
from wproj.formats.keras_archive import open_keras_archive

_WEIGHTS, _CONFIG = "model.weights.h5", "config.json"
_NAMES = (
    _WEIGHTS,
    _CONFIG,
    "metadata.json",
    "../a",
    "/a",
    "C:\\a",
    "a/",
    "\u00e9",
    "assets/x" * 40,
)


def _run(data: bytes) -> None:
    render_listing(open_keras_archive(file_of(data, "input.keras")), len(data))


def _zipped(members: list[tuple[str, bytes, int]], comment: bytes = b"") -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")  # Of names that are there twice.
        for name, content, method in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            archive.writestr(info, content)
        archive.comment = comment
    return stream.getvalue()


def _seeds() -> list[bytes]:
    """Archives with and without compression; those of no weights are judged quickly."""
    weights, config = hdf5_files.seeds()[0], keras_configs.CONFIG.seeds()[0]
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    whole = [_zipped([(_CONFIG, config, kind), (_WEIGHTS, weights, kind)]) for kind in kinds]
    return [*whole, _zipped([(_CONFIG, b"{}", 0), (_WEIGHTS, b"not HDF5", 0)])]


@st.composite
def _archives(draw: DrawFn) -> bytes:
    methods = st.sampled_from(
        (
            zipfile.ZIP_STORED,
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
            zipfile.ZIP_BZIP2,
            zipfile.ZIP_LZMA,
        )
    )
    weights = st.one_of(st.sampled_from(hdf5_files.seeds()), st.binary(max_size=64))
    config = st.one_of(keras_configs.CONFIG.inputs, st.just(json.dumps({}).encode()))
    members = [(_CONFIG, draw(config), draw(methods)), (_WEIGHTS, draw(weights), draw(methods))]
    other = st.tuples(st.sampled_from(_NAMES), st.binary(max_size=32), methods)
    others = draw(st.lists(other, max_size=2))
    return _zipped([*members, *others], draw(st.sampled_from((b"", b"PK\x05\x06", b"x" * 300))))


ARCHIVE = Target(
    run=_run,
    seeds=_seeds,
    inputs=scrambled(_archives()),
    words=(
        "PK\\x01\\x02",
        "PK\\x03\\x04",
        "PK\\x05\\x06",
        "PK\\x06\\x06",
        "PK\\x06\\x07",
        _WEIGHTS,
        _CONFIG,
    ),
    guided=50,
    structured=8,
    native="HDF5",
)
