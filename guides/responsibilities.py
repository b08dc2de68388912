r"""q(component | features) = Cat(softmax(A [x, x^2] + b)): a responsibility network."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

__all__ = ["Responsibilities"]


class Responsibilities(nn.Module):
    r"""An amortised guide for the components of a mixture.

    .. math:: q(k \mid x) = \operatorname{softmax}(A [x, x^2] + b)_k

    with k the site ``component`` and x the argument ``features``. The log responsibilities of Gaussians with diagonal
    covariances are quadratic in x without cross terms, so the family contains their exact posterior.

    Args:
        features: the number of observed dimensions D.
        components: the number of components K.

    Sites, inside the plate ``data`` of N: ``component`` (N,), which an objective that enumerates sums in parallel.

    Example:
        >>> Responsibilities(features=2, components=3).distribution(torch.zeros(5, 2)).probs.shape
        torch.Size([5, 3])
    """

    def __init__(self, features: int, components: int) -> None:
        super().__init__()
        self.logits = nn.Linear(2 * features, components)

    def distribution(self, features: Tensor) -> dist.Categorical:
        """q(component | features)."""
        return dist.Categorical(logits=self.logits(torch.cat([features, features.square()], -1)))

    def forward(self, features: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(features)):
            pyro.sample("component", self.distribution(features), infer={"enumerate": "parallel"})
