"""Tied weights that are stored twice, where a plan would let them come to differ."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from wproj.constraints.base import Constraint
from wproj.errors import RequestError, listed
from wproj.formats.base import PackedStore, Store, Stores, TensorEntry
from wproj.formats.stamps import unchanged
from wproj.reporting import located
from wproj.selection.plan import Plan

# Entries that are read at once: of all tensors that may be tied, and of those that agree so far.
_SAMPLE, _BLOCK = 1 << 5, 1 << 18

_HINT = "if they are tied, give them the same rule, or they come to differ"

Group = Sequence[TensorEntry]
Look = Callable[[Store, int], bytes | None]
Treatments = Mapping[str, tuple[Constraint, ...]]


def find_ties(plan: Plan) -> list[RequestError]:
    """Warnings of tensors that hold the same values, and to which the plan does different things.

    Of tensors of the same shape and dtype that a plan treats differently, a few entries are
    compared, and all of them only where those are the same. Vectors and constant tensors are no
    ties. What does not lie in its file in one piece is not looked at.

    Raises:
        InputError: The file cannot be read.
    """
    treatments = {item.entry.path: item.steps for item in plan.assignments}
    forms = {e.path: (e.dtype, e.shape) for e in plan.checkpoint.entries if _may_be_tied(e)}
    groups = list(_split([plan.checkpoint.entries], forms, treatments))
    if groups:
        with unchanged(plan.checkpoint.stamps), plan.checkpoint.stores() as stores:
            for look in (_middle, _ends, _digest):
                groups = list(_split(groups, _seen(plan, groups, stores, look), treatments))
    return [_warning(group, treatments) for group in groups]


def _may_be_tied(entry: TensorEntry) -> bool:
    return entry.extent is not None and len(entry.shape) > 1 and 0 not in entry.shape


def _seen(
    plan: Plan, groups: Iterable[Group], stores: Stores, look: Look
) -> dict[str, bytes | None]:
    """What a look at each tensor of the groups shows, by path; taken in the order of the file."""
    wanted = {entry.path for group in groups for entry in group}
    seen = {}
    for entry in plan.checkpoint.entries:
        if entry.path in wanted:
            with located(plan.checkpoint.path, entry):
                store = stores(entry)
                assert not isinstance(store, PackedStore)  # noqa: S101 # it has an extent
                seen[entry.path] = look(store, math.prod(entry.shape))
    return seen


def _split(
    groups: Iterable[Group], seen: Mapping[str, Any], treatments: Treatments
) -> Iterator[Group]:
    """Tensors of a group of which the same was seen, if they are not treated the same."""
    for group in groups:
        parts: dict[Any, list[TensorEntry]] = {}
        for entry in group:
            if seen.get(entry.path) is not None:
                parts.setdefault(seen[entry.path], []).append(entry)
        for part in parts.values():
            first, *rest = (treatments.get(entry.path) for entry in part)
            if any(other != first for other in rest):
                yield part


def _middle(store: Store, size: int) -> bytes:
    return store.read(size // 2, min(size, size // 2 + _SAMPLE)).tobytes()


def _ends(store: Store, size: int) -> bytes:
    """What the first and the last entries are."""
    few = min(size, _SAMPLE)
    return store.read(0, few).tobytes() + store.read(size - few, size).tobytes()


def _digest(store: Store, size: int) -> bytes | None:
    """The digest of all entries; None where one is as all others."""
    digest, constant = hashlib.sha256(), True
    first = store.read(0, 1).view(np.uint8)
    for start in range(0, size, _BLOCK):
        values = store.read(start, min(size, start + _BLOCK)).view(np.uint8)
        constant = constant and bool((values.reshape(-1, len(first)) == first).all())
        digest.update(values.data)
    return None if constant else digest.digest()


def _warning(group: Group, treatments: Treatments) -> RequestError:
    same = f"{listed(entry.name for entry in group)} hold the same values"
    taken = [entry.name for entry in group if entry.path in treatments]
    if len(taken) == len(group):
        return RequestError(f"{same}, and not the same is done to all of them", _HINT)
    return RequestError(f"{same}, and rules take {listed(taken)} only", _HINT)
