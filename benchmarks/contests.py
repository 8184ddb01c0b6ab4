"""What a row of the table measures: two contestants, or the memory that one command takes."""

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from commands import Command, scaled
from figures import Goal, Pair
from memory import available, usage
from timing import alternate


@dataclass(frozen=True, slots=True)
class Contest:
    """Two contestants, each of them a command or several in a row.

    `needs` are modules of the opponent; `times` multiplies the rounds of what takes milliseconds.
    """

    name: str
    says: str
    goal: Goal
    ours: tuple[Command, ...]
    theirs: tuple[Command, ...]
    needs: tuple[str, ...] = ()
    times: int = 1

    @property
    def commands(self) -> tuple[Command, ...]:
        """All that is run."""
        return self.ours + self.theirs

    def scaled(self, divisor: int) -> "Contest":
        """The same with smaller files."""
        ours, theirs = (
            tuple(scaled(command, divisor) for command in side) for side in (self.ours, self.theirs)
        )
        return replace(self, ours=ours, theirs=theirs)

    def obstacle(self) -> str | None:
        """Why it cannot be measured here; None if it can."""
        missing = [module for module in self.needs if find_spec(module) is None]
        return f"{' and '.join(missing)} not installed" if missing else None

    def pairs(self, folder: Path, rounds: int) -> list[Pair]:
        """Seconds of ours and of theirs in every round."""
        return alternate(self.ours, self.theirs, folder, self.times * rounds)


@dataclass(frozen=True, slots=True)
class Peak:
    """The memory of one command."""

    name: str
    says: str
    goal: Goal
    ours: Command

    @property
    def commands(self) -> tuple[Command, ...]:
        """All that is run."""
        return (self.ours,)

    def scaled(self, divisor: int) -> "Peak":
        """The same with a smaller file."""
        return replace(self, ours=scaled(self.ours, divisor))

    def obstacle(self) -> str | None:
        """Why it cannot be measured here; None if it can."""
        return None if available() else "this system does not tell of anonymous pages"

    def pairs(self, folder: Path, rounds: int) -> list[Pair]:
        """Maximum resident set and anonymous pages in every round, in bytes."""
        used = [usage(self.ours, folder) for _ in range(rounds)]
        return [(each.resident, each.anonymous) for each in used]


Row = Contest | Peak
