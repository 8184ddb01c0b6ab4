"""Runs the rows of the table in benchmarks/README.md and prints it.

python benchmarks/run.py [ROW...] [--list] [--scale N] [--rounds N] [--folder DIR] [--write FILE]
"""

import sys
from fnmatch import fnmatchcase
from pathlib import Path

import options
import table
from commands import CommandError, files
from contests import Row
from figures import figure
from machine import described
from preparing import discard, prepare, shortage
from rows import ROWS

ORDER = [row.name for row in ROWS]


def chosen(patterns: list[str]) -> list[Row]:
    """The rows that patterns name, all without any.

    Raises:
        SystemExit: A pattern names none.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in ORDER):
            sys.exit(f"error: no row is called {pattern}; choose from {', '.join(ORDER)}")
    return [row for row in ROWS if any(fnmatchcase(row.name, each) for each in patterns or ["*"])]


def measured(row: Row, folder: Path, rounds: int) -> tuple[str, bool]:
    """The line of a row, and whether all that it runs ended well."""
    goal = str(row.goal)
    reason = row.obstacle() or shortage(row.commands, folder)
    if reason:
        return table.omitted(row.name, row.says, goal, f"skipped: {reason}"), True
    try:
        prepare(files(row.commands), folder)
        pairs = row.pairs(folder, rounds)
    except CommandError as error:
        return table.omitted(row.name, row.says, goal, f"failed: {error}"), False
    return table.line(row.name, row.says, figure(row.goal, pairs)), True


def run(rows: list[Row], folder: Path, rounds: int, machine: str, target: Path | None) -> bool:
    """Measures rows, prints and writes their lines as they come; whether none failed."""
    print(f"{machine}.\n\n{table.HEAD}", flush=True)
    verdicts = []
    for at, row in enumerate(rows):
        line, well = measured(row, folder, rounds)
        verdicts.append(well)
        print(line, flush=True)
        if target:
            table.write(target, machine, line, ORDER)
        discard(folder, [work for later in rows[at + 1 :] for work in files(later.commands)])
    return all(verdicts)


def main() -> None:
    """Runs the command line."""
    parser = options.parser(__doc__.partition("\n")[0], "a document with the table")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="names or globs (default: all)")
    parser.add_argument("--list", action="store_true", help="list the rows and stop")
    given = parser.parse_args()
    rows = chosen(given.rows)
    if given.list:
        print("\n".join(f"{row.name:15}{row.says}: {row.goal}" for row in rows))
        return
    smaller = [row.scaled(given.scale) for row in rows]
    with options.workplace(given.folder) as folder:
        machine = described(folder, given.rounds, given.scale)
        well = run(smaller, folder, given.rounds, machine, given.write)
    sys.exit(not well)


if __name__ == "__main__":
    main()
