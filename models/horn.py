r"""Horn:  angle ~ U(0, 2 pi),  point ~ N(g(x, angle), scale^2):  for one x, a closed curve of outcomes."""

import math

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ..networks import RadiiDecoder

__all__ = ["Horn"]


class Horn(nn.Module):
    r"""Outcomes y given x, of which there are as many as there are points of a closed curve.

    .. math:: z \sim U(0, 2 \pi), \qquad y \mid x, z \sim N(g(x, z), s^2 I)

    with z the site ``angle``, y the site ``point``, x the argument ``x``, g the network ``decoder`` and s ``scale``.
    It is a conditional model: x is given and has no energy. Without it, x ~ U(0, 1) is a site like the others.

    Args:
        decoder: x (...) and angle (...) to the point g(x, angle), (..., 2): by default a ``RadiiDecoder``, for which
            the energy is that of an ``Ellipse`` whose radii are w(x); a ``CurveDecoder`` learns any closed curve, such
            as a falling pen's.
        scale: s, a standard deviation, which is not trained.

    Sites, inside the plate ``data`` of N: ``angle`` (N,), ``point`` (N, 2).

    Source: Y. LeCun and A. Canziani, Deep Learning (NYU, 2021), the lectures on latent-variable energy models.

    Example:
        >>> import torch
        >>> Horn(scale=0.05)(x=torch.rand(7)).shape
        torch.Size([7, 2])
    """

    def __init__(self, decoder: nn.Module | None = None, scale: float = 0.05) -> None:
        super().__init__()
        if scale <= 0:
            raise ValueError(f"scale must be a positive standard deviation, got {scale}.")
        self.scale = scale
        self.decoder = RadiiDecoder() if decoder is None else decoder

    def forward(self, x: Tensor | None = None, point: Tensor | None = None) -> Tensor:
        """The program; returns the points, (N, 2)."""
        zero = next(self.decoder.parameters()).new_zeros(())
        given = x if x is not None else point
        with pyro.plate("data", 1 if given is None else len(given)):
            if x is None:
                x = pyro.sample("x", dist.Uniform(zero, 1.0))
            angle = pyro.sample("angle", dist.Uniform(zero, 2 * math.pi))
            return pyro.sample("point", dist.Normal(self.decoder(x, angle), self.scale).to_event(1), obs=point)
