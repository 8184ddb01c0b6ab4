"""The engine that is guided by coverage: libFuzzer, through atheris."""

import importlib.util
import sys
from pathlib import Path

from fuzzing.logbook import Logbook
from fuzzing.work import Work

_LONGEST = 4096


def available() -> bool:
    """Whether atheris is installed; it has wheels for Linux on x86-64 alone."""
    return importlib.util.find_spec("atheris") is not None


def fuzz(work: Work) -> None:
    """Fuzzes a target until its logbook has as many executions as are wanted; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["wproj", "wproj_cli"]):
        from fuzzing.judging import limit_memory
        from fuzzing.logbook import execute
        from fuzzing.table import TARGETS

    target, logbook = TARGETS[work.target], Logbook(work.logbook)
    corpus = work.folder / "corpus" / work.target
    seeds = _seeds(target.seeds(), work.folder / "seeds" / work.target)
    corpus.mkdir(parents=True, exist_ok=True)
    words = _dictionary(target.words, work.folder / f"{work.target}.dict")
    limit_memory()
    options = [
        f"-runs={work.runs - logbook.count}",
        f"-seed={(work.seed + logbook.count) % (1 << 31) + 1}",
        f"-max_len={_LONGEST}",
        f"-dict={words}",
        "-rss_limit_mb=0",
        "-timeout=600",
        "-print_final_stats=1",
        "-verbosity=1",
        # That a library ends the process is seen from outside, by the signal.
        *(f"-handle_{name}=0" for name in ("segv", "bus", "abrt", "ill", "fpe")),
    ]

    def one(data: bytes) -> None:
        execute(target, data, logbook, work.found, work.name)

    atheris.Setup([sys.argv[0], *options, str(corpus), str(seeds)], one)
    atheris.Fuzz()


def _seeds(seeds: list[bytes], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / f"{number}").write_bytes(seed)
    return folder


def _dictionary(words: tuple[str, ...], path: Path) -> Path:
    r"""A file of words for libFuzzer: in quotes, bytes that are not printable as `\xAB`."""
    lines = (f'"{"".join(map(_escaped, word.encode()))}"\n' for word in words if word)
    path.write_text("".join(lines), encoding="ascii")
    return path


def _escaped(byte: int) -> str:
    plain = 32 <= byte < 127 and byte not in b'"\\'
    return chr(byte) if plain else f"\\x{byte:02X}"
