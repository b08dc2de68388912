"""The embedded digits with 100 labels: the recipe `ssvae` beside scikit-learn's classifiers on the same splits.

`python -m benchmarks.digits` writes its table into docs/results.md. Every seed draws another test set, other labels and
other weights. Exits with 1 where logistic regression is not beaten on every split.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyrometer.data import digits, train_test_split
from pyrometer.recipes.label_baselines import BASELINES, label_baselines
from pyrometer.recipes.ssvae import recipe

from .parallel_runs import Job, Reached, train_all
from .results_page import PAGE, mean_and_spread, provenance, table, write_block

__all__ = ["main", "report"]

LABELS = 100


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.digits", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, help="the recipe's own without")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="where the runs go")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    jobs = [Job(_settings(seed), chosen.epochs, chosen.out / f"digits-{LABELS}-{seed}") for seed in chosen.seeds]
    ours = train_all(jobs, chosen.processes)
    baselines = [baselines_of(seed) for seed in chosen.seeds]
    text, beaten = report(chosen.seeds, ours, baselines)
    write_block(chosen.results, "digits", f"{text}\n\n{provenance('benchmarks.digits')}")
    print(text)
    return 0 if beaten else 1


def baselines_of(seed: int) -> dict[str, float]:
    """The accuracies of scikit-learn's classifiers on the split of a seed."""
    return label_baselines(recipe(**_settings(seed)).data, train_test_split(digits(), seed=seed).test)


def report(seeds: Sequence[int], ours: Sequence[Reached], baselines: Sequence[dict[str, float]]) -> tuple[str, bool]:
    """The table with what it shows, and whether logistic regression is beaten on every split."""
    columns = {"ssvae": [one.test for one in ours]} | {name: [one[name] for one in baselines] for name in BASELINES}
    rows = [
        [str(seed), *(f"{100 * values[place]:.1f}" for values in columns.values()), f"{ours[place].seconds:.0f}"]
        for place, seed in enumerate(seeds)
    ]
    seconds = sum(one.seconds for one in ours) / len(ours)
    rows.append(["mean ± sd", *(_in_percent(values) for values in columns.values()), f"{seconds:.0f}"])
    margins = [100 * (a - b) for a, b in zip(columns["ssvae"], columns["logistic regression"], strict=True)]
    won = sum(margin > 0 for margin in margins)
    span = f"{min(margins):.1f} to {max(margins):.1f} points"
    shown = f"ssvae minus logistic regression: {span}; above it on {won} of {len(seeds)} splits."
    learnt = "\n".join(f"- {name}: learns from {source}." for name, source in BASELINES.items())
    header = ["seed", *(f"{name}, %" for name in columns), "s"]
    return f"{table(header, rows)}\n\n{shown}\n\n{learnt}", won == len(seeds)


def _in_percent(parts: Sequence[float]) -> str:
    return mean_and_spread([100 * part for part in parts], digits=1)


def _settings(seed: int) -> dict[str, Any]:
    return {"data": "digits", "labels": LABELS, "seed": seed}


if __name__ == "__main__":
    sys.exit(main())
