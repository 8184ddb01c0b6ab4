"""A constraint is a set of weight vectors: what is inside, and what is the nearest point inside.

Three kinds differ in what they need to see, so that files of any size can stream through them:
radial ones the norm of each vector, elementwise ones an entry, dense ones the whole tensor.
"""

import dataclasses
import math
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wproj.constraints.arrays import Array, clipped, namespace, rescaled, unwrapped
from wproj.dtypes import Stored, finite, nearest, projectable, to_float64
from wproj.errors import ConstraintError, NonFiniteError, RequestError, TensorError
from wproj.numerics.changes import Change, unchanged
from wproj.numerics.norms import Bounds, count_nonfinite, measure
from wproj.numerics.rounding import clip, rescale, rescale_into
from wproj.numerics.scaling import Place, Scaling
from wproj.numerics.vectors import TILE, Each, Unit, Vectors

Axis = int | Sequence[int] | None
NumericsMode = Literal["exact", "keras"]
NonFinite = Literal["error", "skip"]


@dataclass(frozen=True, slots=True)
class Numerics:
    """How exactly: the two numerics of docs/numerics.md, and what non-finite entries do.

    Attributes:
        mode: `exact`, a projection certified on the stored values, or `keras`, its formulas.
        epsilon: What the Keras formulas add to a norm; unused by `exact`.
        nonfinite: `error` refuses a tensor with NaN or infinite entries, `skip` leaves the
            vectors that hold them as they are.
    """

    mode: NumericsMode = "exact"
    epsilon: float = 1e-7
    nonfinite: NonFinite = "error"

    def __post_init__(self) -> None:
        """Refuses what is not one of these."""
        if self.mode not in ("exact", "keras"):
            raise ConstraintError("numerics", "mode", self.mode, "'exact' or 'keras'")
        if self.nonfinite not in ("error", "skip"):
            raise ConstraintError("numerics", "nonfinite", self.nonfinite, "'error' or 'skip'")
        if not (np.isfinite(self.epsilon) and self.epsilon >= 0):
            raise ConstraintError("numerics", "epsilon", self.epsilon, "finite and not negative")


EXACT = Numerics()


class Constraint:
    """Base of all constraints. On its own it constrains nothing, as in Keras.

    To define one, override `__call__`, which gets a weight array and returns one of the same
    shape, and `get_config` if the constructor takes arguments:

    >>> import numpy as np
    >>> class CenterAround(Constraint):
    ...     def __init__(self, reference):
    ...         self.reference = reference
    ...     def __call__(self, w):
    ...         return w - w.mean() + self.reference
    ...     def get_config(self):
    ...         return {"reference": self.reference}
    >>> CenterAround(1.0)(np.array([1.0, 3.0]))
    array([0., 2.])
    >>> CenterAround.from_config(CenterAround(1.0).get_config()).reference
    1.0

    On a file, a user-defined constraint gets each matched tensor whole, in float64, and its result
    is rounded once. It may say what is inside with a method `contains(w)` that returns booleans
    which broadcast to `w`; without one, reports leave violations open.
    """

    def __call__(self, w: Any) -> Any:  # noqa: ANN401 # as in Keras: any array
        """The constrained weights; here `w` itself."""
        return w

    @property
    def name(self) -> str:
        """The lower-case name: `max_norm` for `MaxNorm`."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, ready for JSON."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The constraint that `get_config` described."""
        return cls(**config)

    def at(self, axis: Axis) -> Self:  # noqa: ARG002 # radial constraints override it
        """The same constraint with its norms along `axis`, where it has norms."""
        return self

    def store(
        self, shape: tuple[int, ...], place: Place, numerics: Numerics
    ) -> Iterator[Change | Unit]:
        """Reads a tensor of `shape` whole, and stores what `__call__` makes of it.

        Yields what became of each unit of vectors, or the unit where that has to be measured; a
        constraint without vectors yields nothing.

        Raises:
            TensorError: NaN or infinite entries before or after, or a result of another shape.
        """
        size = math.prod(shape)
        check_finite(place, shape, numerics)
        stored = place.read(0, size).reshape(shape)
        values = to_float64(stored)
        try:
            result = np.asarray(self(values.copy()))
        except Exception as error:  # whatever the user's code raises
            problem = f"{self.name} failed: {type(error).__name__}: {error}"
            raise TensorError(problem, "the constraint's own code raised this") from error
        if result.shape != shape or not projectable(result.dtype):
            problem = f"returned {result.dtype} of shape {result.shape}, not floats of {shape}"
            raise TensorError(f"{self.name} {problem}")
        sound = np.isfinite(values)
        rounded = nearest(to_float64(result), stored.dtype)
        if not finite(rounded[sound]).all():
            raise TensorError(f"{self.name} returned values that {stored.dtype} cannot hold")
        changed = sound & (to_float64(rounded) != values)
        place.write(0, np.where(changed, rounded, stored).reshape(-1))
        yield from ()


