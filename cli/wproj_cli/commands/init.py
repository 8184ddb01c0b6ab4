"""`wproj init`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

import wproj
from wproj_cli.options import Config, NoHdf5, opened
from wproj_cli.output import emit, tell
from wproj_cli.reports import write_report

File = Annotated[
    str | None, typer.Argument(metavar="[FILE]", help="A checkpoint that the recipe is to be for.")
]
Output = Annotated[
    str, typer.Option("-o", "--output", metavar="TOML", help="Write it here; '-' prints it.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing recipe.")]


def init(
    file: File = None,
    output: Output = "wproj.toml",
    force: Force = False,
    config: Config = None,
    no_hdf5: NoHdf5 = False,
) -> int:
    """Write a commented recipe to start from.

    For a checkpoint it lists the tensors and has its declared constraints as rules.

    \b
    Examples:
      wproj init
      wproj init sample_weights/digits_cnn.keras -o -
    """  # noqa: D301 # \b is the character that keeps the lines apart
    checkpoint = None if file is None else opened(file, config, no_hdf5=no_hdf5)
    text = wproj.draft_recipe(checkpoint)
    if output == "-":
        emit([text])
        return 0
    name = wproj.printable(output)
    if os.path.lexists(output) and not force:
        raise wproj.RequestError(f"{name} exists", "--force replaces it; -o - prints it instead")
    if any(path and _same(path, output) for path in (file, config)):
        raise wproj.RequestError(f"{name} is what the recipe is to be for", "-o names another file")
    write_report(Path(output), [text])
    tell(f"wrote {name}; 'wproj explain FILE' says what it takes")
    return 0


def _same(path: str, other: str) -> bool:
    """Whether both are one file, by whatever names."""
    return os.path.exists(other) and os.path.samefile(path, other)  # noqa: PTH110, PTH121 # texts
