"""A piece of a campaign: an engine, a target, and how often."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one process does.

    Attributes:
        engine: `guided` or `structured`.
        target: The name of the target.
        runs: How many executions in all, those of processes before this one included.
        seed: What random numbers begin with.
        folder: Where everything is kept.
    """

    engine: str
    target: str
    runs: int
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """How it is called."""
        return f"{self.target}-{self.engine}"

    @property
    def logbook(self) -> Path:
        """The file that says how far it has come."""
        return self.folder / "logbooks" / self.name

    @property
    def found(self) -> Path:
        """The folder of findings."""
        return self.folder / "findings"

    @property
    def deaths(self) -> Path:
        """The folder of inputs with which a library ended the process."""
        return self.folder / "deaths"
