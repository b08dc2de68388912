r"""Where annealed chains start: the prior, or a Gaussian that has the mean and covariance of a guide's draws."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .guide_draws import Guide
from .landscape import Landscape
from .own_family import NoOwnFamily, own_family

__all__ = ["NoPrior", "Start", "guide_start", "prior_start"]

GUIDE_DRAWS = 1000
FAMILY_STEPS = 300


class Start(NamedTuple):
    """A normalised distribution over coordinates.

    Attributes:
        name: ``"prior"`` or ``"guide"``.
        draw: S independent draws, (S, G, D).
        log_density: log q(u), (S, G).
        power: pilot chains leave it at coefficients that grow as this power: a prior needs many near 0.
    """

    name: str
    draw: Callable[[int], Tensor]
    log_density: Callable[[Tensor], Tensor]
    power: float


class NoPrior(ValueError):  # noqa: N818 - it says what is missing
    """The prior of some latents cannot be started from."""


def prior_start(land: Landscape) -> Start:
    """The program's own prior of the free latents.

    Raises:
        NoPrior: (a ValueError) if the prior cannot be drawn from, or is infinite there.
    """
    log_density = partial(_log_prior, land)
    try:
        finite = log_density(land.prior_draws(2)).isfinite().all()
    except NotImplementedError as error:
        raise NoPrior(f"the prior of the latents {land.continuous} cannot be drawn from: {error}.") from error
    if not finite:
        raise NoPrior(f"the prior of the latents {land.continuous} has no finite density at its own draws.")
    return Start("prior", land.prior_draws, log_density, 3.0)


def guide_start(land: Landscape, guide: Callable) -> Start:
    """A Gaussian in unconstrained coordinates, by group, with the moments of draws from the guide.

    Any guide can be drawn from, and a Gaussian's density is known; annealing corrects what the Gaussian lacks. Where
    every latent belongs to a datum, each datum gets the best member of the guide's own family: what an amortised guide
    loses there can be more than half of what the path has to make good.

    Raises:
        ValueError: if the guide leaves out a free continuous latent, or gives it no spread.
    """
    u = _draws(land, guide)
    if not _usable(u).all():
        raise ValueError(
            f"the guide has no density to start from: its draws of {land.continuous} have no spread, or are not finite."
        )
    if land.by_datum and not land.given:
        with contextlib.suppress(NoOwnFamily):  # a flow, say: the guide as it is
            best = _draws(land, own_family(land.program, guide, FAMILY_STEPS))
            u = torch.where(_usable(best).unsqueeze(-1), best, u)
    mean, spread = u.mean(0), u.std(0)
    return Start("guide", *_gaussian(mean, _scale_tril(u - mean, spread), land.dtype), 1.0)


def _draws(land: Landscape, guide: Callable) -> Tensor:
    """Coordinates (S, G, D) of draws from the guide."""
    structure = land.structure
    q = Guide(guide, structure.data_plate, *land.program.call, given=land.given)
    missing = [name for name in land.continuous if name not in q.structure.sites]
    if missing:
        raise ValueError(
            f"the guide does not sample {missing}; its sites are {list(q.structure.sites)}. Annealing starts at a "
            f"value for every continuous latent: sample it in the guide, or pass it in `given`."
        )
    return land.coordinates(q.draw(GUIDE_DRAWS).latents).double()


def _usable(u: Tensor) -> Tensor:
    """Whether draws have finite coordinates, and a spread in each, by group (G,)."""
    return (u.isfinite().all(0) & (u.std(0) > 0)).all(-1)


def _log_prior(land: Landscape, u: Tensor) -> Tensor:
    return land.log_density(u, 0.0, "prior")


def _scale_tril(centred: Tensor, spread: Tensor) -> Tensor:
    """Cholesky factors (G, D, D) of covariances whose correlations are shrunk by what chance alone would give.

    Reference: J. Schaefer, K. Strimmer (2005), A shrinkage approach to large-scale covariance matrix estimation,
    Statistical Applications in Genetics and Molecular Biology 4, section 2.4, with the variances of normal draws.
    """
    draws, _, dimension = centred.shape
    standard = centred / spread
    correlation = torch.einsum("sgd,sge->gde", standard, standard) / (draws - 1)
    off = correlation - torch.eye(dimension, dtype=correlation.dtype)
    chance = ((1 - off.square()).square() * (off != 0)).sum((-2, -1)) / (draws - 1)
    shrinkage = (chance / off.square().sum((-2, -1)).clamp(min=1e-300)).clamp(0, 1)
    kept = torch.eye(dimension, dtype=correlation.dtype) + (1 - shrinkage)[:, None, None] * off
    return spread.unsqueeze(-1) * torch.linalg.cholesky(kept)


def _gaussian(
    mean: Tensor, scale_tril: Tensor, dtype: torch.dtype
) -> tuple[Callable[[int], Tensor], Callable[[Tensor], Tensor]]:
    distribution = torch.distributions.MultivariateNormal(
        mean.to(dtype), scale_tril=scale_tril.to(dtype), validate_args=False
    )
    # As a quadratic form, so that a gradient is one matrix product.
    precision = torch.cholesky_inverse(scale_tril).to(dtype)
    constant = distribution.log_prob(mean.to(dtype))

    def log_density(u: Tensor) -> Tensor:
        centred = u - distribution.loc
        return constant - 0.5 * (centred * torch.einsum("sgd,gde->sge", centred, precision)).sum(-1)

    return lambda draws: distribution.sample(torch.Size([draws])), log_density
