"""Reports of many tensors in little memory: packed, and compressed by the block."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import msgspec

from wproj.report import TensorReport

# What neighbors have in common is most of a report; longer blocks are no smaller for each.
_BLOCK = 64
_LEVEL = 1


class TensorReports(Sequence[TensorReport]):
    """Reports of tensors in order, to be appended to and read again; equal to a list of the same.

    Those that iteration yields are made anew each time, as a report is many times larger as an
    object than here.
    """

    def __init__(self, reports: Iterable[TensorReport] = ()) -> None:
        self._blocks: list[bytes] = []
        self._last: list[TensorReport] = []
        for report in reports:
            self.append(report)

    def append(self, report: TensorReport) -> None:
        """Adds a report at the end."""
        self._last.append(report)
        if len(self._last) == _BLOCK:
            self._blocks.append(zlib.compress(msgspec.msgpack.encode(self._last), _LEVEL))
            self._last = []

    def __len__(self) -> int:
        return len(self._blocks) * _BLOCK + len(self._last)

    def __iter__(self) -> Iterator[TensorReport]:
        for block in self._blocks:
            yield from _unpacked(block)
        yield from self._last

    @overload
    def __getitem__(self, at: int) -> TensorReport: ...
    @overload
    def __getitem__(self, at: slice) -> list[TensorReport]: ...
    def __getitem__(self, at: int | slice) -> TensorReport | list[TensorReport]:
        if isinstance(at, slice):
            return list(self)[at]
        place = range(len(self))[at]
        block, within = divmod(place, _BLOCK)
        return (_unpacked(self._blocks[block]) if block < len(self._blocks) else self._last)[within]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(
            one == two for one, two in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment] # as of a list


def _unpacked(block: bytes) -> list[TensorReport]:
    return msgspec.msgpack.decode(zlib.decompress(block), type=list[TensorReport])
