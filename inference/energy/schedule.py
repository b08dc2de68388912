r"""Step sizes and temperatures of annealing, learned by pilot chains and then fixed.

Chains whose own weights count may not adapt: their estimate of Z would be biased.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, pad

from .hmc import Evaluate, State, transition

__all__ = ["Pilot", "fly", "log_weight_spread", "temperatures_needed"]

ACCEPTANCE = 0.8
"""The acceptance that step sizes are adapted to."""
RATE = 0.1
"""How fast log step sizes follow acceptance."""
SMOOTHING = 7
"""Over how many temperatures of the pilot step sizes and speeds are averaged."""
NOTHING = 5.0
"""How many nats below the mean weight a chain's weight is nothing."""
UNIFORM_SHARE = 0.2
"""The part of a schedule that keeps the pilot's own coefficients, so that no stretch is left without temperatures."""


class Pilot(NamedTuple):
    """What pilot chains learned on the way from one end of a path to the other.

    Attributes:
        coefficients: those they visited, (T + 1,).
        log_steps: log step sizes after each, (T, G).
        speed: the root mean square over groups of the standard deviation of C_1 over chains, (T + 1,).
        log_weights: their own log weights, (S, G).
        state: where they ended.
    """

    coefficients: Tensor
    log_steps: Tensor
    speed: Tensor
    log_weights: Tensor
    state: State

    def steps(self, coefficients: Tensor) -> Tensor:
        """Step sizes at coefficients (T + 1,) of the same path, one for each but the first: (T, G)."""
        return _interpolate(coefficients[1:], self.coefficients[1:], self.log_steps).exp()

    def schedule(self, temperatures: int) -> Tensor:
        """Coefficients (T + 1,) of about equal thermodynamic length: dense where the energy varies much."""
        lengths = self.coefficients.diff().abs() * 0.5 * (self.speed[1:] + self.speed[:-1])
        travelled = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        share = torch.linspace(0, 1, len(travelled), dtype=travelled.dtype)
        if travelled[-1] > 0:
            share = (1 - UNIFORM_SHARE) * travelled / travelled[-1] + UNIFORM_SHARE * share
        wanted = torch.linspace(0, 1, temperatures + 1, dtype=share.dtype)
        coefficients = _interpolate(wanted, share, self.coefficients.unsqueeze(-1)).squeeze(-1)
        coefficients[0], coefficients[-1] = self.coefficients[0], self.coefficients[-1]
        return coefficients


def fly(state: State, coefficients: Tensor, scale: Tensor, log_step: Tensor, evaluate: Evaluate) -> Pilot:
    """Anneals pilot chains along the coefficients while their step sizes adapt.

    Args:
        state: the pilots, (S, G, D).
        coefficients: (T + 1,), in float64.
        scale: of the steps in each coordinate, (G, D).
        log_step: log step sizes to start from, (G,).
        evaluate: the parts of the target.
    """
    log_weights = torch.zeros(state.u.shape[:2], dtype=torch.float64)
    log_steps, spreads = [], [_spread(state)]
    for before, now in zip(coefficients[:-1].tolist(), coefficients[1:].tolist(), strict=True):
        log_weights = log_weights + (now - before) * state.parts.moving.double()
        step = log_step.exp().to(state.u).unsqueeze(-1) * scale
        state, acceptance = transition(state, now, step, evaluate)
        log_steps.append(log_step)
        log_step = log_step + RATE * (acceptance.mean(0).double() - ACCEPTANCE)
        spreads.append(_spread(state))
    speed = _smoothed(torch.stack(spreads).square().mean(-1).sqrt().unsqueeze(-1)).squeeze(-1)
    return Pilot(coefficients, _smoothed(torch.stack(log_steps)), speed, log_weights, state)


def temperatures_needed(pilot: Pilot, spread: float) -> int:
    """How many temperatures bring the standard deviation of log weights down to ``spread`` in most groups.

    The variance of log weights falls as one over the number of temperatures.
    """
    found, _ = log_weight_spread(pilot.log_weights)
    return math.ceil(len(pilot.log_steps) * found.square().nanquantile(0.9).nan_to_num(1.0).item() / spread**2)


def log_weight_spread(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """The standard deviation of log weights (S, G) that count, and the share of chains whose weights do, (G,).

    A chain whose weight is less than e^-5 of the mean has come to nothing, which is no harm: it started where the
    target is far off. The others' log weights are about normal.
    """
    mean = log_weights.logsumexp(0) - math.log(len(log_weights))
    counts = log_weights > mean - NOTHING
    number = counts.sum(0)
    centre = torch.where(counts, log_weights, 0.0).sum(0) / number
    squares = torch.where(counts, log_weights - centre, 0.0).square().sum(0)
    return (squares / (number - 1)).sqrt(), number / len(log_weights)


def _spread(state: State) -> Tensor:
    moving = state.parts.moving.double()
    return torch.where(moving.isfinite(), moving, moving.new_zeros(())).std(0)


def _smoothed(values: Tensor) -> Tensor:
    """A running mean over the first dimension of (T, G)."""
    half = SMOOTHING // 2
    if len(values) <= half:
        return values
    padded = pad(values.T.unsqueeze(1), (half, half), mode="replicate")
    return avg_pool1d(padded, SMOOTHING, 1).squeeze(1).T


def _interpolate(at: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """Linear interpolation of values (T, G) at known (T,), which may fall or rise, at new places."""
    if known[-1] < known[0]:
        at, known = -at, -known
    right = torch.searchsorted(known.contiguous(), at.contiguous()).clamp(1, len(known) - 1)
    left = right - 1
    share = ((at - known[left]) / (known[right] - known[left]).clamp(min=1e-300)).clamp(0, 1).unsqueeze(-1)
    return (1 - share) * values[left] + share * values[right]
