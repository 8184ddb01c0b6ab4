"""What is in an HDF5 file, told without opening anything else and without believing its sizes.

Only hard links are followed: a soft or external link names data that is elsewhere, perhaps in
another file, and even the shape of a virtual dataset may be asked of other files.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import h5py

from wproj.formats.base import TensorEntry
from wproj.formats.hdf5_entries import Described, describe
from wproj.formats.hdf5_text import text_of

# The number of the message in an object's header that tells where its values are.
_LAYOUT = 8

# What the paths of a file may take, if it is not larger itself: names within names can be more than
# the file by far.
_PATHS = 1 << 24
# Pairs of a further name of a group and a tensor that are looked at for names of the tensor.
_FURTHER_NAMES = 1 << 20

# Of values of which nearly nothing is stored, a file may claim as many bytes: as of archives.
_THIN_BYTES = 1 << 28


class DamageError(ValueError):
    """What is wrong with a file, without its name."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is in a file.

    Attributes:
        entries: All datasets that hard links reach, each once.
        labels: The layer names noted beside variables, by the path of the layer.
        notes: What is not followed, or not listed.
    """

    entries: list[TensorEntry]
    labels: dict[str, str]
    notes: list[str]


def walk(file: h5py.File) -> Found:
    """The datasets of a file in the order of the tree, numbers in names counted as such.

    Raises:
        DamageError: It claims what it cannot hold.
    """
    seen = _Seen(budget=max(_PATHS, file.id.get_filesize()))
    root = h5py.h5g.open(file.id, b"/")
    seen.groups[h5py.h5o.get_info(root).addr] = ""
    stack = [("", root)]
    while stack:
        prefix, group = stack.pop()
        if prefix.endswith("/vars/") and isinstance(label := text_of(group, b"name"), str):
            seen.labels[prefix.removesuffix("/vars/")] = label
        stack.extend(reversed(list(_visit(prefix, group, seen))))
    entries = _bounded(list(seen.datasets.values()), file.id.get_filesize())
    return Found(_with_names_of_groups(entries, seen), seen.labels, seen.notes)


@dataclass(slots=True)
class _Seen:
    """What a walk has come by: datasets and groups by address, and further names of groups."""

    budget: int
    datasets: dict[int, Described] = field(default_factory=dict)
    groups: dict[int, str] = field(default_factory=dict)
    further: list[tuple[str, int]] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def spend(self, path: str) -> str:
        """The path, as long as all of them together are not too long."""
        self.budget -= len(path)
        if self.budget < 0:
            raise DamageError("its paths are longer than the file")
        return path


def _visit(prefix: str, group: h5py.h5g.GroupID, seen: _Seen) -> Iterator[tuple[str, object]]:
    """The groups in a group that are not known yet, while its datasets are added to `seen`."""
    for name, kind in _links(group):
        path = seen.spend(f"{prefix}{name if isinstance(name, str) else repr(name)}")
        problem = _refusal(name, kind)
        if problem is not None:
            seen.notes.append(f"{path} is {problem} and is not followed")
            continue
        child = h5py.h5o.open(group, str(name).encode())
        info = h5py.h5o.get_info(child)
        address = info.addr
        if address in seen.datasets:
            known = seen.datasets[address]
            entry = replace(known.entry, aliases=(*known.entry.aliases, path))
            seen.datasets[address] = known._replace(entry=entry)
        elif address in seen.groups:
            seen.further.append((path, address))
        elif isinstance(child, h5py.h5d.DatasetID):
            seen.datasets[address] = describe(path, child)
        elif isinstance(child, h5py.h5g.GroupID):
            seen.groups[address] = f"{path}/"
            yield f"{path}/", child
        elif info.hdr.mesg.present >> _LAYOUT & 1:
            raise DamageError(f"{path} has values, and neither a shape nor a type for them")


def _links(group: h5py.h5g.GroupID) -> list[tuple[str | bytes, int]]:
    """The names in a group in their natural order, and what kinds of links they are."""
    found: list[tuple[str | bytes, int]] = []
    group.links.iterate(lambda name, info: found.append((_decoded(name), info.type)), info=True)
    if len(found) != group.get_num_objs():
        raise DamageError(f"a group of {group.get_num_objs()} objects lists {len(found)}")
    if len({name for name, _ in found}) < len(found):
        raise DamageError("a group has a name twice")
    return sorted(found, key=lambda link: _natural(link[0]))


def _decoded(name: bytes) -> str | bytes:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name


def _natural(name: str | bytes) -> list[tuple[int, int, str]]:
    """A key that sorts `vars/10` behind `vars/2`; h5py has names that are not UTF-8 as bytes."""
    if not isinstance(name, str):
        return [(2, 0, repr(name))]
    parts = [part for part in re.split(r"(\d+)", name) if part]
    numbers = [part.lstrip("0") if part.isdecimal() else None for part in parts]
    return [
        (1, 0, part) if number is None else (0, len(number), number)
        for part, number in zip(parts, numbers, strict=True)
    ]


def _refusal(name: str | bytes, kind: int) -> str | None:
    """What a name in a group is, if it is not followed; told without opening its target."""
    if not isinstance(name, str):
        return "not UTF-8"
    kinds = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "an external link"}
    return None if kind == h5py.h5l.TYPE_HARD else kinds.get(kind, "a user-defined link")


def _with_names_of_groups(entries: list[TensorEntry], seen: _Seen) -> list[TensorEntry]:
    """The tensors with the names that they have through further names of groups.

    Groups that hold themselves are passed once. Of paths through several such names, there are as
    many as powers of two: not all are told.
    """
    links = [(p, home) for p, a in seen.further if not p.startswith(home := seen.groups[a])]
    if len(links) * len(entries) > _FURTHER_NAMES:
        seen.notes.append(f"{len(links)} further names of groups are not told")
        return entries
    for path, home in links:
        for number, entry in enumerate(entries):
            if entry.path.startswith(home):
                name = seen.spend(f"{path}/{entry.path.removeprefix(home)}")
                entries[number] = replace(entry, aliases=(*entry.aliases, name))
    return entries


def _bounded(found: Sequence[Described], size: int) -> list[TensorEntry]:
    """The tensors; those of which nearly nothing is stored are no values if they are too many.

    Raises:
        DamageError: More is stored than the file, of `size` bytes, has room for.
    """
    stored = sum(each.stored for each in found)
    if stored > size:
        raise DamageError(f"its datasets take {stored} bytes in a file of {size}")
    _check_apart([each.entry for each in found])
    claimed = sum(each.entry.nbytes for each in found if each.is_thin)
    if claimed <= _THIN_BYTES:
        return [each.entry for each in found]
    return [each.without_values() if each.is_thin else each.entry for each in found]


def _check_apart(entries: Sequence[TensorEntry]) -> None:
    """Raises a DamageError if the bytes of two tensors are the same."""
    end, before = 0, ""
    placed = [(e.extent.offset, e.extent.nbytes, e.path) for e in entries if e.extent]
    for offset, nbytes, path in sorted(placed):
        if offset < end:
            raise DamageError(f"the values of {before} and {path} overlap")
        end, before = offset + nbytes, path
