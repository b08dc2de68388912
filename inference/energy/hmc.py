r"""Hamiltonian Monte Carlo with one leapfrog step and a persistent momentum, on many chains and groups at once.

The target log f_c(u) = C_0(u) + c C_1(u) moves with c, so the two components and their gradients are kept apart: then a
change of c costs no evaluation.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Evaluate",
    "Parts",
    "State",
    "evaluator",
    "in_pieces",
    "parts_at",
    "piece_size",
    "refreshed",
    "start",
    "transition",
]

ROWS_AT_ONCE = 4096
"""Chains times groups in one pass: bounds the memory, and is enough for a matrix multiplication to be efficient."""
PERSISTENCE = 0.8
"""The momentum's correlation from one temperature to the next."""


class Parts(NamedTuple):
    """C_0 and C_1, (S, G), and their gradients, (S, G, D)."""

    fixed: Tensor
    moving: Tensor
    fixed_gradient: Tensor
    moving_gradient: Tensor


Evaluate = Callable[[Tensor], Parts]


class State(NamedTuple):
    """Positions u and momenta, (S, G, D), with the parts of the target at u."""

    u: Tensor
    momentum: Tensor
    parts: Parts


def evaluator(components: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Evaluate:
    """The components with their gradients in u, in pieces of bounded memory."""
    return in_pieces(partial(parts_at, components))


def in_pieces(evaluate: Evaluate) -> Evaluate:
    """The same, for a bounded number of chains at a time."""

    def whole(u: Tensor) -> Parts:
        pieces = [evaluate(piece) for piece in u.split(piece_size(u))]
        return pieces[0] if len(pieces) == 1 else Parts(*map(torch.cat, zip(*pieces, strict=True)))

    return whole


def piece_size(u: Tensor) -> int:
    """How many chains of u, (S, G, D), are evaluated at a time: as equal pieces as there can be."""
    most = max(1, ROWS_AT_ONCE // u.shape[1])
    return math.ceil(len(u) / math.ceil(len(u) / most))


def parts_at(components: Callable[[Tensor], tuple[Tensor, Tensor]], u: Tensor) -> Parts:
    """The components and their gradients at u."""
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        fixed, moving = components(u)
        gradients = [_gradient(part, u, retain) for part, retain in ((fixed, True), (moving, False))]
    return Parts(fixed.detach(), moving.detach(), *gradients)


def _gradient(part: Tensor, u: Tensor, retain: bool) -> Tensor:
    if not part.requires_grad:
        return torch.zeros_like(u)
    (gradient,) = torch.autograd.grad(part.sum(), u, retain_graph=retain, allow_unused=True)
    return torch.zeros_like(u) if gradient is None else gradient.contiguous()


def start(u: Tensor, evaluate: Evaluate) -> State:
    """Chains at u with fresh momenta."""
    return State(u, torch.randn_like(u), evaluate(u))


def refreshed(momentum: Tensor, noise: Tensor) -> Tensor:
    """The momentum, in part drawn anew: its normal distribution stays as it is."""
    return PERSISTENCE * momentum + math.sqrt(1 - PERSISTENCE**2) * noise


def transition(state: State, coefficient: float, step: Tensor, evaluate: Evaluate) -> tuple[State, Tensor]:
    r"""One partial refreshment of the momentum and one leapfrog step that is accepted or rejected.

    Leaves f_c(u) N(p; 0, I) invariant. A rejection turns the momentum round, without which it would not.

    Args:
        state: the chains.
        coefficient: c.
        step: step sizes, broadcast to (S, G, D).
        evaluate: the parts of the target.

    Returns:
        The new state, and the probabilities of acceptance, (S, G).

    Reference: A. M. Horowitz (1991), A generalized guided Monte Carlo algorithm, Physics Letters B 268.
    """
    old = state.parts
    momentum = refreshed(state.momentum, torch.randn_like(state.u))
    before = old.fixed + coefficient * old.moving - 0.5 * momentum.square().sum(-1)
    half = momentum + 0.5 * step * torch.add(old.fixed_gradient, old.moving_gradient, alpha=coefficient)
    u = state.u + step * half
    new = evaluate(u)
    moved = half + 0.5 * step * torch.add(new.fixed_gradient, new.moving_gradient, alpha=coefficient)
    change = new.fixed + coefficient * new.moving - 0.5 * moved.square().sum(-1) - before
    change = torch.where(change.isfinite(), change, -math.inf)
    accepted = torch.rand_like(change).log() < change
    wide = accepted.unsqueeze(-1)
    parts = [torch.where(wide if b.dim() > accepted.dim() else accepted, a, b) for a, b in zip(new, old, strict=True)]
    kept = State(torch.where(wide, u, state.u), torch.where(wide, moved, -momentum), Parts(*parts))
    return kept, change.clamp(max=0).exp()
