r"""Bayesian mixture:  weights ~ Dir, means ~ N, scales ~ LogNormal,  component ~ Cat(weights),  features ~ N."""

import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex
from torch import Tensor, nn

__all__ = ["BayesianMixture"]


class BayesianMixture(nn.Module):
    r"""A finite mixture of Gaussians whose weights, means and scales are latent, shared by all data.

    .. math::

        \pi &\sim \operatorname{Dir}(a, \dots, a), \quad m_{kd} \sim N(0, s_0^2), \quad
        \sigma_{kd} \sim \operatorname{LogNormal}(0, 1) \\
        k_n &\sim \operatorname{Cat}(\pi), \quad x_{nd} \sim N(m_{k_n d}, \sigma_{k_n d}^2)

    Renaming the components leaves the posterior as it is: it has at least K! modes, of which a guide holds one. What
    it says of ``features`` is right all the same; its weights, means and scales are those of one naming.

    Args:
        components: K.
        dimensions: D.
        spread: s_0, the prior standard deviation of the means.
        concentration: a.

    Sites: ``weights`` (K,), ``means`` (K, D), ``scales`` (K, D); inside the plate ``data`` of N ``component`` (N,) and
    ``features`` (N, D).

    Reference: C. M. Bishop (2006), Pattern recognition and machine learning, section 10.2.

    Example:
        >>> import torch
        >>> model = BayesianMixture(components=3, dimensions=2)
        >>> model(torch.randn(5, 2)).shape
        torch.Size([5, 2])
    """

    def __init__(self, components: int, dimensions: int, spread: float = 3.0, concentration: float = 2.0) -> None:
        super().__init__()
        if spread <= 0 or concentration <= 0:
            raise ValueError(f"spread and concentration must be positive, got {spread} and {concentration}.")
        self.shape, self.spread, self.concentration = (components, dimensions), spread, concentration

    def forward(self, features: Tensor | None = None) -> Tensor:
        """The program; returns the features, (N, D)."""
        components = self.shape[0]
        weights = pyro.sample("weights", dist.Dirichlet(torch.full((components,), self.concentration)))
        means = pyro.sample("means", dist.Normal(torch.zeros(self.shape), self.spread).to_event(2))
        scales = pyro.sample("scales", dist.LogNormal(torch.zeros(self.shape), 1.0).to_event(2))
        with pyro.plate("data", 1 if features is None else len(features)):
            component = pyro.sample("component", dist.Categorical(weights), infer={"enumerate": "parallel"})
            chosen = [Vindex(values)[..., component, :] for values in (means, scales)]
            return pyro.sample("features", dist.Normal(*chosen).to_event(1), obs=features)

    def log_likelihood(self, features: Tensor, weights: Tensor, means: Tensor, scales: Tensor) -> Tensor:
        """log p(x_n | weights, means, scales) with the component summed out, (N,), in nats."""
        by_component = dist.Normal(means, scales).to_event(1).log_prob(features.unsqueeze(-2))
        return (by_component + weights.log()).logsumexp(-1)
