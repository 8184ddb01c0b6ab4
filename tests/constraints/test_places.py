"""What a constraint asks of the place where a tensor is: positions, coverage, threads, passes."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from wproj import Constraint, MaxNorm, MinMaxNorm, NonNeg, Numerics, UnitNorm
from wproj.numerics.scaling import Place
from wproj.numerics.vectors import TILE


class Halved(Constraint):
    """Half the weights: a constraint of one's own, which gets its tensor whole."""

    def __call__(self, w):
        """The half."""
        return w / 2

    def __repr__(self):
        """Its name, which is the same in every process of a test run."""
        return self.name


CONSTRAINTS = [
    *(MaxNorm(2), MaxNorm(2, axis=1), MaxNorm(2, axis=None), UnitNorm(), MinMaxNorm(2, 3)),
    *(MinMaxNorm(2, 3, rate=0.5), NonNeg(), Halved()),
]
every_constraint = pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
SHAPES = [(7,), (30, 4), (3, 5, 2), (3, TILE // 2, 2)]


@dataclass
class Watched:
    """A tensor, and what is asked of it; entries that nobody has stored are NaN."""

    values: np.ndarray
    reads: np.ndarray = field(init=False)
    stores: np.ndarray = field(init=False)
    result: np.ndarray = field(init=False)
    shared: list[int] = field(default_factory=list)

    def __post_init__(self):
        """Counts from zero."""
        self.reads, self.stores = (np.zeros(self.values.size, int) for _ in range(2))
        self.result = np.full(self.values.size, np.nan, self.values.dtype)

    def span(self, start, stop):
        """The slice, if both are positions in the tensor."""
        assert type(start) is type(stop) is int
        assert 0 <= start < stop <= self.values.size
        return slice(start, stop)

    def read(self, start, stop):
        """The values before."""
        self.reads[self.span(start, stop)] += 1
        return self.values.reshape(-1)[start:stop]

    def write(self, start, values):
        """Stores values one after the other, as the dtype of the tensor."""
        assert (values.ndim, values.dtype) == (1, self.values.dtype)
        span = self.span(start, start + len(values))
        self.stores[span] += 1
        self.result[span] = values

    def keep(self, start, stop):
        """Stores what was there."""
        span = self.span(start, stop)
        self.stores[span] += 1
        self.result[span] = self.values.reshape(-1)[span]

    def each(self, function, items):
        """The results in order, and how many items are shared out."""
        items = list(items)
        self.shared.append(len(items))
        return map(function, items)

    def project(self, constraint, **options):
        """Stores what the constraint makes of the tensor; returns what is reported."""
        written = lambda start, stop: self.result[self.span(start, stop)]  # noqa: E731 # short
        place = Place(self.read, self.write, written, self.keep, self.each)
        return list(constraint.store(self.values.shape, place, Numerics(**options)))


def weights(shape, scale=1.0):
    """Random float32 values."""
    return (np.random.default_rng(0).standard_normal(shape) * scale).astype(np.float32)


@every_constraint
@pytest.mark.parametrize("scale", [1e-3, 1.0])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_every_entry_is_stored_and_every_position_is_in_the_tensor(constraint, shape, scale):
    """Written or kept, none is forgotten; and the result is that of the same array in memory."""
    watched = Watched(weights(shape, scale))
    watched.project(constraint)
    expected = np.asarray(constraint(watched.values), np.float32)

    assert watched.stores.min() >= 1
    assert watched.result.tobytes() == expected.tobytes()


@pytest.mark.parametrize("nonfinite", ["error", "skip"])
@pytest.mark.parametrize("constraint", [NonNeg(), Halved()], ids=str)
def test_constraints_without_norms_store_once_and_read_at_most_twice(constraint, nonfinite):
    """Finite entries are looked at once for that, and once to be projected."""
    watched = Watched(weights(SHAPES[-1]))
    reported = watched.project(constraint, nonfinite=nonfinite)

    assert watched.stores.max() == 1
    assert watched.reads.max() <= 2
    assert reported == []


@pytest.mark.parametrize("constraint", [MaxNorm(1e9), MinMaxNorm(0, 1e9)], ids=str)
def test_vectors_inside_are_read_once_and_kept(constraint):
    """Their norms are all that is asked for; nothing is rewritten."""
    watched = Watched(weights(SHAPES[-1]))
    changes = watched.project(constraint)

    # And the first entry of a unit, for its dtype.
    assert watched.reads[1 : TILE // 2].max() == 1
    assert watched.stores.max() == 1
    assert watched.result.tobytes() == watched.values.tobytes()
    assert all(change.entries == 0 for change in changes)


@every_constraint
def test_large_tensors_are_shared_out(constraint):
    """Where there are several tiles, threads get all of them, by way of the place."""
    watched = Watched(weights(SHAPES[-1]))
    watched.project(constraint)

    whole = isinstance(constraint, Halved)
    assert max(watched.shared, default=1) == (1 if whole else 3)
