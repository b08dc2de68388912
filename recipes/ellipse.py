"""An ellipse from two dozen points, each explained by a latent angle."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from ..data import ellipse
from ..guides import Angle
from ..models import Ellipse
from .curve_pictures import curve_of_ellipse, free_energies
from .guide_beside import angle_objective
from .recipe import Recipe
from .vae import decay

__all__ = ["recipe"]


def recipe(
    *,
    latent: str = "amortised",
    size: int = 24,
    scale: float = 0.05,
    points: int = 512,
    epochs: int = 3000,
    learning_rate: float = 0.02,
    seed: int = 0,
) -> Recipe:
    """An ellipse from two dozen points, each explained by a latent angle.

    ``latent`` is what becomes of the angle: amortised by a guide, marginalised at beta = 1, or minimised (beta =
    infinity), both over ``points`` of the circle. The energy is the squared distance over 2 ``scale``^2: the larger the
    scale, the warmer. Two hundred more points are held out.
    """
    point = ellipse(size + 200, seed)["point"]
    return Recipe(
        model=Ellipse(scale=scale),
        guide=Angle(hidden=64),
        data={"point": point[:size]},
        held_out={"point": point[size:]},
        epochs=epochs,
        objective=angle_objective(latent, points),
        batch_size=None,
        optimizer=partial(torch.optim.Adam, lr=learning_rate),
        schedule=decay,
        score=_radii,
        pictures={"curve": partial(curve_of_ellipse, point[:size]), "free_energies": free_energies},
    )


def _radii(model: Ellipse, guide: Any) -> Mapping[str, float]:  # noqa: ARG001 - what a score takes
    first, second = model.radii.abs().tolist()
    return {"radius_1": first, "radius_2": second}
