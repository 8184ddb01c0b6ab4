"""What a command has to say: results to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

import wproj
from wproj_cli.colors import Color, is_wanted, paint
from wproj_cli.options import ReportFormat
from wproj_cli.progress import showing
from wproj_cli.render import pieces
from wproj_cli.render.columns import ASCII_SPARKS, SPARKS
from wproj_cli.render.sentences import describe
from wproj_cli.reports import parse_reports, write_report

_PART = 1 << 16


class PipeClosedError(Exception):
    """Nobody reads standard output any more; not a fault."""

    def __init__(self, exit_code: int = 141) -> None:
        super().__init__("standard output is closed")
        self.exit_code = exit_code


def emit(text: Iterable[str]) -> None:
    """Writes a text to standard output, piece by piece.

    Raises:
        PipeClosedError: Its reader has gone.
        OutputError: It cannot be written, for example because a disk is full.
    """
    if sys.stdout is None:  # Closed before the program began: nobody wants to hear.
        return
    try:
        for part in _parts(text):
            sys.stdout.write(_encodable(part, sys.stdout.encoding))
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise PipeClosedError from error
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise wproj.OutputError(f"could not write the report: {error.strerror}") from error


def _parts(text: Iterable[str]) -> Iterator[str]:
    """The text in parts of `_PART` characters or a little more, as each may be a system call."""
    part: list[str] = []
    length = 0
    for piece in text:
        part.append(piece)
        length += len(piece)
        if length >= _PART:
            yield "".join(part)
            part, length = [], 0
    yield "".join(part)


def _encodable(text: str, encoding: str) -> str:
    """The text, its sparklines and dots in ASCII where the encoding does not have them."""
    for glyphs, plain in ((SPARKS, ASCII_SPARKS), ("\u00b7", "|")):
        try:
            glyphs.encode(encoding)
        except (UnicodeEncodeError, LookupError):
            text = text.translate(str.maketrans(glyphs, plain))
    return text


def _speak_utf8() -> None:
    """What programs read is UTF-8 with plain newlines, whatever people here read."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None and not sys.stdout.isatty():
        reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")


def tell(text: str) -> None:
    """Writes a line to standard error, if anybody listens."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{_encodable(text, sys.stderr.encoding)}\n")
        sys.stderr.flush()


def complain(error: wproj.WprojError, level: str = "error") -> None:
    """Says what is wrong, and what to do."""
    tell(f"{level}: {error}")
    if error.hint:
        tell(f"hint: {error.hint}")


class Outcome:
    """Collects what a command finds, file by file, and reports it at the end."""

    def __init__(
        self,
        command: str,
        fmt: ReportFormat,
        reports: list[str] | None,
        involved: Sequence[str | None],
        numerics: str | None = None,
        *,
        quiet: bool = False,
        verbose: bool = False,
        color: Color = "never",
    ) -> None:
        if quiet and verbose:
            raise wproj.RequestError("-q and -v exclude each other")
        self._command = command
        self._format = fmt
        self._reports = parse_reports(reports, [path for path in involved if path])
        self._numerics = numerics
        self._files: list[wproj.FileReport] = []
        self._diagnostics: list[wproj.Diagnostic] = []
        self._quiet = quiet
        self._verbose = verbose
        self._color = color
        self.exit_code = 0
        self.recipe: wproj.Recipe | None = None

    @property
    def files(self) -> list[wproj.FileReport]:
        """The files that were worked through so far."""
        return list(self._files)

    def mention(self, text: str) -> None:
        """Says on standard error what is about to happen, unless that is not wanted."""
        if not self._quiet:
            tell(text)

    def note(self, text: str) -> None:
        """Says on standard error what only those want to know who ask for more."""
        if self._verbose:
            tell(f"note: {text}")

    def follow(
        self, job: Callable[[wproj.Progress], Iterator[wproj.TensorReport]], total: int
    ) -> Iterator[wproj.TensorReport]:
        """Passes the reports of a job on `total` bytes on; shows how far it is on standard error.

        The job is given what it has to tell of its progress.
        """
        with contextlib.nullcontext(wproj.ignore) if self._quiet else showing(total) as progress:
            for shard, reports in groupby(job(progress), lambda report: report.file):
                count = size = 0
                for report in reports:
                    self.detail([report])
                    count, size = count + 1, size + report.bytes
                    yield report
                if shard is not None:
                    told = f"done, {wproj.plural(count, 'tensor')}, {size} bytes"
                    self.note(f"{wproj.printable(shard)}: {told}")

    def detail(self, tensors: Iterable[wproj.TensorReport]) -> None:
        """Tells of tensors in a line each, if that is wanted."""
        for tensor in tensors if self._verbose else ():
            self.note(f"{wproj.printable(tensor.name)}: {describe(tensor, self._command)}")

    def add(self, file: wproj.FileReport) -> None:
        """A file that was worked through."""
        self._files.append(file)

    def found(self) -> None:
        """There are findings."""
        self.exit_code = max(self.exit_code, 1)

    @contextlib.contextmanager
    def attempt(self, file: str | None = None) -> Iterator[None]:
        """Takes what goes wrong within for a fault of `file`, or of the request as a whole."""
        try:
            yield
        except wproj.WprojError as error:
            self.failed(error, file)

    def failed(self, error: wproj.WprojError, file: str | None) -> None:
        """A file that could not be worked through; the others still can."""
        complain(error)
        self._diagnose("error", error, file)
        self.exit_code = max(self.exit_code, 2 if isinstance(error, wproj.RequestError) else 3)

    def warn(self, warning: wproj.WprojError, file: str) -> None:
        """Something odd that does not stand in the way."""
        if not self._quiet:
            complain(warning, "warning")
        self._diagnose("warning", warning, file)

    def opened(self, checkpoint: wproj.Checkpoint) -> None:
        """Passes on what a reader of this checkpoint should be warned of."""
        for note in checkpoint.notes:
            path = str(checkpoint.path)
            self.warn(wproj.WprojError(wproj.printable(f"{path}: {note}")), path)

    def _diagnose(self, level: str, problem: wproj.WprojError, file: str | None) -> None:
        self._diagnostics.append(
            wproj.Diagnostic(
                level="error" if level == "error" else "warning",
                message=wproj.storable(str(problem)),
                hint=None if problem.hint is None else wproj.storable(problem.hint),
                file=None if file is None else wproj.storable(file),
            )
        )

    def finish(self) -> int:
        """Writes the reports; returns the exit code.

        Raises:
            PipeClosedError: Nobody reads standard output any more.
            OutputError: A report cannot be written.
        """
        report = wproj.make_report(
            self._command,
            self._files,
            self._diagnostics,
            self.exit_code,
            self._numerics,
            self.recipe,
        )
        for fmt, path in self._reports:
            write_report(path, pieces(report, fmt))
        if not (self._quiet and self._format == "text" and self.exit_code == 0):
            self._print(pieces(report, self._format))
        return self.exit_code

    def _print(self, text: Iterable[str]) -> None:
        if self._format != "text":
            _speak_utf8()
        elif is_wanted(self._color):
            text = map(paint, text)
        emit(text)

    def conclude(self) -> int:
        """The same; if nobody reads any more, the work and its verdict count all the same."""
        try:
            return self.finish()
        except PipeClosedError as closed:
            raise PipeClosedError(self.exit_code) from closed
