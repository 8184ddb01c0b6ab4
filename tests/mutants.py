"""Judges the mutants of the last run: how many were killed, and what each survivor changes.

Run by `make mutants`, in the folder that mutmut has run in. Ends with 1 below the goal.
"""

import json
import subprocess
import sys
from pathlib import Path

GOAL = 0.90


def survivors() -> list[tuple[str, str]]:
    """The name and the state of every mutant that no test failed on."""
    lines = mutmut("results").splitlines()
    named = [tuple(line.strip().rsplit(": ", 1)) for line in lines if ": " in line]
    return [(name, state) for name, state in named]


def changed_lines(name: str) -> list[str]:
    """The lines that a mutant takes away and puts in."""
    lines = mutmut("show", name).splitlines()
    return [line for line in lines if line[:1] in "-+" and line[:3] not in ("---", "+++")]


def mutmut(*words: str) -> str:
    """What mutmut says."""
    command = [str(Path(sys.executable).with_name("mutmut")), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main() -> int:
    """Prints the score and the survivors; 0 if it reaches the goal and all were tried, else 1."""
    mutmut("export-cicd-stats")
    counts = json.loads(Path("mutants/mutmut-cicd-stats.json").read_text(encoding="utf-8"))
    states = survivors()
    untried = sum(state == "not checked" for _, state in states)
    killed, total = counts["killed"] + counts["timeout"], counts["total"]
    print(f"{killed} of {total} mutants killed, {killed / total:.1%}", end=" ")
    print(f"({counts['timeout']} of them ended for their time), {untried} not tried")
    for name, state in states:
        if state != "not checked":
            print(f"{name}: {state}", *changed_lines(name), sep="\n    ", flush=True)
    return int(killed / total < GOAL or untried > 0)


if __name__ == "__main__":
    sys.exit(main())
