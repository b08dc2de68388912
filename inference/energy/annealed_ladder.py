r"""A ladder of temperatures from one run of annealed chains:  F, U, H and c of p_beta, with jackknifed errors.

The chains go from their start to the rung nearest to beta = 1, and from there up to the coldest rung and down to the
hottest, along f_beta itself. At each rung they dwell.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .annealed_free_energy import (
    Estimate,
    combined,
    estimate_log_z,
    starting_distributions,
)
from .annealing import Annealed, anneal, bridge, run_path
from .base_measure import Base
from .hmc import Evaluate, State, evaluator, transition
from .importance import jackknife_error, log_mean_without_each
from .landscape import Landscape
from .rung import Rung
from .schedule import fly, temperatures_needed

__all__ = ["annealed_rungs"]

TEMPERATURES_PER_NAT = 10
"""Pilot temperatures for each factor e of beta, and at least so many between two rungs."""
SPREAD = 0.3
"""What the temperatures of one leg are chosen for: a ladder has many legs."""
MOST_TEMPERATURES = 2000
CHAINS = 64
"""Of fewer chains the error of a variance, and so of a heat capacity, has a heavy tail: then it is withheld."""
DWELL = 50
"""Transitions at each rung, whose states give U and c."""


class Chains(NamedTuple):
    """Weighted chains and their pilots at one rung, with the step sizes there, (G, D)."""

    state: State
    pilots: State
    log_weights: Tensor
    steps: Tensor


def annealed_rungs(
    land: Landscape, guide: Callable | None, betas: list[float], base: Base, chains: int | None = None
) -> tuple[list[Rung], Tensor | None]:
    """The rungs in the order of ``betas``, and where the paths from prior and guide disagree at the first one run.

    Where they disagree the chains go on from the path that gave the larger Z, else from the more precise one.
    """
    nearest = min(betas, key=lambda beta: abs(math.log(beta)))
    starts, _ = starting_distributions(land, guide)
    paths = [bridge(land, origin, nearest, base) for origin in starts]
    arrived = [run_path(path, chains or CHAINS, None) for path in paths]
    estimates = [estimate_log_z(annealed.log_weights) for annealed in arrived]
    _, _, disagree = combined(estimates)
    begun = _chains(arrived[_better(estimates, disagree)])
    rungs = {}
    for direction in (
        sorted(b for b in betas if b >= nearest),
        sorted((b for b in betas if b < nearest), reverse=True),
    ):
        at, here = nearest, begun
        for beta in direction:
            here = here if beta == at else _leg(land, here, at, beta, base)
            here, rungs[beta] = _dwell(land, here, beta, base)
            at = beta
    return [rungs[beta] for beta in betas], disagree


def _better(estimates: list[Estimate], disagree: Tensor | None) -> int:
    if disagree is not None and disagree.any():
        return max(range(2), key=lambda path: estimates[path].log_z.sum().item())
    return min(range(len(estimates)), key=lambda path: estimates[path].error.square().sum().item())


def _chains(annealed: Annealed) -> Chains:
    assert annealed.pilots is not None
    return Chains(annealed.state, annealed.pilots, annealed.log_weights, annealed.steps[-1])


def _leg(land: Landscape, here: Chains, at: float, beta: float, base: Base) -> Chains:
    """From one rung to the next, with temperatures and step sizes from the pilots."""
    components, ends = _between(land, at, beta, base)
    evaluate = evaluator(components)
    count = max(TEMPERATURES_PER_NAT, math.ceil(TEMPERATURES_PER_NAT * abs(math.log(beta / at))))
    ramp = _ramp(*ends, count)
    still = torch.zeros(land.groups, dtype=torch.float64)
    pilot = fly(_moved(here.pilots, evaluate), ramp, here.steps, still, evaluate)
    coefficients = pilot.schedule(min(max(temperatures_needed(pilot, SPREAD), count), MOST_TEMPERATURES))
    steps = pilot.steps(coefficients).to(here.steps).unsqueeze(-1) * here.steps
    arrived = anneal(_moved(here.state, evaluate), coefficients, steps, evaluate)
    return Chains(arrived.state, pilot.state, here.log_weights + arrived.log_weights, steps[-1])


def _between(
    land: Landscape, at: float, beta: float, base: Base
) -> tuple[Callable[[Tensor], tuple[Tensor, Tensor]], tuple[float, float]]:
    """The components of the way between two rungs, and the coefficients at its ends."""
    if not land.discrete:
        return lambda u: _tempering(land, u, base), (at, beta)

    def bridging(u: Tensor) -> tuple[Tensor, Tensor]:
        first, last = land.log_densities(u, [(at, base), (beta, base)])
        return first, last - first

    return bridging, (0.0, 1.0)


def _tempering(land: Landscape, u: Tensor, base: Base) -> tuple[Tensor, Tensor]:
    measure, energy = land.measure_and_energy(u, base)
    return measure, -energy


def _ramp(first: float, last: float, count: int) -> Tensor:
    share = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    return first * (last / first) ** share if first > 0 else share * last


def _moved(state: State, evaluate: Evaluate) -> State:
    """The same chains, seen by another target."""
    return State(state.u, state.momentum, evaluate(state.u))


def _dwell(land: Landscape, here: Chains, beta: float, base: Base) -> tuple[Chains, Rung]:
    """Moves the chains at one rung, and measures it."""

    def components(u: Tensor) -> tuple[Tensor, Tensor]:
        log_density = land.log_density(u, beta, base)
        return log_density, torch.zeros_like(log_density)

    evaluate = evaluator(components)
    state, first, second = _moved(here.state, evaluate), [], []
    for _ in range(DWELL):
        state, _ = transition(state, 0.0, here.steps, evaluate)
        with torch.no_grad():
            _, energy, variance = (part.double() for part in land.moments(state.u, beta, base))
        first.append(energy)
        second.append(energy.square() + variance)
    mean, square = torch.stack(first).mean(0), torch.stack(second).mean(0)
    return here._replace(state=state), _rung(here.log_weights, mean, square, beta)


def _rung(log_weights: Tensor, energy: Tensor, square: Tensor, beta: float) -> Rung:
    """F, U, H, c and their errors from chains' log weights and means of E and E^2, (S, G), by the jackknife."""
    count = len(log_weights)
    weights = log_weights.softmax(0)

    def averages(own: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted average, (G,), and the same without each chain, (S, G)."""
        total = (weights * own).sum(0)
        return total, (total - weights * own) / (1 - weights)

    (u, u_without), (s, s_without) = averages(energy), averages(square)
    f = -(log_weights.logsumexp(0) - math.log(count)) / beta
    f_without = -log_mean_without_each(log_weights) / beta
    plain = [u, beta * (u - f), beta**2 * (s - u.square())]
    without = [u_without, beta * (u_without - f_without), beta**2 * (s_without - u_without.square())]
    # Ratios and squares of means are biased by the order of 1/S, which the jackknife removes.
    values = [count * all_ - (count - 1) * each.mean(0) for all_, each in zip(plain, without, strict=True)]
    estimate = estimate_log_z(log_weights)
    errors = [estimate.error / beta, *map(jackknife_error, without)]
    if count < CHAINS:
        errors[-1] = torch.full_like(errors[-1], math.nan)
    return Rung(-estimate.log_z / beta, *values, *[torch.where(estimate.reliable, error, math.nan) for error in errors])
