"""Ellipses from 24 points, trained in several ways and at several temperatures.

`python -m benchmarks.circles` writes its table into docs/results.md. Energies are squared distances here, and b is
their inverse temperature: with noise of standard deviation s, b = 1 / (2 s^2) makes F_b minus the log likelihood. Exits
with 1 where the radii are off by 2 % on average at zero temperature or at the right one.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor, nn

from pyrometer import EnergyView, Marginalised, Minimised, fit
from pyrometer.data import ellipse
from pyrometer.guides import Angle
from pyrometer.models import Ellipse

from .results_page import PAGE, mean_and_spread, provenance, table, write_block

__all__ = ["NOISE", "RIGHT", "UNIT", "Way", "cells", "circle", "main", "trained", "way_row", "ways"]

NOISE = 0.05
RIGHT = 1 / (2 * NOISE**2)
"""The inverse temperature b of squared distances that the noise makes right: 200."""
RADII = torch.tensor([2.0, 1.5])
STEPS, RATE = 500, 0.05
FRESH = 200
TOLERABLE = 2.0
UNIT = math.sqrt(0.5)
"""The scale at which the program's energy is the squared distance."""


class Way(NamedTuple):
    """How a curve is trained: its likelihood's scale, the objective, beta, whether by a guide, steps and their rate."""

    scale: float
    objective: Any
    beta: float | Callable[[float], float] = 1.0
    guided: bool = False
    steps: int = STEPS
    rate: float = RATE


def circle(points: int) -> dict[str, Tensor]:
    """Evenly spaced angles."""
    return {"angle": 2 * math.pi * torch.arange(points) / points}


def ways() -> dict[str, Way]:
    """The rows of the first table."""
    around = Marginalised(circle(512))
    return {
        "minimised, b = inf": Way(UNIT, Minimised(circle(1024))),
        "marginalised, b = 200": Way(UNIT, around, RIGHT),
        "marginalised, cooled from b = 1 to 200": Way(UNIT, around, lambda progress: RIGHT**progress),
        "marginalised, b = 10": Way(UNIT, around, 10.0),
        "marginalised, b = 1": Way(UNIT, around),
        "amortised by a guide, b = 200": Way(NOISE, None, guided=True, steps=6 * STEPS, rate=0.02),
    }


def trained(model: nn.Module, guide: Any, data: Any, way: Way, seed: int) -> float:
    """Trains in place, Adam's rate decaying to 0 over the second half; gives the seconds."""
    began = time.perf_counter()
    how: dict[str, Any] = {"batch_size": None, "seed": seed, "progress": False, "compile": False, "schedule": _decay}
    adam = partial(torch.optim.Adam, lr=way.rate)
    fit(model, guide, data, objective=way.objective, beta=way.beta, steps=way.steps, optimizer=adam, **how)
    return time.perf_counter() - began


def way_row(way: Way, seed: int) -> list[float]:
    """The largest error of a radius in %, both radii, -log p of fresh points in nats, and seconds."""
    pyro.set_rng_seed(seed)
    model, guide = Ellipse(scale=way.scale), Angle(hidden=64) if way.guided else None
    points = ellipse(24 + FRESH, seed)["point"]
    seconds = trained(model, guide, {"point": points[:24]}, way, seed)
    radii = model.radii.detach().abs()
    judged = Ellipse(radii.tolist(), scale=NOISE)
    energy = EnergyView(judged).bind(points[24:]).free_energy().value.item() / FRESH
    return [(100 * (radii / RADII - 1)).abs().max().item(), *radii.tolist(), energy, seconds]


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.circles", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    first, good = _ways_table(chosen.seeds)
    text = f"{first}\n\n{WORDS}\n\n{provenance('benchmarks.circles')}"
    write_block(chosen.results, "circles", text)
    print(text)
    return 0 if good else 1


WORDS = f"""Mean ± standard deviation over seeds, each with 24 points of its own and {FRESH} fresh ones; {STEPS} steps
of Adam at {RATE}, or {6 * STEPS} at 0.02 with the guide. -log p is that of an ellipse with the radii reached and the
noise that the data have, in nats a point. At b = 1 the free energy explains the points by a noise of variance 1/2,
which they have not, and takes the radii smaller for it."""


def _ways_table(seeds: Sequence[int]) -> tuple[str, bool]:
    rows, errors = [], {}
    for name, way in ways().items():
        found = [way_row(way, seed) for seed in seeds]
        errors[name] = statistics.mean(row[0] for row in found)
        rows.append([name, *cells(found, (2, 4, 4, 3, 1))])
        print(rows[-1], flush=True)
    header = ["training", "largest error, %", "radius 1", "radius 2", "fresh -log p", "s"]
    good = all(errors[name] < TOLERABLE for name in list(errors)[:3])
    return table(header, rows), good


def cells(rows: Sequence[Sequence[float]], digits: Sequence[int]) -> list[str]:
    """Mean ± standard deviation of each column, with so many digits."""
    columns = zip(zip(*rows, strict=True), digits, strict=True)
    return [mean_and_spread(c, d) for c, d in columns]


def _decay(progress: float) -> float:
    return min(1.0, 2 * (1 - progress))


if __name__ == "__main__":
    sys.exit(main())
