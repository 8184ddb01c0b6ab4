"""`wproj ls`."""

from __future__ import annotations

import wproj
from wproj_cli.options import Config, Files, Format, Match, NoHdf5, Reports, expand, opened
from wproj_cli.output import Outcome


def ls(
    files: Files,
    match: Match = None,
    config: Config = None,
    no_hdf5: NoHdf5 = False,
    fmt: Format = "text",
    report: Reports = None,
) -> int:
    """List the tensors of checkpoints: name, path, shape, dtype, bytes. Reads no values.

    For Keras files with a config, also the constraints that the layers declare.

    \b
    Examples:
      wproj ls sample_weights/digits_cnn.keras
      wproj ls sample_weights/digits_cnn.weights.h5 -m '*conv2d*'
      wproj ls sample_weights/digits_mlp_pt.safetensors -f json
    """  # noqa: D301 # \b is the character that keeps the lines apart
    outcome = Outcome("ls", fmt, report, [*files, config])
    for file in expand(files):
        try:
            checkpoint = opened(file, config, no_hdf5=no_hdf5)
            outcome.opened(checkpoint)
            outcome.add(_listing(checkpoint, match or ["*"]))
        except wproj.WprojError as error:
            outcome.failed(error, file)
    return outcome.finish()


def _listing(checkpoint: wproj.Checkpoint, match: list[str]) -> wproj.FileReport:
    entries = wproj.select_any(match, checkpoint)
    tensors = wproj.TensorReports(map(wproj.listed_report, entries))
    return wproj.file_report(checkpoint, checkpoint.layout, None, tensors)
