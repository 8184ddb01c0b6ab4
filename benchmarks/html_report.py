"""How large the HTML report of 1,000 changed tensors is, and how long it takes to render.

Run as

    python benchmarks/html_report.py
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import wproj
from wproj_cli.render import render  # noqa: TID251 # a benchmark sees both sides

TENSORS = 1000
SHAPE = (256, 64)
PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def checkpoint(path: Path) -> None:
    """Writes a model whose norms spread around 1, with names as transformers have them."""
    rng = np.random.default_rng(0)
    tensors = {}
    for at in range(TENSORS):
        part = PARTS[at % len(PARTS)]
        room = "self_attn" if at % len(PARTS) < 4 else "mlp"
        scale = rng.uniform(0.6, 1.6) * rng.uniform(0.5, 1.5, (SHAPE[0], 1)) / SHAPE[1] ** 0.5
        values = (rng.standard_normal(SHAPE) * scale).astype(np.float32)
        tensors[f"model.layers.{at // len(PARTS)}.{room}.{part}.weight"] = values
    save_file(tensors, path, metadata={"format": "pt"})


def projected(path: Path) -> wproj.Report:
    """The report of a projection that writes nothing."""
    plan = wproj.plan(path, "*.weight max_norm=1 axis=1")
    tensors = list(wproj.apply(plan, None, wproj.Numerics()))
    file = wproj.file_report(plan.checkpoint, plan.layout, None, tensors)
    return wproj.make_report("project", [file], [], 0, "exact")


def main() -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        checkpoint(path)
        report = projected(path)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        page = render(report, "html")
        seconds.append(time.perf_counter() - start)
    print(f"tensors   {report.summary.tensors}, {report.summary.changed} changed")
    print(f"html      {len(page.encode()):,} bytes")
    print(f"json      {len(render(report, 'json').encode()):,} bytes")
    print(f"first     {seconds[0]:.3f} s, with the import of Jinja2")
    print(f"best      {min(seconds):.3f} s")


if __name__ == "__main__":
    main()
