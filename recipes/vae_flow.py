"""A variational auto-encoder of digit images whose guide is a normalising flow: the model of `vae`, a freer family."""

from dataclasses import replace
from functools import partial

from pyro.infer import Trace_ELBO
from torch import Tensor
from torch.distributions import Normal

from ..guides import FlowEncoder, SplineFlow
from .recipe import Recipe
from .vae import SUITS, elbo_and_parts
from .vae import recipe as vae

__all__ = ["drawn_rate", "recipe"]


def recipe(
    *,
    data: str = "digits",
    latents: int = 0,
    hidden: int = 0,
    epochs: int = 0,
    learning_rate: float = 0.0,
    binary: bool = True,
    redraw: bool = False,
    couplings: int = 2,
    seed: int = 0,
) -> Recipe:
    """A variational auto-encoder of digit images whose guide is a normalising flow: the model of `vae`, a freer family.

    The guide is a `FlowEncoder` with ``couplings`` steps. The other settings are those of `vae`.
    """
    shared = {"data": data, "latents": latents, "hidden": hidden, "epochs": epochs, "learning_rate": learning_rate}
    made, suits = vae(**shared, binary=binary, redraw=redraw, seed=seed), SUITS[data]
    shape = (made.held_out["image"].shape[-2], made.held_out["image"].shape[-1])
    assert made.pictures is not None
    assert made.validation is not None
    return replace(
        made,
        guide=FlowEncoder(shape, latents or suits.latents, hidden or suits.hidden, couplings=couplings),
        objective=Trace_ELBO(),  # the divergence from the prior has no closed form
        validate=partial(elbo_and_parts, "validation", made.validation["image"], drawn_rate),
        score=partial(elbo_and_parts, "test", made.held_out["image"], drawn_rate),
        # Reconstructions are of mean codes, which a flow has not in closed form.
        pictures={name: picture for name, picture in made.pictures.items() if name != "reconstructions"},
    )


def drawn_rate(q: SplineFlow, code: Tensor) -> Tensor:
    """log q - log prior of a draw of q, (N,): unbiased for their divergence, and negative where chance will have it."""
    return q.log_prob(code) - Normal(0.0, 1.0).log_prob(code).sum(-1)
