"""The one error boundary, and the fast path for `--version`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

import wproj

# Exit codes, as documented in docs/cli.md.
REQUEST, INPUT, INTERRUPTED = 2, 3, 130
TERMINATING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
CAUGHT = (signal.SIGINT, *TERMINATING)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words in (["--version"], ["-V"]):
        print(f"wproj {wproj.__version__}")  # noqa: T201 # nothing else is imported yet
        return 0
    debug = "--debug" in words
    try:
        _listen()
        _let_threads_sleep()
        _occupy_standard_streams()
        _never_fail_on_glyphs()
        return _guarded([word for word in words if word != "--debug"], debug=debug)
    except KeyboardInterrupt:  # Where Typer does not see it: above all while it is imported.
        if sys.stderr is not None:
            print("error: interrupted", file=sys.stderr)  # noqa: T201 # nothing is imported yet
        return INTERRUPTED


def _guarded(words: Sequence[str], *, debug: bool) -> int:
    """Runs the command line; whatever it raises becomes a sentence and an exit code."""
    try:
        return _run(words)
    except Exception as error:  # noqa: BLE001 # the boundary: no traceback reaches a user
        _raise_stopped(error)
        if debug:
            import traceback

            traceback.print_exc()
        return _explain(error)


def _run(words: Sequence[str]) -> int:
    from wproj_cli.app import app
    from wproj_cli.output import PipeClosedError, tell

    try:
        code = app(words, standalone_mode=False, windows_expand_args=False)
    except PipeClosedError as closed:
        # Python flushes standard output once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return closed.exit_code
    if code == INTERRUPTED:  # Typer says nothing.
        tell("error: interrupted")
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> int:
    """Says in a sentence what went wrong; returns the exit code."""
    from wproj_cli.output import complain, tell

    show = getattr(error, "show", None)
    if show is not None:  # One of Typer's own usage errors, which has no public class.
        if getattr(error, "ctx", None) is None:
            tell("Usage: wproj [OPTIONS] COMMAND [ARGS]...")
        show()
        return REQUEST
    if isinstance(error, wproj.WprojError):
        complain(error)
        return REQUEST if isinstance(error, wproj.RequestError) else INPUT
    problem = wproj.printable(f"{type(error).__name__}: {error}")
    tell(f"error: internal fault: {problem}")
    tell("hint: this is a defect of wproj; --debug shows where it happened")
    return INPUT


def _listen() -> None:
    """Turns signals into exceptions, so that unfinished files are removed.

    Those that are ignored remain so, as `nohup` and scripts ask for.
    """
    _handle(_stop)
    sys.unraisablehook = _repeat


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in CAUGHT:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    """The next one is overheard: an impatient second Ctrl-C must not interrupt the tidying up."""
    if _is_called_by_hdf5(frame):
        _send_soon(number)
        return
    _handle(_overhear)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _overhear(_number: int, _frame: FrameType | None) -> None:
    """A third one counts again, as a rule of the user's own may have swallowed the first."""
    _handle(_stop)


def _repeat(dropped: sys.UnraisableHookArgs) -> None:
    """Sends a signal again that came within a finalizer, where Python drops exceptions."""
    error = dropped.exc_value
    if not isinstance(error, KeyboardInterrupt | SystemExit):
        sys.__unraisablehook__(dropped)
        return
    _handle(_stop)
    _send_soon(
        signal.SIGINT if isinstance(error, KeyboardInterrupt) else int(str(error.code)) - 128
    )


def _send_soon(number: int) -> None:
    """Sends a signal to this process when what drops exceptions may have ended."""
    import threading

    threading.Timer(0.01, signal.raise_signal, [number]).start()


def _is_called_by_hdf5(frame: FrameType | None) -> bool:
    """Whether this is where HDF5 reads from an archive.

    h5py and `io` drop an exception there, and tell of a damaged file.
    """
    while frame is not None:
        module, name = frame.f_globals.get("__name__"), frame.f_code.co_qualname
        if module == "wproj.formats.zip_member" and name.startswith("Section."):
            return True
        frame = frame.f_back
    return False


def _raise_stopped(error: BaseException | None) -> None:
    """Goes on with a signal that Python has told as an error in the making of a class."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise error
        error = error.__cause__


def _let_threads_sleep() -> None:
    """Has NumPy's BLAS, of which only a user's own constraint makes use, not wait in a loop.

    Its threads would keep the other processors busy for the first tenth of a second: OpenBLAS lets
    them sleep after 2**28 cycles, or what this says, at least 2**4 (its `blas_server.c`).
    """
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")


def _occupy_standard_streams() -> None:
    """Opens what was closed, lest a checkpoint becomes standard error and is written to."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _never_fail_on_glyphs() -> None:
    """Writes what the terminal's encoding does not have as escapes."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
