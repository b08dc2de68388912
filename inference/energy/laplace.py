r"""Laplace's approximation:  log Z = log sum over modes of f_beta(u*) (2 pi)^(D/2) det(H)^(-1/2)."""

import math
from collections.abc import Callable
from typing import Any

import torch

from .free_energy import FreeEnergy
from .grouped_result import by_group
from .landscape import landscape
from .modes import find_modes
from .problem import Problem

__all__ = ["laplace_free_energy"]


def laplace_free_energy(problem: Problem, guide: Callable | None = None) -> FreeEnergy:
    r"""F_beta from a Gaussian at every distinct mode of f_beta, in unconstrained coordinates.

    Exact where f_beta is a Gaussian density of the coordinates. The ends of a bounded support count only as far as the
    coordinates know them, so that at high temperatures it can be far off. Elsewhere its error is of order 1/n for n
    observations a latent, and unknown: ``standard_error`` is nan. Where the curvature at a mode has a direction without
    a downward bend, the mode is not counted, and the value is nan if none is left, or the highest point found is
    not stationary.

    Raises:
        ValueError: if no free latent is continuous, or the density is finite at no start.

    Reference: L. Tierney, J. B. Kadane (1986), Accurate approximations for posterior moments and marginal densities,
    Journal of the American Statistical Association 81.
    """
    beta, base = problem.beta, problem.base
    land = landscape(problem.program, problem.given)
    modes = find_modes(land, guide, beta, base)
    curved = torch.linalg.eigvalsh(modes.precision)[..., 0] > 0
    log_determinant = torch.linalg.slogdet(modes.precision).logabsdet
    masses = modes.log_density + 0.5 * land.dimension * math.log(2 * math.pi) - 0.5 * log_determinant
    counted = curved & modes.log_density.isfinite()
    log_z = torch.where(counted, masses, -math.inf).logsumexp(0)
    log_z = torch.where(counted.any(0) & modes.converged, log_z, math.nan)
    evidence = {"modes": counted.sum(0), "converged": modes.converged}
    kind: dict[str, Any] = {"bound": "estimate", "method": "laplace", "beta": beta, "base": base}
    return by_group(land, -log_z / beta, torch.full_like(log_z, math.nan), kind, evidence)
