r"""Annealing with resampling: chains of small weight make room for copies of heavy ones.

Copies depend on each other, so the chains live on islands: each gives an unbiased estimate of Z, and their spread an
honest error.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .annealing import Annealed
from .hmc import Evaluate, Parts, State, transition
from .importance import effective_sample_size

__all__ = ["ISLAND", "anneal_resampled"]

ISLAND = 8
"""Chains on an island."""
THRESHOLD = 0.5
"""An island is resampled where its effective sample size falls below this part of its chains."""


class Weights(NamedTuple):
    """Log weights since the last resampling, (I, ISLAND, G), and log Z up to it, (I, G)."""

    recent: Tensor
    before: Tensor


def anneal_resampled(state: State, coefficients: Tensor, steps: Tensor, evaluate: Evaluate) -> Annealed:
    """As ``anneal``, with resampling; ``log_weights`` are those of the islands, (S / ISLAND, G).

    Reference: P. Del Moral, A. Doucet, A. Jasra (2006), Sequential Monte Carlo samplers, Journal of the Royal
    Statistical Society B 68, section 3.
    """
    chains, groups = state.u.shape[:2]
    islands = chains // ISLAND
    recent = torch.zeros(islands, ISLAND, groups, dtype=torch.float64)
    weights = Weights(recent, torch.zeros(islands, groups, dtype=torch.float64))
    acceptance = torch.zeros(groups, dtype=torch.float64)
    values = coefficients.tolist()
    for index, step in enumerate(steps):
        increment = (values[index + 1] - values[index]) * state.parts.moving.double()
        weights = weights._replace(recent=weights.recent + increment.reshape(recent.shape))
        state, weights = _resampled(state, weights)
        state, accepted = transition(state, values[index + 1], step, evaluate)
        acceptance += accepted.mean(0)
    total = weights.before + _log_mean(weights.recent)
    return Annealed(total, acceptance / len(steps), state, coefficients, steps)


def _resampled(state: State, weights: Weights) -> tuple[State, Weights]:
    by_chain = weights.recent.movedim(1, 0)
    poor = effective_sample_size(by_chain) < THRESHOLD * ISLAND
    if not poor.any():
        return state, weights
    own = torch.arange(ISLAND).view(1, -1, 1).expand_as(weights.recent)
    index = torch.where(poor.unsqueeze(1), _systematic(weights.recent), own)
    first = ISLAND * torch.arange(len(index)).view(-1, 1, 1)
    rows = (first + index).reshape(-1, index.shape[-1])
    before = torch.where(poor, weights.before + _log_mean(weights.recent), weights.before)
    recent = torch.where(poor.unsqueeze(1), torch.zeros_like(weights.recent), weights.recent)
    moved = State(_taken(state.u, rows), _taken(state.momentum, rows), Parts(*[_taken(p, rows) for p in state.parts]))
    return moved, Weights(recent, before)


def _systematic(log_weights: Tensor) -> Tensor:
    """For every island and group, which chain each place takes: (I, ISLAND, G)."""
    cumulative = log_weights.softmax(1).cumsum(1).movedim(1, -1).contiguous()
    cumulative[..., -1] = 1.0
    offset = torch.rand(*cumulative.shape[:-1], 1, dtype=cumulative.dtype)
    places = (torch.arange(ISLAND) + offset) / ISLAND
    return torch.searchsorted(cumulative, places.contiguous()).clamp(max=ISLAND - 1).movedim(-1, 1)


def _taken(values: Tensor, rows: Tensor) -> Tensor:
    """values (S, G, ...) with row rows[s, g] of each group in place of row s."""
    index = rows.reshape(*rows.shape, *[1] * (values.dim() - 2)).expand_as(values)
    return values.gather(0, index)


def _log_mean(log_weights: Tensor) -> Tensor:
    return log_weights.logsumexp(1) - math.log(ISLAND)