class ArrayConstraint(Constraint):
    """Base of the constraints that wproj itself projects onto."""

    def __call__(self, w: Array) -> Array:
        """The nearest weights inside: a new array of the type, shape, dtype and device of `w`.

        NumPy's arrays are projected as stored, by the exact numerics; of a Keras variable, its
        value. On arrays of other frameworks see `approach`.

        Raises:
            RequestError: `w` is not a float array, or has no such axis.
            TensorError: NaN or infinite entries of a NumPy array.
        """
        w = unwrapped(w)
        return self.project(w) if namespace(w) is np else self.approach(w)

    @abstractmethod
    def approach(self, w: Array) -> Array:
        """The same within rounding, for a training loop: for any array of the array API standard.

        Not certified: a norm may exceed its bound by a few units in the last place. No value is
        looked at, so that it can be compiled and waits for no device; there is no gradient; and
        non-finite vectors or entries stay as they are.
        """

    def project(
        self,
        w: ArrayLike,
        *,
        numerics: NumericsMode = "exact",
        epsilon: float = 1e-7,
        nonfinite: NonFinite = "error",
    ) -> Stored:
        """The projection of `w`, a new array of its shape and dtype; `w` is left as it is.

        Same bytes for any memory order and byte order of `w`. See `Numerics` for the options.

        Raises:
            RequestError: `w` is not a float array, or has no such axis.
            TensorError: NaN or infinite entries, or a result that the dtype cannot hold.
        """
        w = as_floats(w)
        flat = np.ascontiguousarray(w, dtype=w.dtype.newbyteorder("=")).reshape(-1)
        result = flat.copy()
        place = Place(_slicer(flat), _writer(result), _slicer(result), _already_there)
        for _ in self.store(w.shape, place, Numerics(numerics, epsilon, nonfinite)):
            pass
        return result.reshape(w.shape).astype(w.dtype, copy=False)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments by their Keras names, ready for JSON."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type] # the subclasses are dataclasses
        config = {field.name: getattr(self, field.name) for field in fields}
        return {key: _plain(value) for key, value in config.items()}

    @abstractmethod
    def contains(self, w: ArrayLike) -> NDArray[np.bool_]:
        """Which parts of `w` are inside."""


