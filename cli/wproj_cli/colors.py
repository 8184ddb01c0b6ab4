"""Color for the verdicts of a text report: on a terminal, or where it is asked for."""

from __future__ import annotations

import os
import re
import sys
from typing import Literal

Color = Literal["auto", "always", "never"]

_CODES = {"FAIL": "\x1b[31m", "ok": "\x1b[32m"}
_PLAIN = "\x1b[0m"
_VERDICT = re.compile(r"^  (FAIL|ok)(?=  )", re.MULTILINE)


def is_wanted(choice: Color) -> bool:
    """Whether standard output is to be colored: by the option, the environment, the terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    force = os.environ.get("FORCE_COLOR")
    if force:
        return force != "0"
    return sys.stdout is not None and sys.stdout.isatty() and _obeys()


def paint(text: str) -> str:
    r"""The text, the verdicts at the beginning of its lines in red or green.

    >>> paint("  ok    1  w\n")
    '  \x1b[32mok\x1b[0m    1  w\n'
    """
    return _VERDICT.sub(lambda found: f"  {_CODES[found[1]]}{found[1]}{_PLAIN}", text)


def _obeys() -> bool:
    """Whether the terminal takes escape sequences for color; old consoles of Windows do not."""
    return os.environ.get("TERM") != "dumb" and (os.name != "nt" or "WT_SESSION" in os.environ)
