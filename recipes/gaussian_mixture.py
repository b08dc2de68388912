"""A Gaussian mixture in the plane, its components enumerated, against its closed form."""

from collections.abc import Mapping
from functools import partial

import torch
from pyro.infer import TraceEnum_ELBO

from ..guides import Responsibilities
from ..models import GaussianMixture
from .recipe import Recipe

__all__ = ["recipe", "ring_of_clusters", "spread_out"]


def recipe(
    *,
    components: int = 4,
    clusters: int = 4,
    size: int = 1000,
    epochs: int = 100,
    learning_rate: float = 0.02,
    seed: int = 0,
) -> Recipe:
    """A Gaussian mixture in the plane, its components enumerated, against its closed form.

    ``size`` points are drawn from ``clusters`` Gaussians on a circle of radius 3; the fit of ``components`` starts from
    as many of the points, and 200 more points are held out.
    """
    points = ring_of_clusters(clusters, size + 200, seed)
    model = GaussianMixture(spread_out(points[:size], components), scale=1.0)
    return Recipe(
        model=model,
        guide=Responsibilities(features=2, components=components),
        data={"features": points[:size]},
        held_out={"features": points[size:]},
        epochs=epochs,
        objective=TraceEnum_ELBO(max_plate_nesting=1),
        optimizer=partial(torch.optim.Adam, lr=learning_rate),
        score=partial(_log_evidence, points[size:]),
    )


def ring_of_clusters(clusters: int, size: int, seed: int) -> torch.Tensor:
    """Points (N, 2) of as many Gaussians, of standard deviation 0.6, with their means on a circle of radius 3."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * torch.pi * torch.rand(size, generator=generator).mul(clusters).floor() / clusters
    centre = 3 * torch.stack([angle.cos(), angle.sin()], -1)
    return centre + 0.6 * torch.randn(size, 2, generator=generator)


def spread_out(points: torch.Tensor, count: int) -> torch.Tensor:
    """``count`` of the points, each the farthest from those before it (Gonzalez 1985)."""
    chosen = [points[0]]
    for _ in range(count - 1):
        distance = torch.stack([(points - point).square().sum(-1) for point in chosen]).amin(0)
        chosen.append(points[distance.argmax()])
    return torch.stack(chosen)


@torch.no_grad()
def _log_evidence(points: torch.Tensor, model: GaussianMixture, guide: Responsibilities) -> Mapping[str, float]:  # noqa: ARG001
    return {"test_log_evidence": model.log_evidence(points).mean().item()}
