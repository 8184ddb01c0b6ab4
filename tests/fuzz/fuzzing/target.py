"""What is fuzzed: a parser, inputs that it takes, and a way to make others from them."""

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis.strategies import SearchStrategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parser of wproj.

    Attributes:
        run: Has the parser read an input; of exceptions, only `WprojError` may leave it.
        seeds: Makes valid inputs, from which the coverage-guided engine begins.
        inputs: Makes inputs that are valid but for a few mutations.
        words: What the coverage-guided engine puts into inputs, besides what it finds by itself.
        guided: The share of executions that this engine has, relative to other targets.
        structured: The share of the other engine.
        native: The library that may end the process, where one is known to do so on damaged files.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    inputs: SearchStrategy[bytes]
    words: tuple[str, ...] = ()
    guided: int = 0
    structured: int = 0
    native: str | None = None
