"""Factor analysis of data with known factors, against its closed form."""

from collections.abc import Mapping
from functools import partial

import torch

from ..guides import LinearGaussian
from ..models import FactorAnalysis
from .recipe import Recipe

__all__ = ["recipe"]


def recipe(
    *,
    features: int = 8,
    factors: int = 3,
    size: int = 1000,
    epochs: int = 100,
    learning_rate: float = 0.01,
    seed: int = 0,
) -> Recipe:
    """Factor analysis of data with known factors, against its closed form.

    ``size`` data of ``features`` dimensions are drawn from ``factors`` factors with noise 0.5, and 200 are held out.
    """
    generator = torch.Generator().manual_seed(seed)
    loadings = torch.randn(features, factors, generator=generator)
    latent = torch.randn(size + 200, factors, generator=generator)
    data = latent @ loadings.mT + 0.5 * torch.randn(size + 200, features, generator=generator)
    return Recipe(
        model=FactorAnalysis(features, factors, noise=0.8),
        guide=LinearGaussian(features, factors, scale=0.5),
        data={"features": data[:size]},
        held_out={"features": data[size:]},
        epochs=epochs,
        optimizer=partial(torch.optim.Adam, lr=learning_rate),
        schedule=_decay,
        score=partial(_log_evidence, data[size:]),
    )


def _decay(progress: float) -> float:
    return 1 - progress


@torch.no_grad()
def _log_evidence(data: torch.Tensor, model: FactorAnalysis, guide: LinearGaussian) -> Mapping[str, float]:  # noqa: ARG001
    return {"test_log_evidence": model.log_evidence(data).mean().item()}
