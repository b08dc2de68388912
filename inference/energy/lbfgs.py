"""Limited-memory BFGS for many small problems at once, each with its own line search."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Minimised", "minimise"]

HISTORY = 10
SUFFICIENT_DECREASE = 1e-4
HALVINGS = 25
GROWTH = 10.0
"""How much longer a step may be than the last: one bad guess of a curvature could end on a plateau, far from all."""
STALLS = 3
"""A problem whose value has not fallen beyond rounding for so many steps has arrived."""


class Minimised(NamedTuple):
    """The points (…, D), values (…,) and infinity norms of gradients (…,) reached, and where these are stationary."""

    points: Tensor
    values: Tensor
    gradient: Tensor
    converged: Tensor


def minimise(
    objective: Callable[[Tensor], Tensor], points: Tensor, steps: int = 500, tolerance: float = 1e-5
) -> Minimised:
    """Minimises each of many independent problems from its starting point.

    Args:
        objective: from points (…, D) to values (…,), a problem's value depending on its own point alone;
            differentiable; values that are not finite are walls.
        points: where to start, (…, D).
        steps: at most so many.
        tolerance: a problem has converged where no partial derivative is above tolerance * max(1, |value|), or where
            rounding lets the value fall no further and none is above the square root of the tolerance.

    Reference: J. Nocedal, S. J. Wright (2006), Numerical optimization, algorithms 3.1 and 7.4.
    """
    value, gradient = _with_gradient(objective, points)
    moves, changes = [], []
    stalled = torch.zeros_like(value)
    for _ in range(steps):
        active = _norm(gradient) > tolerance * value.abs().clamp(min=1)
        active &= (stalled < STALLS) & value.isfinite()
        if not active.any():
            break
        direction = _shortened(-_two_loops(gradient, moves, changes), moves)
        slope = (direction * gradient).sum(-1)
        uphill = ~(slope < 0)
        direction = torch.where(uphill.unsqueeze(-1), -gradient, direction)
        slope = torch.where(uphill, -gradient.square().sum(-1), slope)
        length = torch.ones_like(value) if moves else 1 / gradient.norm(dim=-1).clamp(min=1)
        new = _line_search(objective, points, value, direction, slope, length * active)
        new_value, new_gradient = _with_gradient(objective, new)
        rounding = 10 * torch.finfo(points.dtype).eps * value.abs().clamp(min=1)
        stalled = torch.where(new_value < value - rounding, torch.zeros_like(stalled), stalled + 1)
        moves, changes = [*moves, new - points][-HISTORY:], [*changes, new_gradient - gradient][-HISTORY:]
        points, value, gradient = new, new_value, new_gradient
    norm = _norm(gradient)
    size = value.abs().clamp(min=1)
    converged = (norm <= tolerance * size) | ((stalled >= STALLS) & (norm <= tolerance**0.5 * size))
    return Minimised(points, value, norm, converged & value.isfinite())


def _with_gradient(objective: Callable[[Tensor], Tensor], points: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        points = points.detach().requires_grad_()
        values = objective(points)
        (gradient,) = torch.autograd.grad(values.sum(), points)
    return values.detach(), torch.where(gradient.isfinite(), gradient, gradient.new_zeros(()))


def _norm(gradient: Tensor) -> Tensor:
    return gradient.abs().amax(-1)


def _two_loops(gradient: Tensor, moves: list[Tensor], changes: list[Tensor]) -> Tensor:
    """The inverse Hessian that the last moves and changes of gradient suggest, times the gradient."""
    result, recalled = gradient, []
    for move, change in zip(reversed(moves), reversed(changes), strict=True):
        curvature = (move * change).sum(-1, keepdim=True)
        usable = curvature > 1e-10 * change.square().sum(-1, keepdim=True)
        weight = torch.where(usable, 1 / curvature.where(usable, curvature.new_ones(())), curvature.new_zeros(()))
        share = weight * (move * result).sum(-1, keepdim=True)
        result = result - share * change
        recalled.append((move, change, weight, share))
    if moves:
        move, change = moves[-1], changes[-1]
        size = change.square().sum(-1, keepdim=True)
        scale = (move * change).sum(-1, keepdim=True) / size.where(size > 0, size.new_ones(()))
        # Without an upward bend, as on a slope, steps grow.
        onward = 2 * move.norm(dim=-1, keepdim=True) / gradient.norm(dim=-1, keepdim=True).clamp(min=1e-300)
        scale = torch.where(scale > 0, scale, torch.where(onward > 0, onward, onward.new_ones(())))
        result = scale * result
    for move, change, weight, share in reversed(recalled):
        result = result + (share - weight * (change * result).sum(-1, keepdim=True)) * move
    return result


def _shortened(direction: Tensor, moves: list[Tensor]) -> Tensor:
    """No longer than ``GROWTH`` times the last move."""
    if not moves:
        return direction
    last, length = moves[-1].norm(dim=-1, keepdim=True), direction.norm(dim=-1, keepdim=True)
    longest = torch.where(last > 0, GROWTH * last, math.inf)
    return direction * (longest / length.clamp(min=1e-300)).clamp(max=1)


def _line_search(
    objective: Callable[[Tensor], Tensor], points: Tensor, value: Tensor, direction: Tensor, slope: Tensor, t: Tensor
) -> Tensor:
    """The first of the halved steps that lowers the value enough, for every problem; else no step."""
    new, found = points, torch.zeros_like(value, dtype=torch.bool)
    with torch.no_grad():
        for _ in range(HALVINGS):
            new = points + t.unsqueeze(-1).to(points.dtype) * direction
            found = objective(new) <= value + SUFFICIENT_DECREASE * t * slope
            if (found | (t == 0)).all():
                return new
            t = torch.where(found, t, 0.5 * t)
    return torch.where(found.unsqueeze(-1), new, points)
