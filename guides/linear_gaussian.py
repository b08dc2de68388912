r"""q(factors | features) = N(A features + b, C C^T): Gaussian, linear in the features, one covariance for all."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

__all__ = ["LinearGaussian"]


class LinearGaussian(nn.Module):
    r"""An amortised Gaussian guide, whose family contains the exact posterior of factor analysis.

    .. math:: q(z \mid x) = N(z; A x + b, C C^\top)

    with z the site ``factors``, x the argument ``features``, A and b the linear layer ``loc``, and C ``scale_tril``
    (K, K), lower triangular with a positive diagonal.

    Args:
        features: the number of observed dimensions D.
        factors: the number of latent dimensions K.
        scale: the initial standard deviation of each factor.

    Sites, inside the plate ``data`` of N: ``factors`` (N, K).

    Example:
        >>> LinearGaussian(features=3, factors=2).distribution(torch.zeros(5, 3)).mean.shape
        torch.Size([5, 2])
    """

    def __init__(self, features: int, factors: int, scale: float = 1.0) -> None:
        super().__init__()
        if scale <= 0:
            raise ValueError(f"scale must be a positive standard deviation, got {scale}.")
        self.loc = nn.Linear(features, factors)
        self.lower = nn.Parameter(torch.zeros(factors, factors))
        self.log_diagonal = nn.Parameter(torch.full((factors,), math.log(scale)))

    @property
    def scale_tril(self) -> Tensor:
        """C, lower triangular, (K, K)."""
        return self.lower.tril(-1) + self.log_diagonal.exp().diag()

    def distribution(self, features: Tensor) -> dist.MultivariateNormal:
        """q(factors | features)."""
        return dist.MultivariateNormal(self.loc(features), scale_tril=self.scale_tril)

    def forward(self, features: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(features)):
            pyro.sample("factors", self.distribution(features))
