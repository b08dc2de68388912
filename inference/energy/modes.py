r"""The modes of f_beta in unconstrained coordinates, with the curvature of -log f_beta at each."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .base_measure import Base
from .landscape import Landscape
from .lbfgs import Minimised, minimise
from .minimum import distinct, starting_points

__all__ = ["STARTS", "Modes", "find_modes"]

STARTS = 32


class Modes(NamedTuple):
    """Distinct modes by group, the highest first; where a group has fewer than K, log densities are -inf.

    Attributes:
        points: (K, G, D).
        log_density: log f_beta, (K, G).
        precision: the Hessian of -log f_beta, (K, G, D, D), in float64.
        spread: the standard deviation of the points that the search started from, (G, D).
        converged: whether the highest mode is a stationary point, (G,).
    """

    points: Tensor
    log_density: Tensor
    precision: Tensor
    spread: Tensor
    converged: Tensor


def find_modes(land: Landscape, guide: Callable | None, beta: float, base: Base) -> Modes:
    """Climbs from draws of the prior and of the guide.

    Raises:
        ValueError: if f_beta is finite at no start of some group.
    """

    def objective(u: Tensor) -> Tensor:
        return -land.log_density(u, beta, base)

    starts = starting_points(land, STARTS, guide)
    # What Laplace's approximation lacks where the gradient is not nought is of second order in it.
    tolerance = min(1e-5, torch.finfo(land.dtype).eps ** 0.5)
    reached: Minimised = minimise(objective, starts, tolerance=tolerance)
    if not reached.values.isfinite().any(0).all():
        raise ValueError(
            f"the density of the latents {land.continuous} is finite at none of the {len(starts)} points drawn from "
            f"the prior{'' if guide is None else ' and the guide'}: the observations may lie outside their support."
        )
    points, energies = distinct(reached, starts.std(0), torch.zeros_like(land.bounded))
    precision = torch.stack([hessian(objective, point.unsqueeze(0))[0] for point in points])
    best = reached.values.argmin(0, keepdim=True)
    log_density = _counted_once(points.double(), -energies.double(), precision)
    return Modes(points, log_density, precision, starts.std(0), reached.converged.gather(0, best)[0])


def _counted_once(points: Tensor, log_density: Tensor, precision: Tensor) -> Tensor:
    """The log densities (K, G), and -inf where a higher mode is nearer than its own width: both are that one."""
    kept = log_density.clone()
    for index in range(1, len(points)):
        away = points[index] - points[:index]
        distance = torch.einsum("kgd,kgde,kge->kg", away, precision[:index], away)
        same = (distance < 1) & kept[:index].isfinite()
        kept[index] = torch.where(same.any(0), -math.inf, kept[index])
    return kept


def hessian(objective: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Second derivatives of each problem's value in its own point: (…, D) to (…, D, D), in float64."""
    with torch.enable_grad():
        points = points.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(objective(points).sum(), points, create_graph=True)
        rows = [_row(gradient[..., d], points) for d in range(points.shape[-1])]
    matrix = torch.stack(rows, -1).double()
    return 0.5 * (matrix + matrix.mT)


def _row(gradient: Tensor, points: Tensor) -> Tensor:
    if not gradient.requires_grad:
        return torch.zeros_like(points)
    (row,) = torch.autograd.grad(gradient.sum(), points, retain_graph=True, allow_unused=True)
    return torch.zeros_like(points) if row is None else row
