"""K-means: training at zero temperature beside scikit-learn's, and deterministic annealing beside k-means++.

`python -m benchmarks.kmeans` writes tables into docs/results.md. Exits with 1 where one training at zero temperature
from an annealed start ends above ten restarts of scikit-learn, annealing reaches the least inertia known from no more
seeds than k-means++ does, or the first split is more than 2 % from where theory has it.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.cluster import KMeans as Judge
from sklearn.cluster import kmeans_plusplus
from sklearn.datasets import make_blobs
from torch import Tensor

from pyrometer import Minimised, fit
from pyrometer.data import digits, spiral
from pyrometer.models import KMeans
from pyrometer.models.kmeans import em_step
from pyrometer.recipes.deterministic_annealing import anneal, critical_beta, lloyd

from .results_page import PAGE, provenance, table, write_block

__all__ = ["Case", "Reached", "main", "measure", "report", "split_at"]

SAME, CLOSE = 1e-6, 1e-3
"""An inertia is the least known one within the first part of it, and close to it within the second."""
PLAIN = "k-means++, scikit-learn, n_init=1"
SCIKIT = "scikit-learn, n_init=10"
FITTED = "`fit` on F_inf, from one gently annealed start"
GROUP = 50
"""Seeds that are annealed at once."""


class Case(NamedTuple):
    """Data and a number of prototypes."""

    name: str
    features: Tensor
    components: int


class Reached(NamedTuple):
    """Inertias by way of training, one for each seed; those of ten restarts; and where the first split was seen."""

    case: Case
    single: dict[str, np.ndarray]
    of_ten: dict[str, float]
    split: float

    @property
    def least(self) -> float:
        """The least inertia of all runs of all ways."""
        return min(*[float(values.min()) for values in self.single.values()], *self.of_ten.values())


def cases() -> list[Case]:
    """The spiral, overlapping blobs, and the digits."""
    blobs = make_blobs(500, n_features=2, centers=12, cluster_std=1.0, random_state=0)[0]
    return [
        Case("spiral", spiral(400).double(), 16),
        Case("blobs", torch.as_tensor(blobs), 12),
        Case("digits", digits().image.flatten(1).double(), 10),
    ]


def measure(case: Case, seeds: int, restarts: int) -> Reached:
    """All ways from as many seeds; scikit-learn also from ``restarts`` seeds, to know the least inertia."""
    judge: Any = partial(Judge, case.components, tol=0, max_iter=1000)
    y = case.features.numpy()
    many = np.array([judge(n_init=1, random_state=seed).fit(y).inertia_ for seed in range(restarts)])
    single = {
        PLAIN: many,
        "annealed, gentle": annealed(case, seeds, perturbation=1e-3, steps=10),
        "annealed, gentle, slowly": annealed(case, seeds, perturbation=1e-3, steps=40),
        "annealed, wide": annealed(case, seeds, perturbation=1.0, steps=10),
    }
    starts = [plus_plus(case, seed) for seed in range(10)]
    cold = anneal(case.features, case.components).trajectory.prototypes.values[-1, 0]
    of_ten = {
        SCIKIT: float(judge(n_init=10, random_state=0).fit(y).inertia_),
        "scikit-learn, best of ten other starts by k-means++": min(
            float(judge(n_init=1, init=start.numpy()).fit(y).inertia_) for start in starts
        ),
        "hard EM, best of the same ten": float(inertia(case, lloyd(case.features, torch.stack(starts))).min()),
        "`fit` on F_inf, best of the same ten": min(descended(case, start) for start in starts),
        FITTED: descended(case, torch.as_tensor(cold)),
        "annealed, gentle, then Lloyd, one run": float(single["annealed, gentle"][0]),
        "annealed, wide, then Lloyd, best of ten": float(single["annealed, wide"][:10].min()),
    }
    return Reached(case, single, of_ten, split_at(case.features) / critical_beta(case.features))


def annealed(case: Case, seeds: int, perturbation: float, steps: int) -> np.ndarray:
    """The inertia from each seed."""
    groups = [range(first, min(first + GROUP, seeds)) for first in range(0, seeds, GROUP)]
    how = {"perturbation": perturbation, "steps": steps}
    return torch.cat([anneal(case.features, case.components, seeds=group, **how).inertia for group in groups]).numpy()


def plus_plus(case: Case, seed: int) -> Tensor:
    """A start by k-means++, as scikit-learn's."""
    return torch.as_tensor(kmeans_plusplus(case.features.numpy(), case.components, random_state=seed)[0])


