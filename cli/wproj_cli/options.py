"""Options that several verbs share, and what their texts mean."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from typing import Annotated, Literal

import typer

import wproj

ReportFormat = Literal["text", "json"]
FORMATS: tuple[ReportFormat, ...] = ("text", "json")

Files = Annotated[
    list[str], typer.Argument(metavar="FILE", help="Checkpoints, recognized by their content.")
]
Match = Annotated[
    list[str] | None,
    typer.Option("-m", "--match", metavar="GLOB", help="Tensors by name or path; repeat for more."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("-x", "--exclude", metavar="GLOB", help="Tensors to leave out; repeat for more."),
]
Axis = Annotated[
    str | None,
    typer.Option(
        "-a",
        "--axis",
        metavar="AXES",
        help="Axes that norms sum over: 0 | -1 | 0,1,2 | all | in (all but the output's).",
    ),
]
Layout = Annotated[
    Literal["keras", "torch"] | None,
    typer.Option("--layout", help="Where kernels have their output axis: last or first."),
]
Declared = Annotated[
    bool, typer.Option("--declared", help="The constraints that the model's layers declare.")
]
Custom = Annotated[
    list[str] | None,
    typer.Option(
        "--custom",
        metavar="NAME=REF",
        help="A declared constraint that is not one of Keras: Name=file.py:Class; repeat for more.",
    ),
]
Config = Annotated[
    str | None,
    typer.Option("--config", metavar="JSON", help="The model's config, for bare Keras weights."),
]
Format = Annotated[
    ReportFormat,
    typer.Option("-f", "--format", envvar="WPROJ_FORMAT", help="Report on standard output."),
]
Reports = Annotated[
    list[str] | None,
    typer.Option("--report", metavar="FMT=PATH", help="Also write a report; repeat for more."),
]


def parse_custom(custom: Sequence[str] | None) -> dict[str, type[wproj.Constraint]]:
    """The classes of `--custom Name=file.py:Class`, by name.

    Raises:
        RequestError: A text is not of this form, or names no constraint.
    """
    classes = {}
    for text in custom or ():
        name, _, reference = text.partition("=")
        if not name or ":" not in reference:
            raise wproj.RequestError(f"--custom takes Name=file.py:Class, not {text!r}")
        classes[name] = wproj.load_constraint(reference)
    return classes


def expand(files: Sequence[str]) -> list[str]:
    """The files; where the shell leaves globs to the program, as on Windows, those are expanded."""
    if os.name != "nt":
        return list(files)
    return [path for file in files for path in (sorted(glob.glob(file)) or [file])]  # noqa: PTH207 # keeps the text as given
