"""MNIST with few labels: the accuracy of the recipe `ssvae`'s final weights, over seeds.

`python -m benchmarks.mnist` writes its table into docs/results.md. It needs MNIST (see pyrometer.data.mnist) and, as it
is, some hours of one core; interrupted, it goes on where it was. Every seed draws other labels, another validation set
of 10,000 training images and other weights. The test set is looked at once, with the final weights.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .parallel_runs import Job, Reached, mean_and_spread, train_all
from .results_page import PAGE, provenance, table, write_block

__all__ = ["main", "report"]

EPOCHS = {3000: 10, 100: 20}
"""How long to train, by the number of labels."""
SETTINGS = {"data": "mnist", "style": 10, "hidden": 200, "learning_rate": 1.5e-3}
"""Spelt out, so that the table stays what it is when the recipe's own choice moves."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--labels", type=int, nargs="+", default=list(EPOCHS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="10 for 3,000 labels and else 20, without")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="where the runs go")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    jobs = [
        Job(
            {**SETTINGS, "labels": labels, "seed": seed},
            chosen.epochs or EPOCHS.get(labels, 20),
            chosen.out / f"mnist-{labels}-{seed}",
        )
        for labels in chosen.labels
        for seed in chosen.seeds
    ]
    text = report(jobs, train_all(jobs, chosen.processes))
    write_block(chosen.results, "mnist", f"{text}\n\n{provenance('benchmarks.mnist')}")
    print(text)


def report(jobs: Sequence[Job], reached: Sequence[Reached]) -> str:
    """The table: a row for each training, and the mean over the seeds of each number of labels."""
    rows = []
    for labels in dict.fromkeys(job.settings["labels"] for job in jobs):
        of_labels = [(job, one) for job, one in zip(jobs, reached, strict=True) if job.settings["labels"] == labels]
        rows += [_row(labels, job, one) for job, one in of_labels]
        rows.append(_mean_row(labels, [one for _, one in of_labels]))
    return table(["labels", "epochs", "seed", "test accuracy, %", "validation accuracy, %", "s"], rows)


def _row(labels: int, job: Job, one: Reached) -> list[str]:
    validation = "" if one.validation is None else f"{100 * one.validation:.2f}"
    return [
        str(labels),
        str(one.epochs),
        str(job.settings["seed"]),
        f"{100 * one.test:.2f}",
        validation,
        f"{one.seconds:.0f}",
    ]


def _mean_row(labels: int, ours: Sequence[Reached]) -> list[str]:
    validation = [one.validation for one in ours if one.validation is not None]
    cells = [
        *(str(labels), str(ours[0].epochs), "mean ± sd", mean_and_spread([one.test for one in ours])),
        *(mean_and_spread(validation) if validation else "", f"{sum(one.seconds for one in ours) / len(ours):.0f}"),
    ]
    return [f"**{cell}**" if cell else "" for cell in cells]


if __name__ == "__main__":
    main()
