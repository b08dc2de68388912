r"""Factor analysis:  factors ~ N(0, I_K),  features | factors ~ N(W factors + mean, diag(noise^2))."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

__all__ = ["FactorAnalysis"]


class FactorAnalysis(nn.Module):
    r"""Linear-Gaussian latent variables, with posterior and evidence in closed form.

    .. math:: p(z) = N(z; 0, I_K), \qquad p(x \mid z) = N(x; W z + m, \operatorname{diag} s^2)

    with z the site ``factors``, x the site ``features``, W ``loadings`` (D, K), m ``mean`` (D,) and s ``noise`` (D,),
    a standard deviation.

    Args:
        features: the number of observed dimensions D.
        factors: the number of latent dimensions K.
        noise: the initial standard deviation of the noise.

    Sites, inside the plate ``data`` of N: ``factors`` (N, K), ``features`` (N, D). Without ``features`` the program
    simulates one; ``pyro.poutine.uncondition(model)(x)`` simulates as many as x has.

    Reference: C. M. Bishop (2006), Pattern recognition and machine learning, section 12.2.4.

    Example:
        >>> model = FactorAnalysis(features=3, factors=2)
        >>> x = torch.randn(5, 3)
        >>> model.posterior(x).mean.shape, model.log_evidence(x).shape
        (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(self, features: int, factors: int, noise: float = 1.0) -> None:
        super().__init__()
        if noise <= 0:
            raise ValueError(f"noise must be a positive standard deviation, got {noise}.")
        self.loadings = nn.Parameter(torch.randn(features, factors) / math.sqrt(factors))
        self.mean = nn.Parameter(torch.zeros(features))
        self.log_noise = nn.Parameter(torch.full((features,), math.log(noise)))

    @property
    def noise(self) -> Tensor:
        """The standard deviation of the noise, (D,)."""
        return self.log_noise.exp()

    def forward(self, features: Tensor | None = None) -> Tensor:
        """The program; returns the features, (N, D)."""
        zero = self.mean.new_zeros(self.loadings.shape[1])
        with pyro.plate("data", 1 if features is None else len(features)):
            factors = pyro.sample("factors", dist.Normal(zero, 1.0).to_event(1))
            loc = factors @ self.loadings.mT + self.mean
            return pyro.sample("features", dist.Normal(loc, self.noise).to_event(1), obs=features)

    def posterior(self, features: Tensor) -> dist.MultivariateNormal:
        r"""Exact p(factors | features) = N(S W^T diag(s^-2) (x - m), S),  S = (I + W^T diag(s^-2) W)^-1."""
        scaled = self.loadings.mT / self.noise.square()
        precision = torch.eye(len(scaled), dtype=scaled.dtype) + scaled @ self.loadings
        covariance = torch.linalg.inv(precision)
        return dist.MultivariateNormal((features - self.mean) @ scaled.mT @ covariance, covariance)

    def log_evidence(self, features: Tensor) -> Tensor:
        r"""Exact log p(features) = log N(x; m, W W^T + diag(s^2)) by datum, (N,), in nats."""
        covariance = self.loadings @ self.loadings.mT + self.noise.square().diag()
        return dist.MultivariateNormal(self.mean, covariance).log_prob(features)
