"""A Bayesian mixture of Gaussians in the plane: weights, means and scales have a posterior."""

from functools import partial

import pyro.poutine as poutine
import torch
from pyro.infer import TraceEnum_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, init_to_value

from ..models import BayesianMixture
from .gaussian_mixture import ring_of_clusters, spread_out
from .recipe import Recipe

__all__ = ["recipe"]


def recipe(
    *,
    components: int = 3,
    clusters: int = 3,
    size: int = 200,
    epochs: int = 3000,
    learning_rate: float = 0.02,
    seed: int = 0,
) -> Recipe:
    """A Bayesian mixture of Gaussians in the plane: weights, means and scales have a posterior.

    ``size`` points are drawn from ``clusters`` Gaussians on a circle of radius 3. The guide is one Gaussian over all
    latents that ``components`` share, in unconstrained coordinates; it starts from as many of the points, and which
    component a point is of is summed out.
    """
    points = ring_of_clusters(clusters, size, seed)
    model = BayesianMixture(components, dimensions=2)
    start = {"means": spread_out(points, components), "scales": torch.full((components, 2), 0.8)}
    shared = poutine.block(model, hide=["component"])
    return Recipe(
        model=model,
        guide=AutoMultivariateNormal(shared, init_loc_fn=init_to_value(values=start)),
        data={"features": points},
        held_out={"features": points},
        whole=True,
        epochs=epochs,
        objective=TraceEnum_ELBO(max_plate_nesting=1),
        batch_size=None,
        optimizer=partial(torch.optim.Adam, lr=learning_rate),
        schedule=decay,
    )


def decay(progress: float) -> float:
    """The learning rate's factor: 1, then down to 0 over the second half."""
    return min(1.0, 2 * (1 - progress))
