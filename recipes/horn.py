"""A horn: for each x an ellipse of outcomes, of which a latent angle says which."""

from functools import partial

import torch

from ..data import horn
from ..guides import ConditionalAngle
from ..models import Horn
from ..networks import CurveDecoder, RadiiDecoder
from .curve_pictures import sections
from .guide_beside import angle_objective
from .recipe import Recipe
from .vae import decay

__all__ = ["recipe"]

DECODERS = {"radii": RadiiDecoder, "curve": CurveDecoder}


def recipe(
    *,
    latent: str = "amortised",
    decoder: str = "radii",
    size: int = 1000,
    scale: float = 0.05,
    points: int = 2048,
    epochs: int = 300,
    learning_rate: float = 0.01,
    seed: int = 0,
) -> Recipe:
    """A horn: for each x an ellipse of outcomes, of which a latent angle says which.

    ``latent`` is as in the recipe ``ellipse``. ``decoder`` is radii, whose curves are ellipses, or curve, a network of
    x and the angle. Two hundred more points are held out.
    """
    if decoder not in DECODERS:
        raise ValueError(f"setting 'decoder' must be one of {', '.join(DECODERS)}, got {decoder!r}.")
    data = horn(size + 200, seed)
    train, held_out = ({name: value[part] for name, value in data.items()} for part in (slice(size), slice(size, None)))
    return Recipe(
        model=Horn(DECODERS[decoder](), scale),
        guide=ConditionalAngle(hidden=64),
        data=train,
        held_out=held_out,
        epochs=epochs,
        objective=angle_objective(latent, points),
        batch_size=64,
        optimizer=partial(torch.optim.Adam, lr=learning_rate),
        schedule=decay,
        pictures={"sections": partial(sections, train, (0.0, 0.5, 1.0))},
    )
