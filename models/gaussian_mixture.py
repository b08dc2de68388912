r"""Gaussian mixture:  component ~ Cat(weights),  features | component = k ~ N(means_k, diag(scales_k^2))."""

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

__all__ = ["GaussianMixture"]


class GaussianMixture(nn.Module):
    r"""A finite mixture with learnable weights, means and scales, with posterior and evidence in closed form.

    .. math:: p(k) = \pi_k, \qquad p(x \mid k) = N(x; m_k, \operatorname{diag} s_k^2)

    with k the site ``component``, x the site ``features``, pi ``weights`` (K,), m ``means`` (K, D) and s ``scales``
    (K, D), standard deviations.

    Args:
        means: the initial means, (K, D): distinct ones, since equal components never separate.
        scale: the initial standard deviation of every component and dimension.
        shared: one scale for each dimension, which all components share, rather than one for each of them.

    Sites, inside the plate ``data`` of N: ``component`` (N,), ``features`` (N, D). Without ``features`` the program
    simulates one; ``pyro.poutine.uncondition(model)(x)`` simulates as many as x has.

    Reference: C. M. Bishop (2006), Pattern recognition and machine learning, section 9.2.

    Example:
        >>> import torch
        >>> model = GaussianMixture(torch.tensor([[-2.0, 0.0], [2.0, 1.0]]), scale=0.5)
        >>> x = torch.randn(5, 2)
        >>> model.responsibilities(x).probs.shape, model.log_evidence(x).shape
        (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(self, means: Tensor, scale: float = 1.0, shared: bool = False) -> None:
        super().__init__()
        if means.dim() != 2:
            raise ValueError(f"means must have shape (components, dimensions), got {tuple(means.shape)}.")
        if scale <= 0:
            raise ValueError(f"scale must be a positive standard deviation, got {scale}.")
        components, dimensions = means.shape
        self.logits = nn.Parameter(means.new_zeros(components))
        self.means = nn.Parameter(means.clone())
        self.log_scale = nn.Parameter(means.new_full((1 if shared else components, dimensions), scale).log())

    @property
    def weights(self) -> Tensor:
        """The probability of each component, (K,)."""
        return self.logits.softmax(-1)

    @property
    def scales(self) -> Tensor:
        """The standard deviations, (K, D)."""
        return self.log_scale.exp().expand_as(self.means)

    def forward(self, features: Tensor | None = None) -> Tensor:
        """The program; returns the features, (N, D)."""
        with pyro.plate("data", 1 if features is None else len(features)):
            component = pyro.sample("component", dist.Categorical(logits=self.logits))
            normal = dist.Normal(self.means[component], self.scales[component])
            return pyro.sample("features", normal.to_event(1), obs=features)

    def joint_log_prob(self, features: Tensor) -> Tensor:
        """log p(features, component = k) for every component, (N, K)."""
        by_component = dist.Normal(self.means, self.scales).to_event(1).log_prob(features.unsqueeze(-2))
        return self.logits.log_softmax(-1) + by_component

    def responsibilities(self, features: Tensor) -> dist.Categorical:
        """Exact p(component | features), by datum."""
        return dist.Categorical(logits=self.joint_log_prob(features))

    def log_evidence(self, features: Tensor) -> Tensor:
        """Exact log p(features) by datum, (N,), in nats."""
        return self.joint_log_prob(features).logsumexp(-1)
