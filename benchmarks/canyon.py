"""Maximum likelihood's canyon: points near an ellipse, a closed curve of some harmonics, and noise learnt or held.

`python -m benchmarks.canyon` writes its tables into docs/results.md: how the density of the known ellipse grows as its
noise shrinks, then trained curves. Exits with 1 where a learnt noise that can vanish does not, or a held one has
more than a third of its force.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import pyrometer

from .results_page import PAGE, mean_and_spread, provenance, table, write_block

__all__ = ["CASES", "Case", "ClosedCurve", "ellipse", "free_energy", "largest_force", "main", "report", "train"]

SIZE, FRESH, NOISE = 24, 500, 1 / 20
POINTS, DENSE = 2048, 32768
"""Of the circle of latents: while training, and to judge what was trained."""
RATE = 0.015
"""At the start; it falls to 0 linearly, since steps of one size soon jump across a canyon."""
WEIGHT = 24
"""The prior of the noise is worth as many earlier residuals of NOISE."""


class ClosedCurve(nn.Module):
    r"""z ~ U(0, 2 pi),  y | z ~ N(g(z), s^2 I),  g(z) = c_0 + sum_k a_k cos(k z) + b_k sin(k z).

    Args:
        harmonics: their number M: 1 is an ellipse, and from 2 M + 1 = N on some curve passes through any N points.
        noise: ``"learnt"``, ``"fixed"`` at NOISE, a learnt one with a ``"floor"`` there, or with a ``"prior"``.
    """

    def __init__(self, harmonics: int, noise: str) -> None:
        super().__init__()
        self.kind, self.order = noise, torch.arange(1, harmonics + 1.0)
        start = 0.01 * torch.randn(2 * harmonics + 1, 2)
        start[1, 0] += 1
        start[1 + harmonics, 1] += 1
        self.coefficients = nn.Parameter(start)
        self.log_noise = nn.Parameter(torch.tensor(math.log(NOISE if noise == "fixed" else 0.5)), noise != "fixed")

    @property
    def noise(self) -> Tensor:
        """The standard deviation s, ()."""
        return self.log_noise.exp() + (NOISE if self.kind == "floor" else 0.0)

    def curve(self, z: Tensor) -> Tensor:
        """g, (..., 2)."""
        angle = z[..., None] * self.order
        return torch.cat([torch.ones_like(z)[..., None], angle.cos(), angle.sin()], -1) @ self.coefficients

    def forward(self, y: Tensor | None = None) -> Tensor:
        """The program."""
        if self.kind == "prior":
            prior = dist.InverseGamma(torch.tensor(WEIGHT / 2), torch.tensor(WEIGHT / 2 * NOISE**2))
            pyro.factor("noise", prior.log_prob(self.noise.square()))
        with pyro.plate("data", 1 if y is None else len(y)):
            z = pyro.sample("z", dist.Uniform(0.0, 2 * math.pi))
            return pyro.sample("y", dist.Normal(self.curve(z), self.noise).to_event(1), obs=y)


class Case(NamedTuple):
    """What is trained: on data with noise of ``data_noise``."""

    data_noise: float
    harmonics: int
    noise: str


CASES = (
    Case(0.0, 1, "learnt"),
    Case(0.0, 1, "fixed"),
    *(Case(NOISE, harmonics, "learnt") for harmonics in (1, 12)),
    *(Case(NOISE, 12, noise) for noise in ("fixed", "floor", "prior")),
)


class State(NamedTuple):
    """After ``steps``: log likelihoods in nats a datum, by the dense sum; ``off``, the training's sum less that."""

    steps: int
    noise: float
    training: float
    fresh: float
    force: float
    off: float


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.canyon", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(3)))
    parser.add_argument("--steps", type=int, nargs="+", default=[200, 400, 800])
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the tables")
    chosen = parser.parse_args()
    found = {}
    for case in CASES:
        found[case] = [train(case, chosen.steps, seed) for seed in chosen.seeds]
        print(case, *found[case], sep="\n  ", flush=True)
    text, good = report(found)
    text = "\n\n".join([known_curve(), text, provenance("benchmarks.canyon")])
    write_block(chosen.results, "canyon", text)
    print(text)
    return 0 if good else 1


def ellipse(size: int, noise: float, seed: int) -> Tensor:
    """Points (size, 2) of (2 cos z, 1.5 sin z) with z uniform, and Gaussian noise."""
    generator = torch.Generator().manual_seed(seed)
    z = 2 * math.pi * torch.rand(size, generator=generator)
    return torch.stack([2 * z.cos(), 1.5 * z.sin()], -1) + noise * torch.randn(size, 2, generator=generator)


def free_energy(y: Tensor, curve: Tensor, noise: Tensor) -> Tensor:
    """F_1 = -log p(y) by datum, (N,), in nats, with the curve (K, 2) at K evenly spaced latents."""
    energy = torch.cdist(y, curve, compute_mode="donot_use_mm_for_euclid_dist").square() / (2 * noise**2)
    return math.log(len(curve)) - (-energy).logsumexp(-1) + math.log(2 * math.pi) + 2 * noise.log()


