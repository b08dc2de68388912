"""K-means as an energy, and its warm version: prototypes by a free energy, responsibilities by a guide."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from pyro.infer import TraceEnum_ELBO
from sklearn.datasets import make_blobs
from torch import Tensor

from ..data import digits, spiral, train_test_split
from ..guides import Responsibilities
from ..inference.svi import Marginalised, Minimised
from ..models import KMeans
from .deterministic_annealing import anneal
from .gaussian_mixture import spread_out
from .kmeans_pictures import kmeans_pictures
from .recipe import Recipe

__all__ = ["recipe"]

HELD_OUT = 200
SUITS = {"spiral": 16, "blobs": 12, "digits": 10}
"""The number of prototypes, by data."""


def recipe(
    *,
    data: str = "spiral",
    components: int = 0,
    temperature: float = 0.0,
    annealed: bool = True,
    size: int = 400,
    epochs: int = 400,
    learning_rate: float = 0.1,
    seed: int = 0,
) -> Recipe:
    """K-means as an energy, and its warm version: prototypes by a free energy, responsibilities by a guide.

    ``data`` is spiral, blobs (both of ``size`` points) or digits (8 x 8, embedded); where ``components`` is 0 it is
    what suits them. The prototypes minimise F_beta at beta = 1 / ``temperature``, at 0 the objective of K-means; the
    guide learns p(component | features) at beta = 1. The prototypes start from deterministic annealing or, without
    ``annealed``, from data far from each other.
    """
    train, test = _features(data, size, seed)
    components = components or SUITS[data]
    start = anneal(train, components, seeds=[seed]).prototypes[0] if annealed else spread_out(train, components)
    return Recipe(
        model=KMeans(start),
        guide=Responsibilities(train.shape[1], components),
        data={"features": train},
        held_out={"features": test},
        epochs=epochs,
        objective=_objective(components, temperature),
        batch_size=None,
        optimizer=partial(torch.optim.Adam, lr=learning_rate),
        schedule=_decay,
        score=partial(_score, train, test),
        pictures=kmeans_pictures(train),
    )


def _features(data: str, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Training and held-out features, (N, D) each."""
    if data == "digits":
        train, test = train_test_split(digits(), seed=seed)
        return train.image.flatten(1), test.image.flatten(1)
    if data not in SUITS:
        raise ValueError(f"setting 'data' must be one of {', '.join(SUITS)}, got {data!r}.")
    count = size + HELD_OUT
    made = spiral(count, seed=seed) if data == "spiral" else _blobs(count, seed)
    return made[:size], made[size:]


def _blobs(count: int, seed: int) -> Tensor:
    where = {"centers": SUITS["blobs"], "center_box": (-2.0, 2.0), "cluster_std": 0.2}
    points = make_blobs(count, n_features=2, **where, random_state=seed)[0]
    return torch.as_tensor(points, dtype=torch.float32)


def _objective(components: int, temperature: float) -> Callable[..., Tensor]:
    """F_beta for the prototypes, and for the guide -ELBO, in which the prototypes are held fixed."""
    if temperature < 0:
        raise ValueError(f"setting 'temperature' must not be negative, got {temperature}.")
    points = {"component": torch.arange(components)}
    warm: Any = partial(Marginalised(points), beta=1 / temperature) if temperature else Minimised(points)
    elbo = TraceEnum_ELBO(max_plate_nesting=1)

    def objective(model: KMeans, guide: Responsibilities, features: Tensor) -> Tensor:
        fixed = KMeans(model.prototypes)
        return warm(model, None, features=features) + elbo.differentiable_loss(fixed, guide, features)

    return objective


def _decay(progress: float) -> float:
    return min(1.0, 2 * (1 - progress))


@torch.no_grad()
def _score(train: Tensor, test: Tensor, model: KMeans, guide: Responsibilities) -> Mapping[str, float]:  # noqa: ARG001
    """The mean squared distance to the nearest prototype, and how many of these are used."""
    own, other = (model.inertia(y).item() / len(y) for y in (train, test))
    used = model.responsibilities(train, math.inf).sum(0).count_nonzero().item()
    return {"train_distance": own, "test_distance": other, "used_prototypes": int(used)}
