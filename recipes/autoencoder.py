"""An auto-encoder of digit images: the zero-temperature member of the family of `vae`."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ..guides import PointEncoder
from ..models import VAE
from .code_pictures import code_pictures
from .recipe import Recipe
from .vae import SUITS, decay, images

__all__ = ["energy_and_distortion", "recipe"]


def recipe(
    *,
    data: str = "digits",
    latents: int = 0,
    hidden: int = 0,
    epochs: int = 0,
    learning_rate: float = 0.0,
    binary: bool = True,
    seed: int = 0,
) -> Recipe:
    """An auto-encoder of digit images: the zero-temperature member of the family of `vae`.

    The same decoder, whose code is a point that a network guesses, trained on its energy: the cross-entropy of the
    pixels and half the squared length of the code. The settings are those of `vae`.
    """
    kept = images(data, binary, seed)
    suits = SUITS[data]
    latents, hidden = latents or suits.latents, hidden or suits.hidden
    shape = (kept.train.shape[-2], kept.train.shape[-1])
    return Recipe(
        model=VAE(shape, latents=latents, hidden=hidden),
        guide=PointEncoder(shape, latents=latents, hidden=hidden),
        data={"image": kept.train},
        held_out={"image": kept.test.image},
        validation={"image": kept.validation},
        epochs=epochs or suits.epochs,
        batch_size=suits.batch_size,
        optimizer=partial(torch.optim.Adam, lr=learning_rate or suits.learning_rate),
        schedule=decay,
        validate=partial(_measured, "validation", kept.validation),
        score=partial(_measured, "test", kept.test.image),
        pictures=code_pictures(kept.test, latents),
    )


@torch.no_grad()
def energy_and_distortion(model: VAE, guide: PointEncoder, image: Tensor) -> tuple[Tensor, Tensor]:
    """E(x, mu(x)) and its part -log p(image | code), by image, (N,) each, in nats."""
    device = next(guide.parameters()).device
    energies, distortions = [], []
    for part in image.split(1000):
        code, on_device = guide.distribution(part.to(device)).mean, part.to(device)
        cost = binary_cross_entropy_with_logits(model.decode(code), on_device, reduction="none").sum((-1, -2))
        energies.append(cost - torch.distributions.Normal(0.0, 1.0).log_prob(code).sum(-1))
        distortions.append(cost)
    return torch.cat(energies), torch.cat(distortions)


def _measured(name: str, image: Tensor, model: VAE, guide: PointEncoder) -> Mapping[str, float]:
    energy, distortion = (part.mean().item() for part in energy_and_distortion(model, guide, image))
    return {f"{name}_energy": energy, f"{name}_distortion": distortion}
