"""A variational auto-encoder of digit images whose guide is a normalising flow: the model of `vae`, a freer family."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from pyro.infer import Trace_ELBO
from torch import Tensor
from torch.distributions import Normal
from torch.nn.functional import binary_cross_entropy_with_logits

from ..guides import FlowEncoder
from ..models import VAE
from .recipe import Recipe
from .vae import SUITS, images
from .vae import recipe as vae

__all__ = ["recipe", "sampled_rate_and_distortion"]


def recipe(
    *,
    data: str = "digits",
    latents: int = 0,
    hidden: int = 0,
    epochs: int = 0,
    learning_rate: float = 0.0,
    binary: bool = True,
    couplings: int = 2,
    seed: int = 0,
) -> Recipe:
    """A variational auto-encoder of digit images whose guide is a normalising flow: the model of `vae`, a freer family.

    The guide is a `FlowEncoder` with ``couplings`` steps. The other settings are those of `vae`.
    """
    shared = {"data": data, "latents": latents, "hidden": hidden, "epochs": epochs, "learning_rate": learning_rate}
    made, suits = vae(**shared, binary=binary, seed=seed), SUITS[data]
    shape = (made.held_out["image"].shape[-2], made.held_out["image"].shape[-1])
    assert made.pictures is not None
    return replace(
        made,
        guide=FlowEncoder(shape, latents or suits.latents, hidden or suits.hidden, couplings=couplings),
        objective=Trace_ELBO(),  # the divergence from the prior has no closed form
        validate=partial(_validation, images(data, binary, seed).validation),
        score=partial(_score, made.held_out["image"]),
        # Reconstructions are of mean codes, which a flow has not in closed form.
        pictures={name: picture for name, picture in made.pictures.items() if name != "reconstructions"},
    )


@torch.no_grad()
def sampled_rate_and_distortion(model: VAE, guide: FlowEncoder, image: Tensor) -> tuple[Tensor, Tensor]:
    """The two parts of -ELBO by image, (N,) each, in nats, from one draw of q: log q - log prior, -log p(image | code).

    The first is an unbiased estimate of the divergence that `vae` has in closed form, and can be negative.
    """
    device = next(guide.parameters()).device
    rates, distortions = [], []
    for part in image.split(1000):
        on_device = part.to(device)
        q = guide.distribution(on_device)
        code = q.rsample()
        rates.append(q.log_prob(code) - Normal(0.0, 1.0).log_prob(code).sum(-1))
        cost = binary_cross_entropy_with_logits(model.decode(code), on_device, reduction="none")
        distortions.append(cost.sum((-1, -2)))
    return torch.cat(rates), torch.cat(distortions)


def _validation(image: Tensor, model: VAE, guide: FlowEncoder) -> Mapping[str, float]:
    rate, distortion = sampled_rate_and_distortion(model, guide, image)
    return {"validation_elbo": -(rate + distortion).mean().item()}


def _score(image: Tensor, model: VAE, guide: FlowEncoder) -> Mapping[str, float]:
    rate, distortion = (part.mean().item() for part in sampled_rate_and_distortion(model, guide, image))
    return {"test_elbo": -(rate + distortion), "test_rate": rate, "test_distortion": distortion}
