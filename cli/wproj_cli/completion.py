"""Names of tensors for the shell's completion: those of the checkpoints already on the line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Thread

import typer  # noqa: TC002 # Typer reads the annotation when it runs

_PATIENCE = 2.0
_MOST = 200

# What no shell reads as anything but itself: zsh and bash evaluate what completion tells them, and
# names are from files that anybody may have written.
_HARMLESS = re.compile(r"\w[\w./-]*", re.ASCII)


def tensor_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The names that begin with what is typed, of the checkpoints already on the line.

    Silent whatever happens, and never late: a shell waits for the answer. HDF5 is read at once, for
    this process ends right away, and if a file crashes it, nothing is offered.
    """
    found: list[str] = []
    worker = Thread(target=_collect, args=(_files(ctx), found), daemon=True)
    worker.start()
    worker.join(_PATIENCE)
    return offered(list(found), incomplete)


def offered(names: Iterable[str], incomplete: str, most: int = _MOST) -> list[str]:
    """The names that begin with `incomplete`; where they are too many, the layers that they are in.

    >>> names = ["a/b/kernel", "a/b/bias", "a/c/kernel", "$(rm)"]
    >>> offered(names, "a/b")
    ['a/b/kernel', 'a/b/bias']
    >>> offered(names, "", most=2)
    ['a/b', 'a/c']
    """
    fitting = (name for name in names if name.startswith(incomplete) and _HARMLESS.fullmatch(name))
    shown = list(dict.fromkeys(fitting))
    start = len(incomplete)
    while len(shown) > most:
        layers = list(dict.fromkeys(_layer(name, start) for name in shown))
        if len(layers) > 1:
            return layers[:most]
        start = len(layers[0]) + 1
    return shown


def _layer(name: str, start: int) -> str:
    """The name up to the first separator from `start`."""
    separator = re.compile(r"[./]").search(name, start)
    return name if separator is None else name[: separator.start()]


def _files(ctx: typer.Context) -> list[str]:
    """The positional words: Typer leaves them in `args` while an option has no value yet."""
    words = list(ctx.args)
    for key in ("files", "source"):
        given = ctx.params.get(key) or ()
        words.extend([given] if isinstance(given, str) else given)
    return words


def _collect(files: Sequence[str], found: list[str]) -> None:
    import wproj

    for file in files:
        try:
            entries = wproj.open_checkpoint(Path(file).expanduser()).entries
            found.extend(entry.name for entry in entries)
        except Exception:  # noqa: BLE001, S112 # no complaint may reach the line that is typed
            continue
