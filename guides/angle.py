r"""q(angle | point) and q(angle | x, point):  a wrapped normal whose direction and scale a network reads off."""

import pyro
import torch
from torch import Tensor, nn

from ..networks import mlp
from .wrapped_normal import WrappedNormal

__all__ = ["Angle", "ConditionalAngle"]

LOG_SCALE = (-7.0, 1.1)
"""Between a thousandth of a radian and 3.0, which is uniform within 5 %."""


class Angle(nn.Module):
    r"""An amortised guide of a latent angle, of one direction.

    .. math:: q(z \mid y) = \text{WrappedNormal}(z; \mu(y), \sigma(y)^2), \qquad
              \mu = \operatorname{atan2}(y_2 + c_2(y), y_1 + c_1(y)), \qquad
              \log \sigma = l + (h - l) / (1 + e^{-c_3(y)})

    with z the site ``angle``, y the argument ``point``, c a network with two hidden layers, l = -7 and h = 1.1. Where
    two directions explain a point alike, as near the centre of an ellipse, the posterior has two modes of which this
    holds one, or is as broad as both: ``pyrometer.compare`` says what that costs.

    Args:
        hidden: the width of each hidden layer.

    Sites, inside the plate ``data`` of N: ``angle`` (N,).

    Example:
        >>> Angle(hidden=8).distribution(torch.zeros(5, 2)).batch_shape
        torch.Size([5])
    """

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.network = mlp(3, hidden, hidden, 3)

    def distribution(self, point: Tensor) -> WrappedNormal:
        """q(angle | point) for points (..., 2)."""
        return _around(point, self.network(_features(point)))

    def forward(self, point: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(point)):
            pyro.sample("angle", self.distribution(point))


class ConditionalAngle(nn.Module):
    r"""The same for a conditional model: q(z | x, y), with x the argument ``x``.

    Args:
        hidden: the width of each hidden layer.

    Sites, inside the plate ``data`` of N: ``angle`` (N,).

    Example:
        >>> ConditionalAngle(hidden=8).distribution(torch.rand(5), torch.zeros(5, 2)).batch_shape
        torch.Size([5])
    """

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.network = mlp(4, hidden, hidden, 3)

    def distribution(self, x: Tensor, point: Tensor) -> WrappedNormal:
        """q(angle | x, point) for x (...) and points (..., 2)."""
        return _around(point, self.network(torch.cat([x.unsqueeze(-1), _features(point)], -1)))

    def forward(self, x: Tensor, point: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(point)):
            pyro.sample("angle", self.distribution(x, point))


def _features(point: Tensor) -> Tensor:
    """The point drawn into the unit disc, and the logarithm of how far out it is, (..., 3)."""
    reach = (1 + point.square().sum(-1, keepdim=True)).sqrt()
    return torch.cat([point / reach, reach.log()], -1)


def _around(point: Tensor, read: Tensor) -> WrappedNormal:
    """Round the direction of the point, corrected by what the network gives, (..., 3)."""
    first, second = (point + read[..., :2]).unbind(-1)
    low, high = LOG_SCALE
    # A clamp has no slope beyond its ends, where the huge energies of the first steps soon drive a scale for good.
    return WrappedNormal(torch.atan2(second, first), (low + (high - low) * read[..., 2].sigmoid()).exp())
