"""MNIST with few labels: the test error of the recipe `ssvae`'s final weights, over seeds, and what it cost.

`python -m benchmarks.mnist` writes its table into docs/results.md; `--labels 100` makes one row of it. It needs MNIST
(see pyrometer.data.mnist) and a processor that multiplies bfloat16 numbers; interrupted, it goes on where it was. Every
seed draws other labels, another validation set of 10,000 training images and other weights. The test set is looked at
once, with the final weights.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .parallel_runs import Job, Reached, rows_of, train_all
from .results_page import PAGE, cpu_minutes, mean_and_spread, provenance, table, write_block

__all__ = ["ROWS", "main", "report", "run_folder"]

ROWS = ((100, 20), (1000, 20), (3000, 20), (6000, 8))
"""Numbers of labels, and for how many epochs each is trained."""
SETTINGS = {"style": 10, "hidden": 200, "learning_rate": 2e-3, "self_training": 0.3, "consistency": 1.0}
"""Spelt out, so that the table stays what it is when the recipe's own choice moves."""
HIDDEN = {6000: 256}
"""The width of the decoder's hidden layer, where it is another: that of the notebook which that row is set beside."""
PUBLISHED = {
    100: "M2 11.97, M1+M2 3.33 (1); SDGM 1.32, ADGM 0.96 (2)",
    1000: "M2 3.60, M1+M2 2.40 (1)",
    3000: "M2 3.92, M1+M2 2.18 (1)",
    6000: "5.0 after 200 epochs (3)",
}
SOURCES = """\
(1) D. Kingma, D. Rezende, S. Mohamed, M. Welling (2014), table 1; (2) L. Maaloe, C. Sonderby, S. Sonderby, O. Winther
(2016), table 1: both without data augmentation. (3) Probtorch's notebook of a semi-supervised VAE, 256 hidden units."""
HEADER = ["labels", "epochs", "seeds", "test error, %", "by seed", "validation error, %", "CPU minutes", "published, %"]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--labels", type=int, nargs="+", help="the rows of these; of all, without")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="of every row, in place of its own")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--precision", default="bf16", help="as pyrometer.fit has it")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="where the runs go")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    jobs = [
        Job(_settings(labels, seed), epochs, run_folder(chosen.out, labels, epochs, seed), chosen.precision)
        for labels, epochs in rows_of(ROWS, chosen.labels, chosen.epochs, otherwise=20)
        for seed in chosen.seeds
    ]
    text = report(jobs, train_all(jobs, chosen.processes))
    write_block(chosen.results, "mnist", f"{text}\n\n{SOURCES}\n\n{provenance('benchmarks.mnist')}")
    print(text)


def report(jobs: Sequence[Job], reached: Sequence[Reached]) -> str:
    """The table: a row for each number of labels and of epochs, with mean and standard deviation over seeds."""
    rows: dict[tuple[int, int | None], list[Reached]] = {}
    for job, one in zip(jobs, reached, strict=True):
        rows.setdefault((job.settings["labels"], job.epochs), []).append(one)
    return table(HEADER, [_row(labels, ours) for (labels, _), ours in rows.items()])


def run_folder(out: Path, labels: int, epochs: int, seed: int) -> Path:
    """Where such a training is kept."""
    return out / f"mnist-{labels}-{epochs}-{seed}"


def _row(labels: int, ours: Sequence[Reached]) -> list[str]:
    validation = [1 - one.validation for one in ours if one.validation is not None]
    return [
        *(str(labels), str(ours[0].epochs), str(len(ours))),
        f"**{_in_percent([1 - one.test for one in ours])}**",
        ", ".join(f"{100 * (1 - one.test):.2f}" for one in ours),
        _in_percent(validation) if validation else "",
        cpu_minutes([one.cpu_seconds for one in ours]),
        PUBLISHED.get(labels, ""),
    ]


def _in_percent(parts: Sequence[float]) -> str:
    return mean_and_spread([100 * part for part in parts])


def _settings(labels: int, seed: int) -> dict[str, Any]:
    hidden = {"hidden": HIDDEN[labels]} if labels in HIDDEN else {}
    return {"data": "mnist", **SETTINGS, "labels": labels, "seed": seed, **hidden}


if __name__ == "__main__":
    main()