class RadialConstraint(ArrayConstraint):
    """A constraint on the norms of vectors: each is scaled, none is turned.

    A subclass is a frozen dataclass with a field `axis`, the axes summed over.
    """

    axis: Axis

    @property
    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest norm inside."""

    @abstractmethod
    def target(self, norms: Array) -> Array:
        """The norms that vectors of these norms are scaled to; float64 for NumPy's arrays."""

    @property
    def step(self) -> bool:
        """Whether `target` moves only part of the way, so that nothing can be certified."""
        return False

    def approach(self, w: Array) -> Array:
        """`w` with its vectors scaled to within rounding of the set; see the base class."""
        return rescaled(w, self.axis, self.bounds, self.target)

    def at(self, axis: Axis) -> Self:
        """The same constraint with its norms along `axis`."""
        axis = None if axis == () else axis  # A scalar has no axes: all of them are none.
        return dataclasses.replace(self, axis=axis)  # type: ignore[type-var] # as above

    def contains(self, w: ArrayLike) -> NDArray[np.bool_]:
        """Which vectors of `w` have a norm inside, as stored; axes summed over are dropped."""
        w = as_floats(w)
        vectors = Vectors.of(w.shape, self.axis)
        flat = np.ascontiguousarray(w, dtype=w.dtype.newbyteorder("=")).reshape(-1)
        bounds = self.limits(vectors, flat.dtype)
        inside = np.ones(vectors.kept_shape, np.bool_)
        for unit in vectors.units():
            inside[unit.index] = bounds.contain(measure(unit, _slicer(flat)).value)
        kept = [n for axis, n in enumerate(w.shape) if axis not in vectors.axis]
        return inside.reshape(kept)

    def limits(self, vectors: Vectors, dtype: np.dtype[Any]) -> Bounds:
        """The bounds as they hold for vectors of this length, stored as `dtype`."""
        return Bounds.of(*self.bounds, vectors.length, dtype)

    def store(
        self, shape: tuple[int, ...], place: Place, numerics: Numerics
    ) -> Iterator[Change | Unit]:
        """Projects a tensor unit by unit; yields what became of each, see the base class.

        Raises:
            AxisError: The tensor has no such axis.
            TensorError: NaN or infinite entries, or a result that the dtype cannot hold.
        """
        vectors = Vectors.of(shape, self.axis)

        def store(unit: Unit, each: Each) -> Change | Unit:
            return self._store_unit(unit, vectors, dataclasses.replace(place, each=each), numerics)

        return vectors.over_units(store, place.each)

    def _store_unit(
        self, unit: Unit, vectors: Vectors, place: Place, numerics: Numerics
    ) -> Change | Unit:
        whole, place = place, place.reading_once(unit)
        norms = measure(unit, place.read, place.each)
        if numerics.nonfinite == "error" and not norms.finite.all():
            check_finite(whole, vectors.shape, numerics)
        value = norms.value
        bounds = self.limits(vectors, place.read(unit.start, unit.start + 1).dtype)
        goal = np.where(norms.finite, self.target(value), 0.0)
        if numerics.mode == "keras":
            return rescale(unit, place, Scaling(norms, norms.finite, numerics.epsilon), goal)
        moving = norms.finite & (value > 0) & ~bounds.contain(value)
        if not moving.any():
            for start, stop in unit.spans:
                place.keep(start, stop)
            return unchanged(unit, np.where(norms.finite, value, np.nan))
        if self.step:
            return rescale(unit, place, Scaling(norms, moving), goal)
        return rescale_into(unit, place, Scaling(norms, moving), goal, bounds)


class ElementwiseConstraint(ArrayConstraint):
    """A constraint on each entry by itself."""

    @abstractmethod
    def clip(self, values: Array) -> Array:
        """The nearest values inside, float64 for NumPy's; what is inside comes back equal."""

    def approach(self, w: Array) -> Array:
        """`w` with its entries clipped; see the base class."""
        return clipped(w, self.clip)

    def contains(self, w: ArrayLike) -> NDArray[np.bool_]:
        """Which entries of `w` are inside; an array of its shape."""
        values = to_float64(as_floats(w))
        return np.asarray(self.clip(values) == values)

    def store(
        self, shape: tuple[int, ...], place: Place, numerics: Numerics
    ) -> Iterator[Change | Unit]:
        """Projects a tensor entry by entry, in tiles; yields nothing, see the base class.

        Raises:
            TensorError: NaN or infinite entries.
        """

        def store(unit: Unit, _each: Each) -> None:
            for tile in unit.tiles:
                stored = place.read(tile.start, tile.stop)
                if numerics.nonfinite == "error" and not finite(stored).all():
                    check_finite(place, shape, numerics)
                clip(tile, place, self.clip)

        for _ in Vectors.of((math.prod(shape),), ()).over_units(store, place.each):
            yield from ()


def check_finite(place: Place, shape: tuple[int, ...], numerics: Numerics) -> None:
    """Raises NonFiniteError where non-finite entries are an error and there are some."""
    if numerics.nonfinite == "error":
        count, first = count_nonfinite(place.read, math.prod(shape), TILE)
        if count:
            raise NonFiniteError(count, [int(i) for i in np.unravel_index(first, shape)])


def as_floats(w: ArrayLike) -> Stored:
    """`w` as an array.

    Raises:
        RequestError: Its dtype is not a float of 8 to 64 bits.
    """
    array = np.asarray(w)
    if not projectable(array.dtype):
        raise RequestError(
            f"constraints project float arrays of 8 to 64 bits, not {array.dtype}",
            "convert it first, for example with .astype('float32')",
        )
    return array


def _plain(value: object) -> object:
    """A parameter as JSON holds it."""
    if isinstance(value, tuple):
        return list(value)
    return value.item() if isinstance(value, np.generic) else value


def _already_there(_start: int, _stop: int) -> None:
    """Keeps entries of a copy that has them."""


def _slicer(flat: Stored) -> Callable[[int, int], Stored]:
    return lambda start, stop: flat[start:stop]


def _writer(flat: Stored) -> Callable[[int, Stored], None]:
    def write(start: int, values: Stored) -> None:
        flat[start : start + len(values)] = values

    return write
