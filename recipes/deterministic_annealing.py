r"""Deterministic annealing:  EM at a rising inverse temperature, at which one prototype splits into many."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import xarray as xr
from torch import Tensor

from ..models.kmeans import assignments, em_step, squared_distances

__all__ = ["Annealed", "anneal", "cooling", "critical_beta", "distinct", "lloyd"]

GENTLE = 1e-3
"""A perturbation, in thermal widths, that lets prototypes part and moves them no further."""


class Annealed(NamedTuple):
    """What annealing reached, from each of S seeds.

    Attributes:
        prototypes: (S, K, D), those of the lowest temperature, then Lloyd's algorithm until it rests.
        inertia: the sum of squared distances to the nearest of them, (S,).
        trajectory: a Dataset over ``beta`` and ``seed``: ``prototypes``, also over ``component`` and ``dimension``;
            ``free_energy``, ``mean_energy`` and ``heat_capacity`` of the program ``KMeans``, sums over the data, exact;
            ``clusters``, how many prototypes are distinct.
    """

    prototypes: Tensor
    inertia: Tensor
    trajectory: xr.Dataset


def anneal(
    features: Tensor,
    components: int,
    betas: Sequence[float] | None = None,
    *,
    perturbation: float = GENTLE,
    steps: int = 10,
    seeds: Sequence[int] = (0,),
) -> Annealed:
    r"""K-means by deterministic annealing, for all seeds at once.

    At each beta of a rising sequence the prototypes are perturbed and take some steps of EM at that beta. While it is
    small they all lie at the mean of the data; a cluster splits where beta exceeds 1 / (2 lambda), lambda being the
    greatest eigenvalue of its covariance, weighted by its responsibilities. At last Lloyd's algorithm runs until it
    rests. No temperature has a guarantee of the global minimum: where F_beta's moves to another basin at once, the
    prototypes are left behind, from which wider perturbations can help.

    Every prototype keeps the weight 1 / K, as in the program ``KMeans``, whose F_beta this minimises, even where
    several lie on each other. Rose (1998) also has learnt weights ("mass-constrained").

    Args:
        features: (N, D).
        components: K.
        betas: rising inverse temperatures; those of ``cooling`` without.
        perturbation: the standard deviation of the noise added before each temperature, in units of a component's own,
            1 / sqrt(2 beta); in the second half of the temperatures at most 0.001.
        steps: of EM at each temperature.
        seeds: of the perturbations, each with a generator of its own.

    Raises:
        ValueError: if the betas do not rise from a positive one, or a number is not positive.

    Reference: K. Rose (1998), Deterministic annealing for clustering, compression, classification, regression, and
    related optimization problems, Proceedings of the IEEE 86, section II (its distortion is |y - w_k|^2, its T is
    1 / beta). https://doi.org/10.1109/5.726788

    Example:
        >>> y = torch.tensor([[-2.1], [-1.9], [0.9], [1.1]])
        >>> found = anneal(y, 2)
        >>> found.prototypes.sort(1).values.flatten(), round(found.inertia.item(), 3)
        (tensor([-2.,  1.]), 0.04)
    """
    betas = cooling(features) if betas is None else [float(beta) for beta in betas]
    _check(components, betas, perturbation, steps)
    y = features.detach().double()
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    w = y.mean(0).expand(len(seeds), components, -1)
    reached = []
    for i, beta in enumerate(betas):
        width = perturbation if i < len(betas) / 2 else min(perturbation, GENTLE)
        noise = torch.stack([torch.randn(w.shape[1:], generator=g, dtype=w.dtype) for g in generators])
        w = w + width / math.sqrt(2 * beta) * noise
        for _ in range(steps):
            w = em_step(y, w, beta)
        reached.append(w)
    w = lloyd(y, w)
    inertia = squared_distances(y, w).amin(-1).sum(-1)
    trajectory = xr.concat([_rung(y, at, beta) for at, beta in zip(reached, betas, strict=True)], "beta")
    return Annealed(w.to(features), inertia, trajectory.assign_coords(seed=list(seeds)))


def cooling(features: Tensor, rate: float = 1.2, start: float = 0.8, stop: float = 1500.0) -> list[float]:
    """A geometric sequence of inverse temperatures, from ``start`` to ``stop`` in units of the first split's."""
    count = math.ceil(math.log(stop / start) / math.log(rate)) + 1
    return [start * rate**i * critical_beta(features) for i in range(count)]


def critical_beta(features: Tensor) -> float:
    r"""beta_c = 1 / (2 lambda_max), above which the mean of the data is no longer the best of all prototypes.

    There a step of EM multiplies a perturbation along the first principal axis by 2 beta lambda_max, lambda_max being
    the greatest eigenvalue of the data's covariance (with 1/N).

    Reference: Rose (1998), section II, on phase transitions.

    Example:
        >>> critical_beta(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
        0.5
    """
    covariance = torch.cov(features.detach().double().mT, correction=0).reshape(features.shape[1], -1)
    return 0.5 / torch.linalg.eigvalsh(covariance)[-1].item()


def lloyd(features: Tensor, prototypes: Tensor, most: int = 1000) -> Tensor:
    """Hard EM until no prototype of any run moves, (..., K, D); at most so many steps."""
    for _ in range(most):
        moved = em_step(features, prototypes)
        if torch.equal(moved, prototypes):
            break
        prototypes = moved
    return prototypes


def distinct(prototypes: Tensor, beta: float) -> Tensor:
    """How many prototypes (..., K, D) no earlier one is nearer to than a tenth of the thermal width, (...)."""
    near = torch.cdist(prototypes, prototypes) < 0.1 / math.sqrt(2 * beta)
    return (~near.tril(-1).any(-1)).sum(-1)


def _rung(y: Tensor, prototypes: Tensor, beta: float) -> xr.Dataset:
    """The energies at one temperature; F, U and c are those of ``EnergyView.ladder`` of ``KMeans(prototypes)``."""
    energy = squared_distances(y, prototypes) + y.shape[1] / 2 * math.log(math.pi) + math.log(prototypes.shape[1])
    p = assignments(y, prototypes, beta)
    mean = (p * energy).sum(-1)
    columns = {
        "free_energy": -(-beta * energy).logsumexp(-1).sum(-1) / beta,
        "mean_energy": mean.sum(-1),
        "heat_capacity": beta**2 * (p * (energy - mean.unsqueeze(-1)).square()).sum((-1, -2)),
        "clusters": distinct(prototypes, beta),
    }
    table = xr.Dataset({name: (("seed",), value.numpy()) for name, value in columns.items()})
    table["prototypes"] = (("seed", "component", "dimension"), prototypes.numpy())
    return table.expand_dims(beta=[beta])


def _check(components: int, betas: Sequence[float], perturbation: float, steps: int) -> None:
    steps_up = zip([0.0, *betas], [*betas, math.inf], strict=True)
    if not betas or not all(low < high for low, high in steps_up):
        raise ValueError(f"betas must be positive, finite and rising, got {betas}; `cooling` makes such a sequence.")
    if components < 1 or steps < 1 or perturbation <= 0:
        raise ValueError(
            f"components, steps and perturbation must be positive, got {components}, {steps} and {perturbation}."
        )
