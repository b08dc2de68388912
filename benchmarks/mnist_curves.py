"""MNIST with few labels: validation error against CPU time, of the recipe `ssvae` and of M2 trained with Pyro alone.

`python -m benchmarks.mnist_curves` draws docs/mnist_curves.png and writes its table into docs/results.md. Our curves
are those of the trainings that `python -m benchmarks.mnist` has left; the peer is trained here, on one thread. It needs
MNIST (see pyrometer.data.mnist).
"""

import argparse
import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure

from .peer_ssvae import Epoch, train
from .results_page import PAGE, provenance, table, write_block

__all__ = ["figure", "main", "ours", "report", "until"]

OURS, PEER = "ssvae", "M2, Pyro alone"
LEVELS = (0.1, 0.05, 0.03, 0.02)
Curves = Mapping[tuple[str, int], Sequence[Sequence[Epoch]]]
"""By system and number of labels, a curve for each seed."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mnist_curves", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 1000, 3000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--peer-labels", type=int, nargs="+", default=[100, 3000])
    parser.add_argument("--peer-seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=9, help="of the peer")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="where those trainings are")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table, beside the picture")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    curves: dict[tuple[str, int], list[list[Epoch]]] = {}
    for labels in chosen.labels:
        found = [ours(chosen.out / f"mnist-{labels}-{seed}") for seed in chosen.seeds]
        curves[OURS, labels] = [curve for curve in found if curve]
    for labels in chosen.peer_labels:
        curves[PEER, labels] = [list(train(labels, seed, chosen.epochs)) for seed in chosen.peer_seeds]
    figure(curves).savefig(chosen.results.parent / "mnist_curves.png", dpi=120)
    text = report(curves)
    write_block(chosen.results, "mnist_curves", f"{text}\n\n{WORDS}\n\n{provenance('benchmarks.mnist_curves')}")
    print(text)


WORDS = """Means over seeds, in brackets how many of them got there; error on validation images. Every epoch of the
recipe is taken to cost as much as any other. The peer has the sizes and the settings of Pyro's own example, sees no
augmentation, and is trained for as many epochs as that reports.

![Validation error against CPU time](mnist_curves.png)"""


def ours(folder: Path) -> list[Epoch]:
    """The epochs of a finished training of `benchmarks.mnist`; none where its CPU time is not known."""
    summary = json.loads((folder / "summary.json").read_text())
    if summary.get("cpu_seconds") is None:
        return []
    with (folder / "metrics.csv").open(newline="") as file:
        errors = [1 - float(row["validation_accuracy"]) for row in csv.DictReader(file)]
    return [Epoch(summary["cpu_seconds"] * (n + 1) / len(errors), error) for n, error in enumerate(errors)]


def until(curve: Sequence[Epoch], level: float) -> float | None:
    """CPU seconds until the error is first at most so large; None where it never is.

    Example:
        >>> until([Epoch(10.0, 0.2), Epoch(20.0, 0.09)], 0.1)
        20.0
    """
    return next((epoch.cpu_seconds for epoch in curve if epoch.validation_error <= level), None)


def report(curves: Curves) -> str:
    """The table: CPU minutes until the error is as low as each level, and where it ends."""
    header = ["trained", "labels", "seeds", *(f"{level:.0%}, CPU minutes" for level in LEVELS), "at the end", "after"]
    rows = []
    for (system, labels), seeds in curves.items():
        if not seeds:
            continue
        times = [[time for curve in seeds if (time := until(curve, level)) is not None] for level in LEVELS]
        last = statistics.mean(curve[-1].validation_error for curve in seeds)
        minutes = statistics.mean(curve[-1].cpu_seconds / 60 for curve in seeds)
        cells = [f"{statistics.mean(some) / 60:.1f} ({len(some)})" if some else "-" for some in times]
        rows.append([system, str(labels), str(len(seeds)), *cells, f"{100 * last:.2f} %", f"{minutes:.1f} min"])
    return table(header, rows)


def figure(curves: Curves) -> Figure:
    """A line for each training, on logarithmic axes."""
    picture = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = picture.subplots()
    counts = sorted({labels for _, labels in curves})
    for (system, labels), seeds in curves.items():
        for index, curve in enumerate(seeds):
            axes.plot(
                [epoch.cpu_seconds / 60 for epoch in curve],
                [100 * epoch.validation_error for epoch in curve],
                color=f"C{counts.index(labels)}",
                linestyle="-" if system == OURS else "--",
                alpha=0.8,
                label=f"{system}, {labels:,} labels" if index == 0 else None,
            )
    axes.set(xscale="log", yscale="log", xlabel="CPU minutes", ylabel="validation error, %")
    axes.set_yticks(some := [1, 2, 5, 10, 20, 50], [str(level) for level in some])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return picture


if __name__ == "__main__":
    main()
