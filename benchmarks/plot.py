"""A small plot of curves in panels, two beside each other."""

from dataclasses import dataclass
from pathlib import Path

COLUMNS = 2

# Where a vertical axis begins.
BOTTOMS = {"linear": 0, "log": 0.1}


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves by their labels over common places, which are powers and so on a logarithmic axis."""

    across: str
    up: str
    places: list[float]
    curves: dict[str, list[float]]
    scale: str = "linear"


def draw(panels: list[Panel], path: Path) -> None:
    """Draws panels as SVG with text as text; the same values make the same bytes."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "wproj", "font.size": 9}
    from matplotlib import pyplot

    rows = -(-len(panels) // COLUMNS)
    figure, grid = pyplot.subplots(rows, COLUMNS, figsize=(9, 3 * rows), layout="constrained")
    for axes, panel in zip(grid.flat, panels, strict=True):
        for label, values in panel.curves.items():
            axes.plot(panel.places, values, marker="o", markersize=3, label=label)
        axes.set(xscale="log", yscale=panel.scale, xlabel=panel.across, ylabel=panel.up)
        axes.set_ylim(bottom=BOTTOMS[panel.scale])
        axes.set_xticks(panel.places, [f"{place:g}" for place in panel.places])
        axes.minorticks_off()
        axes.grid(visible=True, alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
