"""Ellipses from 24 points, trained in several ways and at several temperatures; and latents that can say too much.

`python -m benchmarks.circles` writes its tables into docs/results.md. Energies are squared distances here, and b is
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
from pyrometer.models import Ellipse, Horn
from pyrometer.networks import CurveDecoder

from .results_page import PAGE, provenance, table, write_block

__all__ = ["circle", "main", "shape_row", "trained", "way_row", "ways"]

NOISE = 0.05
RIGHT = 1 / (2 * NOISE**2)
"""The inverse temperature b of squared distances that the noise makes right: 200."""
RADII = torch.tensor([2.0, 1.5])
STEPS, RATE = 1000, 0.02
FRESH = 200
TOLERABLE = 2.0
UNIT = math.sqrt(0.5)
"""The scale at which the program's energy is the squared distance."""


class Way(NamedTuple):
    """How an ellipse is trained: the scale of its likelihood, the objective, beta, and whether by a guide."""

    scale: float
    objective: Any
    beta: float | Callable[[float], float] = 1.0
    guided: bool = False
    steps: int = STEPS


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
        "amortised by a guide, b = 200": Way(NOISE, None, guided=True, steps=3 * STEPS),
    }


def trained(model: nn.Module, guide: Any, data: Any, way: Way, seed: int) -> float:
    """Trains in place, Adam's rate decaying to 0 over the second half; gives the seconds."""
    began = time.perf_counter()
    how: dict[str, Any] = {"batch_size": None, "seed": seed, "progress": False, "compile": False, "schedule": _decay}
    adam = partial(torch.optim.Adam, lr=RATE)
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


def shape_row(harmonics: int, b: float, seed: int) -> list[float]:
    """Of a network's curve: mean F_inf of the training points, of fresh ones, of the plane; -log p of fresh ones."""
    pyro.set_rng_seed(seed)
    model = Horn(CurveDecoder(hidden=32, harmonics=harmonics), scale=UNIT)
    points = ellipse(24 + FRESH, seed)["point"]
    data = {"x": torch.zeros(24), "point": points[:24]}
    objective, beta = (Minimised(circle(512)), 1.0) if b == math.inf else (Marginalised(circle(512)), b)
    trained(model, None, data, Way(UNIT, objective, beta), seed)
    plane = (2 * torch.rand(500, 2) - 1) * torch.tensor([3.0, 2.5])
    squares = [squared_distances(model, part) for part in (points[:24], points[24:], plane)]
    likelihood = torch.exp(-RIGHT * squares[1]).mean(0).log() - math.log(2 * math.pi * NOISE**2)
    return [*[part.amin(0).mean().item() for part in squares], -likelihood.mean().item()]


@torch.no_grad()
def squared_distances(model: Horn, points: Tensor, fine: int = 4096) -> Tensor:
    """From every point to a fine row of points along the curve, (fine, N)."""
    curve = model.decoder(torch.zeros(fine), circle(fine)["angle"])
    return (curve.unsqueeze(1) - points).square().sum(-1)


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.circles", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the tables")
    chosen = parser.parse_args()
    first, good = _ways_table(chosen.seeds)
    second = _shapes_table(chosen.seeds)
    text = f"{first}\n\n{WAYS}\n\n{second}\n\n{SHAPES}\n\n{provenance('benchmarks.circles')}"
    write_block(chosen.results, "circles", text)
    print(text)
    return 0 if good else 1


WAYS = f"""Mean ± standard deviation over seeds, each with 24 points of its own and {FRESH} fresh ones; {STEPS} steps of
Adam at {RATE}, three times as many with the guide. -log p is that of an ellipse with the radii reached and the noise
that the data have, in nats a point. At b = 1 the free energy explains the points by a noise of variance 1/2, which they
have not, and takes the radii smaller for it."""
SHAPES = f"""The curve is a network of the first harmonics of the angle, which is told nothing of ellipses. F_inf is the
mean squared distance to it: of the 24 training points, of {FRESH} fresh ones, and of points all over the plane,
[-3, 3] x [-2.5, 2.5]; -log p in nats a point, with the noise that the data have."""


def _ways_table(seeds: Sequence[int]) -> tuple[str, bool]:
    rows, errors = [], {}
    for name, way in ways().items():
        found = [way_row(way, seed) for seed in seeds]
        errors[name] = statistics.mean(row[0] for row in found)
        rows.append([name, *_cells(found, (2, 4, 4, 3, 1))])
        print(rows[-1], flush=True)
    header = ["training", "largest error, %", "radius 1", "radius 2", "fresh -log p", "s"]
    good = all(errors[name] < TOLERABLE for name in list(errors)[:3])
    return table(header, rows), good


def _shapes_table(seeds: Sequence[int]) -> str:
    rows = []
    for harmonics in (1, 12):
        for b in (math.inf, RIGHT, 20.0, 2.0):
            found = [shape_row(harmonics, b, seed) for seed in seeds]
            rows.append([str(harmonics), f"{b:g}", *_cells(found, (4, 4, 3, 2))])
            print(rows[-1], flush=True)
    found = [_truth(seed) for seed in seeds]
    rows.append(["the true ellipse", "-", *_cells(found, (4, 4, 3, 2))])
    return table(["harmonics", "b", "F_inf, trained", "F_inf, fresh", "F_inf, plane", "fresh -log p"], rows)


def _truth(seed: int) -> list[float]:
    """What ``shape_row`` gives of the true curve."""
    pyro.set_rng_seed(seed)
    points, on = ellipse(24 + FRESH, seed)["point"], Ellipse(RADII.tolist()).curve(circle(4096)["angle"]).detach()
    plane = (2 * torch.rand(500, 2) - 1) * torch.tensor([3.0, 2.5])
    squares = [(on.unsqueeze(1) - part).square().sum(-1) for part in (points[:24], points[24:], plane)]
    likelihood = torch.exp(-RIGHT * squares[1]).mean(0).log() - math.log(2 * math.pi * NOISE**2)
    return [*[part.amin(0).mean().item() for part in squares], -likelihood.mean().item()]


def _cells(rows: Sequence[Sequence[float]], digits: Sequence[int]) -> list[str]:
    columns = zip(zip(*rows, strict=True), digits, strict=True)
    return [f"{statistics.mean(c):.{d}f} ± {statistics.stdev(c) if len(c) > 1 else math.nan:.{d}f}" for c, d in columns]


def _decay(progress: float) -> float:
    return min(1.0, 2 * (1 - progress))


if __name__ == "__main__":
    sys.exit(main())
