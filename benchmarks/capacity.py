"""A latent that can say too much: curves of many harmonics through 24 points of an ellipse, cold and warm.

`python -m benchmarks.capacity` writes its table into docs/results.md. Energies are squared distances, and b is their
inverse temperature, as in `benchmarks.circles`. Exits with 1 where the curve of zero temperature is no farther from
fresh points than that of b = 20, or no nearer to the plane.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import pyro
import torch
from torch import Tensor

from pyrometer import Marginalised, Minimised
from pyrometer.data import ellipse
from pyrometer.models import Ellipse, Horn
from pyrometer.networks import CurveDecoder

from .circles import NOISE, RIGHT, UNIT, Way, cells, circle, trained
from .results_page import PAGE, provenance, table, write_block

__all__ = ["curve_row", "judged", "main"]

FRESH, STEPS, RATE = 200, 1000, 0.01
MANY, WARM = 24, 20.0
TRIED = [(1, math.inf), *[(MANY, b) for b in (math.inf, RIGHT, WARM, 5.0)]]
"""Harmonics and inverse temperatures."""


def curve_row(harmonics: int, b: float, seed: int) -> list[float]:
    """What ``judged`` gives of a network's curve."""
    pyro.set_rng_seed(seed)
    model = Horn(CurveDecoder(hidden=32, harmonics=harmonics), scale=UNIT)
    data = {"x": torch.zeros(24), "point": ellipse(24 + FRESH, seed)["point"][:24]}
    objective, beta = (Minimised(circle(512)), 1.0) if b == math.inf else (Marginalised(circle(512)), b)
    trained(model, None, data, Way(UNIT, objective, beta, steps=STEPS, rate=RATE), seed)
    with torch.no_grad():
        return judged(model.decoder(torch.zeros(4096), circle(4096)["angle"]), seed)


def judged(curve: Tensor, seed: int) -> list[float]:
    """Of points along a curve: mean F_inf of training points, of fresh ones, of the plane; -log p of fresh ones."""
    points = ellipse(24 + FRESH, seed)["point"]
    plane = (2 * torch.rand(500, 2, generator=torch.Generator().manual_seed(seed)) - 1) * torch.tensor([3.0, 2.5])
    squares = [(curve.unsqueeze(1) - part).square().sum(-1) for part in (points[:24], points[24:], plane)]
    log_p = (-RIGHT * squares[1]).logsumexp(0) - math.log(len(curve)) - math.log(2 * math.pi * NOISE**2)
    return [*[part.amin(0).mean().item() for part in squares], -log_p.mean().item()]


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    text, good = _report(chosen.seeds)
    text = f"{text}\n\n{WORDS}\n\n{provenance('benchmarks.capacity')}"
    write_block(chosen.results, "capacity", text)
    print(text)
    return 0 if good else 1


WORDS = f"""Mean ± standard deviation over seeds. The curve is a network of the first harmonics of the angle, which is
told nothing of ellipses. F_inf is the mean squared distance to it: of the 24 training points, of {FRESH} fresh ones,
and of points all over the plane, [-3, 3] x [-2.5, 2.5], whose energy should be high; -log p in nats a point, with the
noise that the data have. {STEPS} steps of Adam at {RATE}."""


def _report(seeds: Sequence[int]) -> tuple[str, bool]:
    """The table, and whether zero temperature shows what it should."""
    rows, means = [], {}
    for harmonics, b in TRIED:
        found = [curve_row(harmonics, b, seed) for seed in seeds]
        means[harmonics, b] = [statistics.mean(column) for column in zip(*found, strict=True)]
        rows.append([str(harmonics), f"{b:g}", *cells(found, (4, 4, 3, 2))])
        print(rows[-1], flush=True)
    on = Ellipse((2.0, 1.5)).curve(circle(4096)["angle"]).detach()
    rows.append(["the true ellipse", "-", *cells([judged(on, seed) for seed in seeds], (4, 4, 3, 2))])
    cold, warm = means[MANY, math.inf], means[MANY, WARM]
    header = ["harmonics", "b", "F_inf, trained", "F_inf, fresh", "F_inf, plane", "fresh -log p"]
    return table(header, rows), cold[1] > warm[1] and cold[2] < warm[2]


if __name__ == "__main__":
    sys.exit(main())
