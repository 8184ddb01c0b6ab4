"""`wproj schema`."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

import wproj
from wproj_cli.output import emit

Which = Annotated[Literal["report", "recipe"], typer.Argument(help="Of which documents.")]


def schema(which: Which) -> int:
    """Print the JSON Schema of reports, or of recipes as TOML decodes them.

    \b
    Examples:
      wproj schema recipe
      wproj schema report
    """  # noqa: D301 # \b is the character that keeps the lines apart
    emit([json.dumps(wproj.json_schema(which), indent=2), "\n"])
    return 0
