r"""Tests of accuracy with random points:  is the truth as far from a point r(x) as the guide's draws are?"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["References", "distances"]


class References(NamedTuple):
    r"""Points r(x) for the posteriors of data x: of B simulated pairs, the latents whose data are nearest to x.

    A point may be any function of x: where the guide is the posterior, the truth and the guide's draws are equally far
    from it. It must be a function of x: a guide that is the prior passes for any point that knows nothing of x. The
    latents of similar data are likely to be near the truth, and the prior's draws are not.

    Attributes:
        data: the data of the pairs, (B, C, E) for each of C posteriors, in units of ``spread``.
        spread: the standard deviation of each number of a datum, (E,), or 1 where it does not vary.

    Reference: P. Lemos, A. Coogan, Y. Hezaveh, L. Perreault-Levasseur (2023), Sampling-based accuracy testing of
    posterior estimators for general inference, ICML. https://arxiv.org/abs/2302.03026. That every guide but the
    posterior fails needs points that depend on x; to take those of the nearest data is ours.
    """

    data: Tensor
    spread: Tensor

    @classmethod
    def of(cls, data: Tensor) -> "References":
        """From the data of pairs that were drawn from the model, (B, C, E)."""
        spread = _spread(data)
        return cls(data / spread, spread)

    def nearest(self, data: Tensor) -> Tensor:
        """Which of the B pairs has the nearest data to each datum, (C,), from data (C, E)."""
        return (self.data - data / self.spread).square().sum(-1).argmin(0)


def distances(latents: Tensor, pairs: Tensor, nearest: Tensor) -> Tensor:
    r"""How far latents are from the point of their data, (S, C), in standard deviations of the prior.

    .. math:: d_{sc} = \lVert (z_{sc} - r(x_c)) / \sigma \rVert

    The rank of the truth's distance among those of a guide's draws is uniform where the guide is the posterior, and the
    ECDF of the ranks is TARP's expected coverage.

    Args:
        latents: (S, C, D), the truth and draws from a guide.
        pairs: the latents of the simulated pairs, draws of the prior, (B, C, D).
        nearest: which of these is the point for each of the C posteriors, (C,).

    Example:
        >>> data, pairs = torch.randn(100, 2, 3), torch.randn(100, 2, 1)
        >>> nearest = References.of(data).nearest(torch.zeros(2, 3))
        >>> distances(torch.zeros(5, 2, 1), pairs, nearest).shape
        torch.Size([5, 2])
    """
    points = pairs[nearest, torch.arange(len(nearest))]
    return ((latents - points) / _spread(pairs)).square().sum(-1).sqrt()


def _spread(values: Tensor) -> Tensor:
    """The standard deviation of each coordinate, (D,), from (B, C, D); 1 where it does not vary."""
    spread = values.flatten(0, 1).std(0)
    return torch.where(spread > 0, spread, 1.0)
