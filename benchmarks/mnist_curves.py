"""MNIST with few labels: validation error against CPU time, of the recipe `ssvae` and of M2 trained with Pyro alone.

`python -m benchmarks.mnist_curves` draws docs/mnist_curves.png and writes its table into docs/results.md. Our curves
are those of the trainings that `python -m benchmarks.mnist` has left; the peer is trained here, on one thread. It needs
MNIST (see pyrometer.data.mnist).
"""

import argparse
import csv
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure

from .mnist import ROWS, run_folder
from .peer_ssvae import Epoch, train
from .results_page import PAGE, provenance, table, write_block

__all__ = ["figure", "main", "ours", "report", "until"]

OURS, PEER = "ssvae", "M2, Pyro alone"
PEER_LABELS = 3000
"""Those of Pyro's example, which sees each labelled image once an epoch: with fewer it takes hardly any on labels."""
LEVELS = (0.1, 0.05, 0.03, 0.02)
Curves = Mapping[tuple[str, int], Sequence[Sequence[Epoch]]]
"""By system and number of labels, a curve for each seed."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mnist_curves", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 1000, 3000], choices=dict(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--peer-labels", type=int, nargs="+", default=[PEER_LABELS])
    parser.add_argument("--peer-seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=9, help="of the peer")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="where those trainings are")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table, beside the picture")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    curves: dict[tuple[str, int], list[list[Epoch]]] = {}
    for labels in chosen.labels:
        epochs = max(own for count, own in ROWS if count == labels)
        curves[OURS, labels] = [ours(run_folder(chosen.out, labels, epochs, seed)) for seed in chosen.seeds]
    for labels in chosen.peer_labels:
        curves[PEER, labels] = [train(labels, seed, chosen.epochs) for seed in chosen.peer_seeds]
    figure(curves).savefig(chosen.results.parent / "mnist_curves.png", dpi=120)
    text, words = report(curves), WORDS.format(peer=PEER_LABELS)
    write_block(chosen.results, "mnist_curves", f"{text}\n\n{words}\n\n{provenance('benchmarks.mnist_curves')}")
    print(text)


WORDS = """Means over seeds, in brackets of how many: those that got there, and whose CPU time is known (of a training
that was interrupted it is not). Errors are on validation images. The time of the recipe is that of the whole process,
from the reading of the data to the last picture, an even share for each epoch; its products are in bfloat16, as
`python -m benchmarks.mnist` has them, and its classifier learns from distorted copies. The peer has the sizes and the
settings of Pyro's own example for {peer} labels, float32, and plain images; its time is that of its steps.

![Validation error against CPU time](mnist_curves.png)"""


def ours(folder: Path) -> list[Epoch]:
    """The epochs of a finished training of `benchmarks.mnist`, with times that are nan where nobody knows them.

    Raises:
        FileNotFoundError: if there is none.
    """
    if not (folder / "summary.json").exists():
        raise FileNotFoundError(f"{folder} has no finished training: run python -m benchmarks.mnist first.")
    summary = json.loads((folder / "summary.json").read_text())
    seconds = summary.get("cpu_seconds") or math.nan
    with (folder / "metrics.csv").open(newline="") as file:
        errors = [1 - float(row["validation_accuracy"]) for row in csv.DictReader(file)]
    return [Epoch(seconds * (n + 1) / len(errors), error) for n, error in enumerate(errors)]


def until(curve: Sequence[Epoch], level: float) -> float | None:
    """CPU seconds until the error is first at most so large; None where it never is, or they are not known.

    Example:
        >>> until([Epoch(10.0, 0.2), Epoch(20.0, 0.09)], 0.1)
        20.0
    """
    seconds = next((epoch.cpu_seconds for epoch in curve if epoch.validation_error <= level), math.nan)
    return None if math.isnan(seconds) else seconds


def report(curves: Curves) -> str:
    """The table: CPU minutes until the error is as low as each level, and where it ends."""
    header = [
        "trained",
        "labels",
        "seeds",
        *(f"{level:.0%}, CPU minutes" for level in LEVELS),
        "error at the end",
        "CPU minutes in all",
    ]
    rows = []
    for (system, labels), seeds in curves.items():
        times = [[time for curve in seeds if (time := until(curve, level)) is not None] for level in LEVELS]
        last = statistics.mean(curve[-1].validation_error for curve in seeds)
        cells = [_minutes(some) for some in [*times, _known(seeds)]]
        rows.append([system, str(labels), str(len(seeds)), *cells[:-1], f"{100 * last:.2f} %", cells[-1]])
    return table(header, rows)


def _known(seeds: Sequence[Sequence[Epoch]]) -> list[float]:
    return [curve[-1].cpu_seconds for curve in seeds if not math.isnan(curve[-1].cpu_seconds)]


def _minutes(seconds: Sequence[float]) -> str:
    return f"{statistics.mean(seconds) / 60:.1f} ({len(seconds)})" if seconds else "-"


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
    axes.set_xticks(some := [1, 2, 5, 10, 20], [str(minutes) for minutes in some])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return picture


if __name__ == "__main__":
    main()
