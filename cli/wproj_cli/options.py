"""Options that several verbs share, and what their texts mean."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from typing import Annotated, Literal

import typer

import wproj
from wproj_cli.colors import Color
from wproj_cli.completion import tensor_names

ReportFormat = Literal["text", "json", "jsonl", "csv", "md", "junit", "github", "gitlab"]
FileFormat = ReportFormat | Literal["html"]
FORMATS: tuple[FileFormat, ...] = (
    "text",
    "json",
    "jsonl",
    "csv",
    "md",
    "junit",
    "github",
    "gitlab",
    "html",
)

Files = Annotated[
    list[str], typer.Argument(metavar="FILE", help="Checkpoints, recognized by their content.")
]
Match = Annotated[
    list[str] | None,
    typer.Option(
        "-m",
        "--match",
        metavar="GLOB",
        help="Tensors by name or path; repeat for more.",
        autocompletion=tensor_names,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "-x",
        "--exclude",
        metavar="GLOB",
        help="Tensors to leave out; repeat for more.",
        autocompletion=tensor_names,
    ),
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
Specs = Annotated[
    list[str] | None,
    typer.Option(
        "-c",
        "--constraint",
        metavar="SPEC",
        help="max_norm=2 | non_neg | unit_norm | min_max_norm=0.5..2 | file.py:Class; "
        "join with '+'.",
    ),
]
RuleTexts = Annotated[
    list[str] | None,
    typer.Option(
        "-r",
        "--rule",
        metavar="RULE",
        help="'GLOB SPEC [axis=AXES] [key=value]...'; repeat for more, the first match wins.",
    ),
]
RecipePath = Annotated[
    str | None,
    typer.Option("--recipe", metavar="FILE", help="Rules from a TOML file; '-' for stdin."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change the recipe: rule.ID.max_value=3; repeat."
    ),
]
AllowUnmatched = Annotated[
    bool, typer.Option("--allow-unmatched", help="Warn of rules that match nothing, go on.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors and findings.")]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Tell of every tensor, on standard error.")
]
Colors = Annotated[
    Color,
    typer.Option("--color", help="Color the verdicts: on a terminal, unless NO_COLOR is set."),
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
NoHdf5 = Annotated[
    bool, typer.Option("--no-hdf5", help="Refuse HDF5, in archives and folders, too.")
]
Format = Annotated[
    ReportFormat,
    typer.Option("-f", "--format", envvar="WPROJ_FORMAT", help="Report on standard output."),
]
Reports = Annotated[
    list[str] | None,
    typer.Option("--report", metavar="FMT=PATH", help="Also write a report; repeat for more."),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", help="Threads that share the work; one a processor."),
]
Memory = Annotated[
    str,
    typer.Option("--memory", metavar="SIZE", help="Take at most this much memory."),
]
_UNITS = {"": 1, "b": 1} | {
    f"{prefix}{unit}": size**power
    for power, prefix in enumerate("kmg", 1)
    for unit, size in (("", 1024), ("ib", 1024), ("b", 1000))
}


def parse_resources(threads: int | None, memory: str) -> wproj.Resources:
    """The resources of --threads and --memory.

    Raises:
        RequestError: The memory is not a size, or one of them is too little.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?) *([a-z]*)", memory.strip().lower())
    if found is None or found[2] not in _UNITS:
        raise wproj.RequestError(f"--memory takes a size like 256MB or 1GiB, not {memory!r}")
    return wproj.Resources(threads, int(float(found[1]) * _UNITS[found[2]]))


def opened(file: str, config: str | None, *, no_hdf5: bool) -> wproj.Checkpoint:
    """The checkpoint; HDF5 is examined by a child process first, or refused.

    Raises:
        InputError: It cannot be read, or is refused.
    """
    return wproj.open_checkpoint(file, config, hdf5="refuse" if no_hdf5 else "examine")


def parse_number(option: str, text: str) -> float:
    """The number that an option is given.

    Raises:
        RequestError: The text is none.
    """
    try:
        return float(text)
    except ValueError as error:
        raise wproj.RequestError(f"{option} takes a number, not {text!r}") from error


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
    """The files; a text that is no file but a pattern stands for the files that it matches.

    So it is also where nobody else expands patterns: on Windows, or in quotes.
    """
    return [path for file in files for path in _matching(file)]


def _matching(file: str) -> list[str]:
    if os.path.lexists(file) or not glob.has_magic(file):
        return [file]
    return sorted(glob.glob(file, recursive=True)) or [file]  # noqa: PTH207 # keeps the text as given
