"""Reports to files: whole or not at all, and never over anything but an older report."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

import wproj
from wproj_cli.options import FORMATS, ReportFormat

Reports = list[tuple[ReportFormat, Path]]


def parse_reports(reports: Sequence[str] | None, involved: Sequence[str]) -> Reports:
    """The formats and paths of `--report json=PATH`.

    Raises:
        RequestError: A text is not of this form, two name one path, or one names a file of
            `involved`.
    """
    parsed: Reports = []
    for text in reports or ():
        name, _, path = text.partition("=")
        known = next((fmt for fmt in FORMATS if fmt == name), None)
        if known is None or not path:
            problem = f"--report takes FMT=PATH with FMT one of {', '.join(FORMATS)}, not {text!r}"
            raise wproj.RequestError(problem)
        if any(_same(path, other) for other in involved):
            raise wproj.RequestError(f"--report {text} would replace a checkpoint")
        if any(_same(path, str(other)) for _, other in parsed):
            raise wproj.RequestError(f"two reports go to {path}")
        parsed.append((known, Path(path)))
    return parsed


def write_report(path: Path, text: str) -> None:
    """Writes a report file whole or not at all.

    Raises:
        OutputError: The system refuses, or there is something else than a regular file.
    """
    beside = path.parent / f".{secrets.token_hex(8)}.wproj-tmp"
    try:
        if path.is_dir() or not path.name:
            raise OSError(0, "is a directory")
        if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            raise OSError(0, "is not a regular file")
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(path)
    except OSError as error:
        raise wproj.OutputError(f"could not write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _same(path: str, other: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return os.path.samefile(path, other)  # noqa: PTH121 # texts, as they were given
    return os.path.abspath(path) == os.path.abspath(other)  # noqa: PTH100 # as above
