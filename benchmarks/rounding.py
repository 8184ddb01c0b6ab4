"""How many projected vectors are outside after rounding, and how far from the nearest point.

Prints the table of docs/numerics.md. Needs the test dependencies; run as

    KERAS_BACKEND=numpy python benchmarks/rounding.py
"""

import warnings
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from wproj import MaxNorm

DTYPES = ("float16", "bfloat16", "float32", "float64")
LENGTHS = (3, 64, 1024, 16384)
ENTRIES = 1 << 22
BOUND = 2.0

Array = NDArray[Any]


def norms(w: Array) -> NDArray[np.float64]:
    """Norms of the columns, in float64."""
    return np.sqrt(np.square(w.astype(np.float64)).sum(axis=0))


def distances(w: Array, exact: Array) -> NDArray[np.float64]:
    """How far each column is from its exact projection."""
    return norms(w.astype(np.float64) - exact)


def by_keras(w: Array) -> Array:
    """What `keras.constraints.MaxNorm` makes of `w` when it is stored as the dtype of `w` again."""
    import keras

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # float16 overflows in Keras' sums
        result = keras.constraints.MaxNorm(BOUND, axis=0)(keras.ops.convert_to_tensor(w))
        return np.asarray(keras.ops.convert_to_numpy(result)).astype(w.dtype)


def row(name: str, length: int) -> str:
    """One line of the table: vectors of normal entries, norms spread from about 2 to 8."""
    count = max(200, min(20_000, ENTRIES // length))
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    rng = np.random.default_rng(length)
    scale = 2 ** rng.uniform(1, 3, count) / np.sqrt(length)
    w = (rng.standard_normal((length, count)) * scale).astype(dtype)
    before = norms(w)
    exact = w.astype(np.float64) * (np.minimum(before, BOUND) / before)
    plain, ours, keras = exact.astype(dtype), MaxNorm(BOUND, axis=0)(w), by_keras(w)
    outside = [f"{100 * (norms(result) > BOUND).mean():.1f} %" for result in (keras, plain, ours)]
    nearness = "-"  # The nearest float64 is all that float64 arithmetic can see.
    if name != "float64":
        nearness = f"{distances(ours, exact).mean() / distances(plain, exact).mean():.3f}"
    return f"| {name} | {length} | {count} | {' | '.join(outside)} | {nearness} |"


def main() -> None:
    """Prints the table."""
    print("| dtype | length | vectors | Keras | nearest | wproj | distance |")
    print("|---|---|---|---|---|---|---|")
    for name in DTYPES:
        for length in LENGTHS:
            print(row(name, length))


if __name__ == "__main__":
    main()
