"""The machine in words: cores, memory, kind of disk, and the programs that take part."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("numpy", "h5py", "safetensors", "keras", "torch")

# What a block device's name begins with.
DISKS = {"nvme": "an NVMe disk", "vd": "a virtual disk", "xvd": "a virtual disk"}


def described(folder: Path, rounds: int, scale: int) -> str:
    """The machine, with the disk of a folder, the versions, and how thoroughly was measured."""
    hardware = f"{os.cpu_count()} cores ({platform.machine()}), {memory()}, {disk(folder)}"
    smaller = f"; sizes divided by {scale}" if scale > 1 else ""
    return f"{hardware}; {programs()}; rounds: {rounds}{smaller}"


def memory() -> str:
    """The memory, in whole GiB."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{size / 2**30:.0f} GiB of memory"


def disk(folder: Path) -> str:
    """The kind of disk and the file system of a folder."""
    number = folder.stat().st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    return f"{kind(device)} with {file_system(number)}"


def kind(device: Path) -> str:
    """The kind of a block device, which a partition has from its parent."""
    for name, words in DISKS.items():
        if device.name.startswith(name):
            return words
    for rotational in (device / "queue/rotational", device.parent / "queue/rotational"):
        if rotational.exists():
            spins = rotational.read_text("ascii").strip() == "1"
            return "a hard disk" if spins else "a solid-state disk"
    return "no disk of its own"


def file_system(number: int) -> str:
    """The type of the file system with a device number."""
    wanted = f"{os.major(number)}:{os.minor(number)}"
    table = Path("/proc/self/mountinfo")
    for line in table.read_text("utf-8").splitlines() if table.exists() else ():
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted:
            return after.split()[0]
    return "a file system of unknown type"


def programs() -> str:
    """Python and the packages that are installed, with versions."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
