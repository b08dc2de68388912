"""A variational auto-encoder of digit images."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits

from ..data import ImageDataset, TrainTest
from ..guides import GaussianEncoder
from ..models import VAE
from .code_pictures import code_pictures
from .digit_images import parts, train_and_test
from .recipe import Recipe

__all__ = [
    "SUITS",
    "Images",
    "binarised",
    "decay",
    "elbo_and_parts",
    "images",
    "rate_and_distortion",
    "recipe",
]


class Suits(NamedTuple):
    """Settings that depend on the data."""

    latents: int
    hidden: int
    epochs: int
    learning_rate: float
    batch_size: int


class Images(NamedTuple):
    """What is trained on, what settings are chosen by, and what judges the result."""

    train: Tensor
    validation: Tensor
    test: ImageDataset


SUITS = {"digits": Suits(5, 100, 100, 3e-3, 100), "mnist": Suits(50, 200, 100, 1e-3, 200)}


def recipe(
    *,
    data: str = "digits",
    latents: int = 0,
    hidden: int = 0,
    epochs: int = 0,
    learning_rate: float = 0.0,
    binary: bool = True,
    redraw: bool = False,
    seed: int = 0,
) -> Recipe:
    """A variational auto-encoder of digit images.

    ``data`` is digits (8 x 8, embedded) or mnist. Where ``latents``, ``hidden``, ``epochs`` or ``learning_rate`` is 0,
    it is what suits the data, chosen on validation images. With ``binary`` each pixel is drawn once, black with its
    grey value as probability, so that the free energies are those of a normalised model; with ``redraw`` those that are
    trained on are drawn anew at each step, which long trainings need not to learn them by heart.
    """
    kept = images(data, binary, seed, redraw)
    suits = SUITS[data]
    latents, hidden = latents or suits.latents, hidden or suits.hidden
    shape = (kept.train.shape[-2], kept.train.shape[-1])
    return Recipe(
        model=VAE(shape, latents=latents, hidden=hidden),
        guide=GaussianEncoder(shape, latents=latents, hidden=hidden),
        data={"image": kept.train},
        held_out={"image": kept.test.image},
        validation={"image": kept.validation},
        epochs=epochs or suits.epochs,
        objective=TraceMeanField_ELBO(),  # the divergence from the prior in closed form: gradients of less variance
        batch_size=suits.batch_size,
        augment=redrawn if redraw else None,
        optimizer=partial(torch.optim.Adam, lr=learning_rate or suits.learning_rate),
        schedule=decay,
        validate=partial(elbo_and_parts, "validation", kept.validation, closed_form_rate),
        score=partial(_score, kept.test.image),
        pictures=code_pictures(kept.test, latents),
    )


def decay(progress: float) -> float:
    """The learning rate's factor: 1, then down to 0 over the second half of the training."""
    return min(1.0, 2 * (1 - progress))


def binarised(dataset: ImageDataset, generator: torch.Generator) -> ImageDataset:
    """The images with each pixel drawn once, 1 with its grey value as probability.

    A threshold would give the same images for every seed. But a grey pixel's energy is linear in its value, so this
    is the draw whose mean energy is that of the grey image; a pixel of the embedded digits is the inked fraction of
    its cell, of which this draws a point; and MNIST's free energies in the literature are those of such draws
    (R. Salakhutdinov and I. Murray 2008, On the quantitative analysis of deep belief networks).
    """
    return ImageDataset(torch.bernoulli(dataset.image, generator=generator), dataset.digit)


def redrawn(image: Tensor) -> dict[str, Tensor]:
    """Each pixel 1 with its grey value as probability, else 0."""
    return {"image": torch.bernoulli(image)}


def images(data: str, binary: bool, seed: int, redraw: bool = False) -> Images:
    """The data by name, with part of the training images held back; each pixel drawn once where ``binary``.

    With ``redraw`` the images that are trained on are left grey, for `redrawn`.

    Raises:
        ValueError: if there are no data of that name, or what is not to be drawn is to be redrawn.
    """
    if redraw and not binary:
        raise ValueError("setting 'redraw' is of pixels that are drawn: leave it out, or set binary=true.")
    grey = both = train_and_test(data, seed)
    if binary:
        generator = torch.Generator().manual_seed(seed)
        both = TrainTest(binarised(grey.train, generator), binarised(grey.test, generator))
    kept, held_back, test = parts(both, seed)
    train = parts(grey, seed).train if redraw else kept
    return Images(train.image, held_back.image, test)


Rate = Callable[[Any, Tensor], Tensor]
"""KL(q, prior), or an estimate of it from a draw (N, D), of q by image: (N,), in nats."""


def closed_form_rate(q: Any, code: Tensor) -> Tensor:  # noqa: ARG001 - the draw is not needed
    """KL(q, prior) of Gaussians, (N,)."""
    return kl_divergence(q.base_dist, Normal(0.0, 1.0)).sum(-1)


@torch.no_grad()
def rate_and_distortion(model: VAE, guide: Any, image: Tensor, rate: Rate = closed_form_rate) -> tuple[Tensor, Tensor]:
    """The two parts of -ELBO by image, (N,) each, in nats: KL(q, prior), and E_q[-log p(image | code)] from one draw.

    Source of the names: A. Alemi, B. Poole, I. Fischer, J. Dillon, R. Saurous, K. Murphy (2018), Fixing a broken ELBO.
    https://arxiv.org/abs/1711.00464
    """
    device = next(guide.parameters()).device
    rates, distortions = [], []
    for part in image.split(1000):
        on_device = part.to(device)
        q = guide.distribution(on_device)
        code = q.sample()
        rates.append(rate(q, code))
        logits = model.decode(code)
        distortions.append(binary_cross_entropy_with_logits(logits, on_device, reduction="none").sum((-1, -2)))
    return torch.cat(rates), torch.cat(distortions)


def elbo_and_parts(name: str, image: Tensor, rate: Rate, model: VAE, guide: Any) -> Mapping[str, float]:
    """The mean ELBO of images and its two parts, in nats an image."""
    of_code, of_image = (part.mean().item() for part in rate_and_distortion(model, guide, image, rate))
    return {f"{name}_elbo": -(of_code + of_image), f"{name}_rate": of_code, f"{name}_distortion": of_image}


@torch.no_grad()
def _score(image: Tensor, model: VAE, guide: GaussianEncoder) -> Mapping[str, float]:
    """The ELBO of all test images and its two parts, and how many latents the guide uses.

    A latent is active where the variance over images of its mean is above 0.01 (Y. Burda, R. Grosse, R. Salakhutdinov
    2016, Importance weighted autoencoders, https://arxiv.org/abs/1509.00519).
    """
    device = next(guide.parameters()).device
    means = torch.cat([guide.distribution(part.to(device)).mean for part in image.split(1000)])
    active = int((means.var(0) > 0.01).sum())
    return {**elbo_and_parts("test", image, closed_form_rate, model, guide), "active_latents": active}
