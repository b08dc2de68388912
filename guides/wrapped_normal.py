r"""The normal distribution wound round the circle:  x = (loc + scale * eps) mod 2 pi,  eps ~ N(0, 1)."""

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all

__all__ = ["WrappedNormal"]

TURN = 2 * math.pi
WRAPS = 3


class WrappedNormal(TorchDistribution):
    r"""A normal number wrapped to the circle, with the reparameterised gradient of the normal number.

    .. math:: x = (\mu + \sigma \epsilon) \bmod 2 \pi, \qquad
              \log p(x) = \log \sum_k N(x + 2 \pi k; \mu, \sigma^2), \qquad 0 \le x < 2 \pi

    mu is ``loc``, sigma is ``scale``, at most pi: there the density is uniform within 3 %. The sum takes the seven
    turns nearest to loc; what it leaves out is below e^-24 of a normal number's mass.

    Args:
        loc: the direction, any real angle.
        scale: the standard deviation of the normal number, in (0, pi].

    Raises:
        ValueError: if ``scale`` lies outside (0, pi].

    Source: K. V. Mardia, P. E. Jupp (2000), Directional statistics, section 3.5.7.

    Example:
        >>> q = WrappedNormal(torch.tensor(6.2), torch.tensor(0.5))
        >>> q.log_prob(torch.tensor([6.2, 6.7 - 2 * math.pi])).round(decimals=3)
        tensor([-0.2260, -0.7260])
    """

    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "WrappedNormal":
        """The same for a larger batch."""
        return type(self)(self.loc.expand(batch_shape), self.scale.expand(batch_shape), validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """What the parameters may be."""
        return {"loc": constraints.real, "scale": constraints.interval(0.0, math.pi)}

    @property
    def support(self) -> constraints.Constraint:
        """The circle, from 0 up to 2 pi."""
        return constraints.half_open_interval(0.0, TURN)

    @property
    def mean(self) -> Tensor:
        """The mean direction, in [0, 2 pi)."""
        return wrapped(self.loc)

    @property
    def variance(self) -> Tensor:
        """Of the normal number, before it is wrapped."""
        return self.scale.square()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws whose gradient is that of loc + scale * eps."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return wrapped(self.loc + self.scale * torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device))

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density by the uniform measure d angle, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        away = torch.remainder(value - self.loc + math.pi, TURN) - math.pi
        turns = torch.arange(-WRAPS, WRAPS + 1, dtype=away.dtype, device=away.device)
        scale = self.scale.unsqueeze(-1)
        squares = ((away.unsqueeze(-1) + TURN * turns) / scale).square()
        return (-0.5 * squares).logsumexp(-1) - self.scale.log() - 0.5 * math.log(TURN)


def wrapped(angle: Tensor) -> Tensor:
    """The angle modulo 2 pi, in [0, 2 pi): the rounded remainder of a small negative angle is 2 pi itself, hence 0."""
    within = torch.remainder(angle, TURN)
    return torch.where(within >= TURN, within - within.detach(), within)
