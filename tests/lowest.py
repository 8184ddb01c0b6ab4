"""Prints the lowest version of each dependency, as constraints for pip. Run by `make lowest`."""

import re
import tomllib
from pathlib import Path


def lowest(requirement: str) -> str:
    """The requirement that only its lower bound meets.

    >>> lowest("numpy>=2.1")
    'numpy==2.1'
    >>> lowest("typer>=0.26,<0.29")
    'typer==0.26'
    """
    match = re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)(,<[0-9.]+)?", requirement)
    if match is None:
        raise ValueError(
            f"{requirement} is not of the form name>=version or name>=version,<version"
        )
    return f"{match[1]}=={match[2]}"


if __name__ == "__main__":
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    dependencies = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    print(*map(lowest, dependencies), sep="\n")
