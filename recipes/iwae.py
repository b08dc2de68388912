"""An importance-weighted auto-encoder of digit images: the pair of `vae`, trained on a tighter bound."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ..guides import GaussianEncoder
from ..inference.svi import MonteCarlo
from ..inference.svi.estimators import doubly_reparameterised
from ..models import VAE
from .recipe import Recipe
from .vae import recipe as vae

__all__ = ["recipe", "tighter_bound"]

IMAGES_AT_ONCE = 200


def recipe(
    *,
    data: str = "digits",
    latents: int = 0,
    hidden: int = 0,
    epochs: int = 0,
    learning_rate: float = 0.0,
    binary: bool = True,
    redraw: bool = False,
    draws: int = 10,
    seed: int = 0,
) -> Recipe:
    """An importance-weighted auto-encoder of digit images: the pair of `vae`, trained on a tighter bound.

    The bound is that of ``draws`` draws of the code, and its gradient is doubly reparameterised. The other settings are
    those of `vae`.
    """
    shared = {"data": data, "latents": latents, "hidden": hidden, "epochs": epochs, "learning_rate": learning_rate}
    bound = MonteCarlo(doubly_reparameterised, draws)
    made = vae(**shared, binary=binary, redraw=redraw, seed=seed)
    assert made.validation is not None
    return replace(
        made,
        objective=bound,
        validate=partial(_measured, "validation", made.validation["image"], bound),
        score=partial(_measured, "test", made.held_out["image"], bound),
    )


@torch.no_grad()
def tighter_bound(bound: MonteCarlo, model: VAE, guide: GaussianEncoder, image: Tensor) -> float:
    """E[log mean w] of the bound's draws, an estimate of a lower bound on log p(image), in nats an image."""
    device = next(guide.parameters()).device
    parts = [bound(model, guide, image=part.to(device)).item() for part in image.split(IMAGES_AT_ONCE)]
    return -sum(parts) / len(image)


def _measured(name: str, image: Tensor, bound: MonteCarlo, model: VAE, guide: GaussianEncoder) -> Mapping[str, float]:
    return {f"{name}_bound": tighter_bound(bound, model, guide, image)}
