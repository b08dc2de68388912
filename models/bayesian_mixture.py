r"""Bayesian mixture:  weights ~ Dir, means ~ N, scales ~ a prior,  component ~ Cat(weights),  features ~ N."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.ops.indexing import Vindex
from torch import Tensor, nn
from torch.distributions.transforms import PowerTransform

__all__ = ["BayesianMixture", "inverse_gamma_scale"]


class BayesianMixture(nn.Module):
    r"""A finite mixture of Gaussians whose weights, means and scales are latent, shared by all data.

    .. math::

        \pi &\sim \operatorname{Dir}(a, \dots, a), \quad m_{kd} \sim N(0, s_0^2), \quad
        \sigma_{kd} \sim p(\sigma) \\
        k_n &\sim \operatorname{Cat}(\pi), \quad x_{nd} \sim N(m_{k_n d}, \sigma_{k_n d}^2)

    Renaming the components leaves the posterior as it is: it has at least K! modes, of which a guide holds one. What
    it says of ``features`` is right all the same; its weights, means and scales are those of one naming.

    Args:
        components: K.
        dimensions: D.
        spread: s_0, the prior standard deviation of the means.
        concentration: a.
        scale_prior: p(sigma), of one standard deviation; by default LogNormal(0, 1). ``inverse_gamma_scale`` makes the
            one whose variance is inverse gamma, the conjugate choice.

    Sites: ``weights`` (K,), ``means`` (K, D), ``scales`` (K, D); inside the plate ``data`` of N ``component`` (N,) and
    ``features`` (N, D).

    Reference: C. M. Bishop (2006), Pattern recognition and machine learning, section 10.2.

    Example:
        >>> import torch
        >>> model = BayesianMixture(components=3, dimensions=2)
        >>> model(torch.randn(5, 2)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        components: int,
        dimensions: int,
        spread: float = 3.0,
        concentration: float = 2.0,
        scale_prior: TorchDistributionMixin | None = None,
    ) -> None:
        super().__init__()
        if spread <= 0 or concentration <= 0:
            raise ValueError(f"spread and concentration must be positive, got {spread} and {concentration}.")
        self.shape, self.spread, self.concentration = (components, dimensions), spread, concentration
        self.scale_prior = dist.LogNormal(0.0, 1.0) if scale_prior is None else scale_prior

    def forward(self, features: Tensor | None = None) -> Tensor:
        """The program; returns the features, (N, D)."""
        components = self.shape[0]
        weights = pyro.sample("weights", dist.Dirichlet(torch.full((components,), self.concentration)))
        means = pyro.sample("means", dist.Normal(torch.zeros(self.shape), self.spread).to_event(2))
        scales = pyro.sample("scales", self.scale_prior.expand_by(self.shape).to_event(2))
        with pyro.plate("data", 1 if features is None else len(features)):
            component = pyro.sample("component", dist.Categorical(weights), infer={"enumerate": "parallel"})
            chosen = [Vindex(values)[..., component, :] for values in (means, scales)]
            return pyro.sample("features", dist.Normal(*chosen).to_event(1), obs=features)

    def log_likelihood(self, features: Tensor, weights: Tensor, means: Tensor, scales: Tensor) -> Tensor:
        """log p(x_n | weights, means, scales) with the component summed out, (N,), in nats."""
        by_component = dist.Normal(means, scales).to_event(1).log_prob(features.unsqueeze(-2))
        return (by_component + weights.log()).logsumexp(-1)


def inverse_gamma_scale(concentration: float, rate: float) -> TorchDistributionMixin:
    r"""The prior of a standard deviation whose variance has the density of InverseGamma(concentration, rate).

    .. math:: p(\sigma) = 2 \sigma \, \frac{b^a}{\Gamma(a)} (\sigma^2)^{-a - 1} e^{-b / \sigma^2}

    with a ``concentration`` and b ``rate``, both positive.

    Example:
        >>> prior = inverse_gamma_scale(3.0, 2.0)
        >>> round(prior.log_prob(torch.tensor(0.8)).exp().item(), 4)
        1.6761
    """
    return dist.TransformedDistribution(dist.InverseGamma(concentration, rate), [PowerTransform(torch.tensor(0.5))])
