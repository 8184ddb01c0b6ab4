"""`wproj diff`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

import wproj
from wproj_cli.options import (
    Axis,
    Config,
    Exclude,
    Format,
    Layout,
    Match,
    Memory,
    NoHdf5,
    Quiet,
    Reports,
    Threads,
    Verbose,
    opened,
    parse_number,
    parse_resources,
)
from wproj_cli.output import Outcome

A = Annotated[str, typer.Argument(metavar="A", help="The checkpoint before.")]
B = Annotated[str, typer.Argument(metavar="B", help="The checkpoint after.")]
Relative = Annotated[
    str, typer.Option("--rtol", metavar="NUMBER", help="What entries may differ by, relatively.")
]
Absolute = Annotated[
    str, typer.Option("--atol", metavar="NUMBER", help="What entries may differ by, besides.")
]


def diff(
    a: A,
    b: B,
    match: Match = None,
    exclude: Exclude = None,
    axis: Axis = None,
    layout: Layout = None,
    config: Config = None,
    no_hdf5: NoHdf5 = False,
    rtol: Relative = "0",
    atol: Absolute = "0",
    fmt: Format = "text",
    report: Reports = None,
    threads: Threads = None,
    memory: Memory = "256MB",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Compare two checkpoints, also of different formats: exit 1 if they differ. Writes nothing.

    Tensors belong together by name, else by path. Norms are along the incoming axes where these
    are known, else of whole tensors.

    \b
    Examples:
      wproj diff sample_weights/digits_cnn.keras sample_weights/digits_cnn.h5 --rtol 1e-6
      wproj diff sample_weights/digits_cnn.keras sample_weights/digits_cnn.weights.h5 -f json
    """  # noqa: D301 # \b is the character that keeps the lines apart
    outcome = Outcome("diff", fmt, report, [a, b, config], quiet=quiet, verbose=verbose)
    with outcome.attempt(a):
        resources = parse_resources(threads, memory)
        tolerances = parse_number("--rtol", rtol), parse_number("--atol", atol)
        axes = "auto" if axis is None else wproj.parse_axes(axis)
        one, two = [_open(path, config, outcome, no_hdf5=no_hdf5) for path in (a, b)]
        if one is not None and two is not None:
            job = partial(
                wproj.diff,
                one,
                two,
                axis=axes,
                layout=layout,
                rtol=tolerances[0],
                atol=tolerances[1],
                match=match or (),
                exclude=exclude or (),
                resources=resources,
            )
            tensors = wproj.TensorReports(
                outcome.follow(
                    lambda tell: job(progress=tell), sum(entry.nbytes for entry in one.entries)
                )
            )
            _judge(wproj.file_report(one, layout or one.layout, b, tensors), outcome)
    return outcome.conclude()


def _judge(file: wproj.FileReport, outcome: Outcome) -> None:
    """Adds what was compared, and says what was not, and whether anything differs."""
    outcome.add(file)
    for tensor in file.tensors:
        if tensor.status == "skipped":
            text = f"{wproj.printable(tensor.name)}: not compared: {tensor.reason}"
            outcome.warn(wproj.WprojError(text), file.path)
    if any(tensor.status not in ("unchanged", "skipped") for tensor in file.tensors):
        outcome.found()


def _open(
    path: str, config: str | None, outcome: Outcome, *, no_hdf5: bool
) -> wproj.Checkpoint | None:
    """The checkpoint; with the config, if that is about it."""
    try:
        checkpoint = opened(path, None, no_hdf5=no_hdf5)
        if config is not None and checkpoint.config is None and checkpoint.layout == "keras":
            checkpoint = opened(path, config, no_hdf5=no_hdf5)
    except wproj.WprojError as error:
        outcome.failed(error, path)
        return None
    outcome.opened(checkpoint)
    return checkpoint
