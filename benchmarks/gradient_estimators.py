"""Bias and variance of gradient estimators, beside the exact gradient of what they estimate.

`python -m benchmarks.gradient_estimators` writes a table into docs/results.md, in some minutes of one core. Exits with
1 where an estimator that is unbiased by theory is off by more than 4.3 standard errors of its own.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from scipy.stats import t as student
from torch import Tensor

from pyrometer import MonteCarlo, Relaxed, fit
from pyrometer.inference.svi.estimators import (
    doubly_reparameterised,
    importance_weighted,
    leave_one_out,
    reparameterised,
    score_function,
    sticking_the_landing,
    vimco,
    wake,
)

from .estimator_systems import System, category, code
from .results_page import PAGE, provenance, table, write_block

__all__ = ["Measured", "exact_gradient", "main", "measure"]

DRAWS = {"category": 4, "code": 2}
CALLS, COPIES = 100, 50
"""A call estimates the gradient COPIES times at once, from as many copies of the images."""
FAILURES = 2e-5
"""How often an unbiased estimator is called biased, over all coordinates of its gradient."""
STEPS = {"category": 5, "code": 200}
"""Of training; with more the category becomes certain, and estimates hang on draws too rare to be seen."""


class Measured(NamedTuple):
    """An estimator's gradient by the guide's parameters, beside the exact one.

    ``bias`` is |mean - exact| / |exact|, ``noise`` what the mean's standard error would make of it without any bias,
    ``largest`` the largest deviation of a coordinate in standard errors, ``variance`` the sum over coordinates of the
    variance, over |exact|^2.
    """

    system: str
    state: str
    name: str
    bias: float
    noise: float
    largest: float
    variance: float
    coordinates: int
    unbiased: bool


class Entry(NamedTuple):
    """An estimator: its name, its objective, whether it is unbiased, and of the tighter bound, and its systems."""

    name: str
    objective: Callable
    unbiased: bool
    tighter: bool
    systems: tuple[str, ...]


BOTH, KIND, CODE = ("category", "code"), ("category",), ("code",)


def entries(draws: int) -> list[Entry]:
    """All estimators, each with as many draws of every datum's latents, but those that need none."""
    many = {"num_particles": draws, "vectorize_particles": True, "max_plate_nesting": 1}
    return [
        Entry("score function", MonteCarlo(score_function, draws), True, False, BOTH),
        Entry("score function, leave-one-out baseline", MonteCarlo(leave_one_out, draws), True, False, BOTH),
        Entry("reparameterised", MonteCarlo(reparameterised, draws), True, False, CODE),
        Entry("reparameterised (Pyro's Trace_ELBO)", Trace_ELBO(**many).differentiable_loss, True, False, CODE),
        Entry("sticking the landing", MonteCarlo(sticking_the_landing, draws), True, False, CODE),
        Entry("enumerated", enumerated, True, False, KIND),
        *[Entry(f"Gumbel-softmax, tau = {tau:g}", Relaxed(tau), False, False, KIND) for tau in (1.0, 0.5, 0.1)],
        Entry("VIMCO", MonteCarlo(vimco, draws), True, True, BOTH),
        Entry("importance-weighted", MonteCarlo(importance_weighted, draws), True, True, CODE),
        Entry("doubly reparameterised", MonteCarlo(doubly_reparameterised, draws), True, True, CODE),
        Entry("wake phase (descends KL(p, q))", MonteCarlo(wake, draws), False, True, BOTH),
    ]


def enumerated(model: Callable, guide: Callable, image: Tensor) -> Tensor:
    """-ELBO with the category summed out."""
    bound = TraceEnum_ELBO(max_plate_nesting=1)
    return bound.differentiable_loss(config_enumerate(model), config_enumerate(guide), image=image)