def inertia(case: Case, prototypes: Tensor) -> Tensor:
    """Of each run, (S,)."""
    return torch.stack([KMeans(run).inertia(case.features) for run in prototypes]).detach()


def descended(case: Case, start: Tensor, steps: int = 400) -> float:
    """The inertia that gradient descent on F_inf reaches, no step of Lloyd's algorithm being taken."""
    model, size = KMeans(start), len(case.features)
    rate = 0.5 * case.components / size  # a step of 1 / (2 n_k) would put a prototype at the mean of its n_k data
    how: dict[str, Any] = {"optimizer": partial(torch.optim.SGD, lr=rate), "batch_size": None, "seed": 0}
    how |= {"progress": False, "compile": False}
    points = {"component": torch.arange(case.components)}
    fit(model, None, {"features": case.features}, objective=Minimised(points), steps=steps, **how)
    return model.inertia(case.features).item()


def split_at(features: Tensor, steps: int = 400) -> float:
    """The inverse temperature at which two prototypes at the mean begin to part, by bisection of their growth."""
    y, scale = features.double(), critical_beta(features)
    apart = torch.randn(2, y.shape[1], generator=torch.Generator().manual_seed(0), dtype=y.dtype)
    low, high = 0.5 * scale, 2.0 * scale
    while high / low > 1.0002:
        beta, grown = math.sqrt(low * high), 0.0
        for _ in range(steps):
            apart = em_step(y, y.mean(0) + 1e-6 * apart / apart.norm(), beta) - y.mean(0)
            grown = apart.norm().item() / 1e-6
        low, high = (low, beta) if grown > 1 else (beta, high)
    return math.sqrt(low * high)


def report(reached: Sequence[Reached], seeds: int) -> tuple[str, bool]:
    """The tables, and whether everything is as wanted."""
    ten = [[name, *[f"{one.of_ten[name]:.4f}" for one in reached]] for name in reached[0].of_ten]
    ten.append(["least known", *[f"{one.least:.4f}" for one in reached]])
    rows, good = [], True
    for one in reached:
        counts = {name: hits(values[:seeds], one.least) for name, values in one.single.items()}
        for name, values in one.single.items():
            own = values[:seeds] / one.least
            numbers = [f"{counts[name]} of {seeds}", f"{hits(values[:seeds], one.least, CLOSE)} of {seeds}"]
            rows.append([one.case.name, name, *numbers, f"{np.median(own):.4f}", f"{own.max():.4f}"])
        good &= min(counts["annealed, gentle"], counts["annealed, wide"]) > counts[PLAIN]
        good &= abs(one.split - 1) < 0.02
        good &= one.of_ten[FITTED] <= one.of_ten[SCIKIT] * (1 + SAME)
    names = [f"{one.case.name}, K = {one.case.components}" for one in reached]
    splits = ", ".join(f"{one.split:.4f} on {one.case.name}" for one in reached)
    text = "\n\n".join(
        [
            table(["inertia", *names], ten),
            table(["data", "one run of", "least known", "within 0.1 %", "median / least", "worst / least"], rows),
            f"The first split, measured, over beta_c = 1 / (2 lambda_max): {splits}.",
        ]
    )
    return text, good


def hits(values: np.ndarray, least: float, within: float = SAME) -> int:
    """How many are the least, within a part of it."""
    return int((values <= least * (1 + within)).sum())


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kmeans", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--restarts", type=int, default=2000, help="of scikit-learn, to know the least inertia")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the tables")
    chosen = parser.parse_args()
    reached = []
    for case in cases():
        reached.append(measure(case, chosen.seeds, chosen.restarts))
        print(f"{case.name}: {reached[-1].of_ten}, split at {reached[-1].split:.4f} beta_c", flush=True)
    text, good = report(reached, chosen.seeds)
    write_block(chosen.results, "kmeans", f"{text}\n\n{provenance('benchmarks.kmeans', 'scikit-learn')}")
    print(text)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
