"""Products in bfloat16 train the recipe `ssvae` to where float32 does: accuracy and ELBO on MNIST, over seeds.

`python -m benchmarks.bfloat16` writes its table into docs/results.md. It needs MNIST (see pyrometer.data.mnist) and a
processor that multiplies bfloat16 numbers. Every seed draws other labels and other weights, the same for both
precisions. Exits with 1 where the means differ by more than the spread over seeds.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from pyrometer import EnergyView
from pyrometer.inference.energy.elbo_gap import elbo_gap
from pyrometer.inference.svi.bfloat16 import has_bfloat16_products
from pyrometer.recipes.run import open_run

from .parallel_runs import Job, Reached, train_all
from .results_page import PAGE, mean_and_spread, provenance, table, write_block

__all__ = ["PRECISIONS", "main", "report"]

PRECISIONS = ("32-true", "bf16")
SETTINGS = {"data": "mnist", "labels": 3000, "style": 10, "hidden": 200, "learning_rate": 1.5e-3}
HEADER = ["precision", "seeds", "test accuracy, %", "ELBO of test images, nats an image", "s"]


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bfloat16", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="where the runs go")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    if not has_bfloat16_products(torch.device("cpu")):
        parser.error("this processor does not multiply bfloat16 numbers by itself.")
    jobs = [
        Job({**SETTINGS, "seed": seed}, chosen.epochs, chosen.out / f"{precision}-{seed}", precision)
        for precision in PRECISIONS
        for seed in chosen.seeds
    ]
    reached = [
        one._replace(elbo=_elbo(job.out)) for job, one in zip(jobs, train_all(jobs, chosen.processes), strict=True)
    ]
    parts = {
        precision: [one for job, one in zip(jobs, reached, strict=True) if job.precision == precision]
        for precision in PRECISIONS
    }
    text, good = report(parts)
    write_block(chosen.results, "bfloat16", f"{text}\n\n{provenance('benchmarks.bfloat16')}")
    print(text)
    return 0 if good else 1


def report(reached: Mapping[str, Sequence[Reached]]) -> tuple[str, bool]:
    """The table, and whether both precisions reach the same: their means differ by no more than the spread over seeds.

    The spread is the larger of the two standard deviations.
    """
    accuracies = {precision: [100 * one.test for one in runs] for precision, runs in reached.items()}
    elbos = {precision: [one.elbo for one in runs] for precision, runs in reached.items()}
    rows, verdicts, good = [], [], True
    for precision, runs in reached.items():
        seconds = f"{statistics.mean(one.seconds for one in runs):.0f}"
        reaches = [mean_and_spread(numbers[precision]) for numbers in (accuracies, elbos)]
        rows.append([precision, str(len(runs)), *reaches, seconds])
    for name, unit, numbers in (("accuracy", "points", accuracies), ("ELBO", "nats", elbos)):
        one, other = (numbers[precision] for precision in PRECISIONS)
        difference = statistics.mean(other) - statistics.mean(one)
        spread = max(statistics.stdev(one), statistics.stdev(other))
        good &= abs(difference) <= spread
        verdicts.append(f"{name} by {difference:+.2f} {unit}, where seeds spread by {spread:.2f}")
    return f"{table(HEADER, rows)}\n\nbf16 differs in {'; and in '.join(verdicts)}.", good


def _elbo(folder: Path, draws: int = 20, at_a_time: int = 1000) -> float:
    """Of all test images, in nats an image: the error of the draws is a hundredth of a nat and less."""
    opened = open_run(folder)
    images, view = opened.recipe.held_out["image"], EnergyView(opened.recipe.model)
    parts = images.split(at_a_time)
    totals = [elbo_gap(view.bind(image=part), opened.recipe.guide, draws).negative_elbo.item() for part in parts]
    return -sum(totals) / len(images)


if __name__ == "__main__":
    sys.exit(main())