def exact_gradient(system: System, tighter: bool, draws: int) -> Tensor:
    """Of minus the bound, summed over the images, by the guide's parameters: over all ways to draw."""
    parameters = list(system.guide.parameters())
    total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    for n in range(len(system.image)):  # one by one, since the ways are many
        log_p, log_q, log_chance = system.ways(draws, slice(n, n + 1))
        log_w = log_p - log_q
        bound = log_w.logsumexp(0) - math.log(draws) if tighter else log_w.mean(0)
        total += _flat(torch.autograd.grad(-(log_chance.exp() * bound).sum(), parameters))
    return total


def measure(system: System, entry: Entry, calls: int, exact: Tensor) -> tuple[float, float, float, float]:
    """Bias, what noise would make of it, the largest deviation in standard errors, and the variance, over |exact|^2."""
    parameters = list(system.guide.parameters())
    copies = system.image.repeat(COPIES, 1)
    drawn = []
    for seed in range(calls):
        pyro.set_rng_seed(seed)
        loss = entry.objective(system.model, system.guide, image=copies) / COPIES
        drawn.append(_flat(torch.autograd.grad(loss, parameters)))
    rows = torch.stack(drawn)
    size, error = exact.norm(), rows.std(0) / math.sqrt(calls)
    off = rows.mean(0) - exact
    largest = (off.abs() / error.clamp(min=1e-9 * size)).max()
    variance = COPIES * rows.var(0).sum() / size**2
    return (off.norm() / size).item(), (error.norm() / size).item(), largest.item(), variance.item()


def limit(coordinates: int, calls: int) -> float:
    """What the largest of so many deviations exceeds, by chance alone, as often as FAILURES; in standard errors."""
    return float(student.isf(FAILURES / 2 / coordinates, calls - 1))


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


def compare_estimators(name: str, make: Callable[..., System], seed: int, calls: int) -> list[Measured]:
    """All estimators of a system, before and after training its pair on the images."""
    pyro.set_rng_seed(seed)
    system = make(seed)
    found = []
    for state in ("untrained", "trained"):
        if state == "trained":
            _train(name, system, seed)
        exact = {tighter: exact_gradient(system, tighter, DRAWS[name]) for tighter in (False, True)}
        for entry in entries(DRAWS[name]):
            if name in entry.systems:
                measured = measure(system, entry, calls, exact[entry.tighter])
                found.append(Measured(name, state, entry.name, *measured, len(exact[False]), entry.unbiased))
    return found


def _train(name: str, system: System, seed: int) -> None:
    objective: Any = enumerated if name == "category" else MonteCarlo(sticking_the_landing)
    adam = partial(torch.optim.Adam, lr=0.02)
    how = {"objective": objective, "steps": STEPS[name], "batch_size": None, "optimizer": adam, "progress": False}
    fit(system.model, system.guide, {"image": system.image}, seed=seed, compile=False, **how)


def report(measured: Sequence[Measured]) -> str:
    """A table for each system and state."""
    parts = []
    for system, state in dict.fromkeys((one.system, one.state) for one in measured):
        rows = [
            [
                one.name,
                "unbiased" if one.unbiased else "biased",
                f"{one.bias:.3f}",
                f"{one.noise:.3f}",
                f"{one.largest:.1f}",
                f"{one.variance:.3g}",
            ]
            for one in measured
            if (one.system, one.state) == (system, state)
        ]
        header = ["estimator", "by theory", "bias", "noise of that", "largest z", "variance"]
        parts.append(f"**{system}, {state}, {DRAWS[system]} draws**\n\n{table(header, rows)}")
    return "\n\n".join(parts)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gradient_estimators", description=(__doc__ or "")[:80])
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    measured = [
        one
        for name, make in (("category", category), ("code", code))
        for one in compare_estimators(name, make, 0, chosen.calls)
    ]
    text = report(measured)
    write_block(chosen.results, "estimators", f"{text}\n\n{provenance('benchmarks.gradient_estimators')}")
    print(text)
    wrong = [one for one in measured if one.unbiased and one.largest > limit(one.coordinates, chosen.calls)]
    for one in wrong:
        print(f"{one.name} on {one.system}, {one.state}: {one.largest:.1f} standard errors off", file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
