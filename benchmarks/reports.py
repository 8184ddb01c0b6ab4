"""How long a report of many tensors takes to render, in every format.

Prints the table of docs/reports.md. Run as

    python benchmarks/reports.py [TENSORS]
"""

import sys
import time

import msgspec

import wproj
from wproj_cli.options import FORMATS  # noqa: TID251 # what is measured
from wproj_cli.render import render  # noqa: TID251 # what is measured

# One tensor of `wproj check`, as its JSON report has it.
TENSOR = {
    "path": "model_weights/conv1/conv1/kernel",
    "shape": [3, 3, 64, 128],
    "dtype": "float32",
    "bytes": 294912,
    "layer": "Conv2D",
    "rule": "conv",
    "constraint": [{"name": "max_norm", "config": {"max_value": 1.0, "axis": [0, 1, 2]}}],
    "axis": [0, 1, 2],
    "vectors": 128,
    "vector_length": 576,
    "status": "violation",
    "norm_before": {"min": 0.88, "mean": 1.38, "p50": 1.41, "p99": 1.7603, "max": 1.764693},
    "zero": 0,
    "nonfinite": 0,
    "histogram": {"low": 0.88, "high": 1.764693, "counts": list(range(1, 21))},
}


def outside(excess: float) -> dict[str, object]:
    """Violations of one tensor, with the five worst vectors."""
    vectors = [{"index": [i], "norm": 1 + excess, "excess": excess} for i in range(5)]
    worst = {"worst_index": [0], "worst_norm": 1 + excess, "worst_excess": excess}
    return {"before": 14, "after": None, "vectors": vectors} | worst


def report(count: int) -> wproj.Report:
    """A report of `check` in which every tensor is a finding."""
    tensors = [
        TENSOR | {"name": f"block{i}/conv/kernel", "violations": outside(i / count)}
        for i in range(count)
    ]
    described = {"path": "model.h5", "format": "hdf5", "layout": "keras", "output": None}
    file = msgspec.convert(
        described | {"tensor_count": count, "tensors": tensors}, wproj.FileReport
    )
    return wproj.make_report("check", [file], [], 1)


def main() -> None:
    """Prints the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    made = report(count)
    print(f"| format | seconds for {count} tensors | kilobytes |")
    print("|---|---|---|")
    for fmt in FORMATS:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            text = render(made, fmt)
            times.append(time.perf_counter() - start)
        print(f"| {fmt} | {min(times):.3f} | {len(text.encode()) / 1000:.0f} |")


if __name__ == "__main__":
    main()
