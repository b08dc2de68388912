"""A falling pen: one x, and a circle of outcomes, which a latent angle goes round."""

from functools import partial

import torch

from ..data import pen
from ..guides import ConditionalAngle
from ..models import Horn
from ..networks import CurveDecoder
from .curve_pictures import sections
from .guide_beside import angle_objective
from .recipe import Recipe
from .vae import decay

__all__ = ["recipe"]


def recipe(
    *,
    latent: str = "amortised",
    size: int = 500,
    scale: float = 0.05,
    points: int = 512,
    epochs: int = 400,
    learning_rate: float = 0.01,
    seed: int = 0,
) -> Recipe:
    """A falling pen: one x, and a circle of outcomes, which a latent angle goes round.

    The model is that of the recipe ``horn``, its decoder a network of the angle: nothing tells it of circles.
    ``latent`` is as in the recipe ``ellipse``. Two hundred more outcomes are held out.
    """
    data = pen(size + 200, seed)
    train, held_out = ({name: value[part] for name, value in data.items()} for part in (slice(size), slice(size, None)))
    return Recipe(
        model=Horn(CurveDecoder(), scale),
        guide=ConditionalAngle(hidden=64),
        data=train,
        held_out=held_out,
        epochs=epochs,
        objective=angle_objective(latent, points),
        batch_size=64,
        optimizer=partial(torch.optim.Adam, lr=learning_rate),
        schedule=decay,
        pictures={"sections": partial(sections, train, (0.0,))},
    )
