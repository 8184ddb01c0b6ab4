"""Reports to files: whole or not at all, and never over anything but an older report.

GitHub's summary of a job, which other steps write to as well, is appended to.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import wproj
from wproj_cli.options import FORMATS, FileFormat

Reports = list[tuple[FileFormat, Path]]


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


def write_report(path: Path, pieces: Iterable[str]) -> None:
    """Writes the pieces of a report file whole or not at all; to the summary of a job, at its end.

    Raises:
        OutputError: The system refuses, or there is something else than a regular file.
    """
    beside = path.parent / f".{secrets.token_hex(8)}.wproj-tmp"
    try:
        if path.is_dir() or not path.name:
            raise OSError(0, "is a directory")
        if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            raise OSError(0, "is not a regular file")
        if _is_summary(path):
            _append(path, "".join(pieces))
            return
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces)
        beside.replace(path)
    except OSError as error:
        raise wproj.OutputError(f"could not write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _is_summary(path: Path) -> bool:
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    return bool(summary) and _same(str(path), str(summary))


def _append(path: Path, text: str) -> None:
    """Adds a text of its own to a file, in one write: after an empty line, if there is any."""
    with path.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2))
        tail = file.read()
        gap = b"" if not size else b"\n\n"[len(tail) - len(tail.rstrip(b"\n")) :]
        file.write(gap + text.encode())


def _same(path: str, other: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return os.path.samefile(path, other)  # noqa: PTH121 # texts, as they were given
    return os.path.abspath(path) == os.path.abspath(other)  # noqa: PTH100 # as above