def train(case: Case, steps: Sequence[int], seed: int) -> list[State]:
    """The states after some numbers of steps, of one training of the last of them."""
    y, fresh = ellipse(SIZE, case.data_noise, seed), ellipse(FRESH, case.data_noise, 1000 + seed)
    pyro.set_rng_seed(seed)
    model, states = ClosedCurve(case.harmonics, case.noise), []
    counted = iter(range(1, max(steps) + 1))

    def on_epoch(model: ClosedCurve, guide: None) -> dict[str, float]:  # noqa: ARG001
        if (step := next(counted)) in steps:
            states.append(_state(step, model, y, fresh))
        return {}

    pyrometer.fit(
        model,
        None,
        {"y": y},
        objective=pyrometer.Marginalised({"z": _circle(POINTS)}),
        epochs=max(steps),
        batch_size=None,
        optimizer=partial(torch.optim.Adam, lr=RATE),
        schedule=lambda done: 1 - done,
        seed=seed,
        on_epoch=on_epoch,
        compile=False,
        progress=False,
    )
    return states


@torch.no_grad()
def _state(step: int, model: ClosedCurve, y: Tensor, fresh: Tensor) -> State:
    dense, coarse, noise = model.curve(_circle(DENSE)), model.curve(_circle(POINTS)), model.noise
    own = -free_energy(y, dense, noise).mean().item()
    other = -torch.cat([free_energy(part, dense, noise) for part in fresh.split(100)]).mean().item()
    off = -free_energy(y, coarse, noise).mean().item() - own
    return State(step, noise.item(), own, other, largest_force(dense[::8], noise), off)


def largest_force(curve: Tensor, noise: Tensor) -> float:
    """The largest |dF/dy|, in nats a unit, within three NOISE of the true ellipse, across it."""
    z = _circle(64)[:, None]
    normal = nn.functional.normalize(torch.cat([1.5 * z.cos(), 2 * z.sin()], -1), dim=-1)
    across = torch.linspace(-3 * NOISE, 3 * NOISE, 31)[:, None, None]
    band = (torch.cat([2 * z.cos(), 1.5 * z.sin()], -1) + across * normal).reshape(-1, 2)
    largest = 0.0
    for part in band.split(250):
        offset = part[:, None] - curve
        p = (-offset.square().sum(-1) / (2 * noise**2)).softmax(-1)  # of the latents, given y
        force = (p[..., None] * offset).sum(1) / noise**2
        largest = max(largest, force.norm(dim=-1).max().item())
    return largest


def known_curve() -> str:
    """The density of the known ellipse on it and beside it, by noise, beside its leading term."""
    angle = _circle(256).double()
    on = torch.stack([2 * angle.cos(), 1.5 * angle.sin()], -1)
    normal = nn.functional.normalize(torch.stack([1.5 * angle.cos(), 2 * angle.sin()], -1), dim=-1)
    speed = torch.stack([2 * angle.sin(), 1.5 * angle.cos()], -1).norm(dim=-1)
    dense = torch.arange(DENSE, dtype=torch.float64) * (2 * math.pi / DENSE)
    curve = torch.stack([2 * dense.cos(), 1.5 * dense.sin()], -1)
    rows = []
    for value in (0.2, 0.05, 0.01, 0.002, 0.0005):
        noise = torch.tensor(value, dtype=torch.float64)
        off = on + NOISE * normal
        found = [-torch.cat([free_energy(p, curve, noise) for p in y.split(32)]).mean().item() for y in (on, off)]
        leading = -(2 * math.pi * noise**2).log().item() / 2 - (2 * math.pi * speed).log().mean().item()
        rows.append([f"{value:g}", f"{found[0]:.3f}", f"{leading:.3f}", f"{found[1]:.1f}", f"{value**-2:.0f}"])
    header = ["noise s", "log p on the ellipse", "log(1/s) + const", "log p at 1/20 beside it", "curvature 1/s^2"]
    return table(header, rows)


def report(found: dict[Case, list[list[State]]]) -> tuple[str, bool]:
    """The table of trainings, and whether they are as the theory says."""
    rows = []
    for case, seeds in found.items():
        by_steps = list(zip(*seeds, strict=True))
        rows += [_row(case, states) for states in (by_steps if case.noise == "learnt" else by_steps[-1:])]
    header = ["data", "harmonics", "noise", "steps", "s", "log p, training", "log p, fresh", "largest force"]
    last = {case: [states[-1] for states in seeds] for case, seeds in found.items()}
    falls = all(max(s.noise for s in last[case]) < NOISE / 2 for case in (CASES[0], CASES[3]))
    force = {case: statistics.mean(s.force for s in states) for case, states in last.items()}
    held = all(force[case] < force[CASES[3]] / 3 for case in CASES[4:])
    worst = max(abs(one.off) for states in last.values() for one in states)
    note = f"The sum over {POINTS} latents that was trained is off by {worst:.2g} nats a datum at most at the end."
    return f"{table(header, rows)}\n\n{note}", falls and held


def _row(case: Case, states: Sequence[State]) -> list[str]:
    data = "on the ellipse" if case.data_noise == 0 else f"noise {case.data_noise:g}"
    columns = [[getattr(one, name) for one in states] for name in ("noise", "training", "fresh", "force")]
    digits = (4, 2, 2, 0)
    numbers = [mean_and_spread(values, places) for values, places in zip(columns, digits, strict=True)]
    return [data, str(case.harmonics), case.noise, str(states[0].steps), *numbers]


def _circle(points: int) -> Tensor:
    return 2 * math.pi * torch.arange(points) / points


if __name__ == "__main__":
    sys.exit(main())
