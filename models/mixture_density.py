r"""Mixture-density network:  component ~ Cat(pi(x)),  point | component = k ~ N(m_k(x), s_k(x)^2 I)."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..networks import mlp

__all__ = ["MixtureDensity"]

LOG_SCALE = (-4.0, 4.0)


class MixtureDensity(nn.Module):
    r"""Outcomes y given x as a mixture of round Gaussians, all of whose parameters a network reads off x.

    .. math:: k \mid x \sim \operatorname{Cat}(\pi(x)), \qquad y \mid x, k \sim N(m_k(x), s_k(x)^2 I)

    with k the site ``component``, y the site ``point``, x the argument ``x``. log s is kept between -4 and 4. With one
    component it is a regression, whose answer is a mean; with more, one x can have several outcomes.
    ``pyrometer.Marginalised({"component": torch.arange(K)})`` trains it on log K - log p(y | x), exactly.

    Args:
        components: K.
        hidden: the width of the network's two hidden layers.
        spread: the standard deviation of the initial means.

    Sites, inside the plate ``data`` of N: ``component`` (N,), ``point`` (N, 2).

    Reference: C. M. Bishop (1994), Mixture density networks, Aston University, NCRG/94/004.

    Example:
        >>> MixtureDensity(components=3, hidden=8).log_evidence(torch.rand(5), torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(self, components: int = 8, hidden: int = 32, spread: float = 1.0) -> None:
        super().__init__()
        if components < 1:
            raise ValueError(f"components must be at least 1, got {components}.")
        self.network = mlp(1, hidden, hidden, 4 * components)
        self.starts = nn.Parameter(spread * torch.randn(components, 2))

    def parameters_at(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The logits (..., K), means (..., K, 2) and standard deviations (..., K) at x (...)."""
        read = self.network(x.unsqueeze(-1)).unflatten(-1, (-1, 4))
        return read[..., 0], self.starts + read[..., 1:3], read[..., 3].clamp(*LOG_SCALE).exp()

    def forward(self, x: Tensor | None = None, point: Tensor | None = None) -> Tensor:
        """The program; returns the points, (N, 2)."""
        given = x if x is not None else point
        with pyro.plate("data", 1 if given is None else len(given)):
            if x is None:
                x = pyro.sample("x", dist.Uniform(self.starts.new_zeros(()), 1.0))
            logits, means, scales = self.parameters_at(x)
            component = pyro.sample("component", dist.Categorical(logits=logits))
            chosen = nn.functional.one_hot(component, logits.shape[-1]).to(means)
            mean, scale = (chosen.unsqueeze(-1) * means).sum(-2), (chosen * scales).sum(-1, keepdim=True)
            return pyro.sample("point", dist.Normal(mean, scale).to_event(1), obs=point)

    def joint_log_prob(self, x: Tensor, point: Tensor) -> Tensor:
        """log p(point, component = k | x) for every component, (N, K)."""
        logits, means, scales = self.parameters_at(x)
        by_component = dist.Normal(means, scales.unsqueeze(-1)).to_event(1).log_prob(point.unsqueeze(-2))
        return logits.log_softmax(-1) + by_component

    def log_evidence(self, x: Tensor, point: Tensor) -> Tensor:
        """Exact log p(point | x) by datum, (N,), in nats."""
        return self.joint_log_prob(x, point).logsumexp(-1)
