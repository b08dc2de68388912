r"""Ellipse:  angle ~ U(0, 2 pi),  point ~ N((w_1 cos angle, w_2 sin angle), scale^2):  its energy is a distance."""

import math
from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

__all__ = ["Ellipse"]


class Ellipse(nn.Module):
    r"""The lecture's latent-variable energy: how far a point is from the point of an ellipse at a latent angle.

    .. math:: z \sim U(0, 2 \pi), \qquad y \mid z \sim N(g(z), s^2 I), \qquad g(z) = (w_1 \cos z, w_2 \sin z)

    with z the site ``angle``, y the site ``point``, w the parameter ``radii`` and s ``scale``, a standard deviation
    that is not trained. The energy is an affine function of the squared distance,

    .. math:: E(y, z) = -\log p(y, z) = \frac{|y - g(z)|^2}{2 s^2} + 2 \log s + \log 2 \pi + \log 2 \pi

    so that at the default, s = sqrt(1/2), it is the squared distance itself plus log(pi) + log(2 pi). In general
    ``squared_distance`` takes energies back, and free energies too: of the squared distance at inverse temperature b,
    by the uniform measure on the circle, F_b is ``squared_distance`` of the program's F_beta (base ``"uniform"``) at
    beta = 2 s^2 b. What makes F_1 a likelihood is the noise: where the points scatter around the ellipse with standard
    deviation s, beta = 1 is the right temperature, and b = 1 / (2 s^2).

    Args:
        radii: the initial w.
        scale: s.

    Sites, inside the plate ``data`` of N: ``angle`` (N,), ``point`` (N, 2).

    Source: Y. LeCun and A. Canziani, Deep Learning (NYU, 2021), the lectures on latent-variable energy models.

    Example:
        >>> from pyrometer import EnergyView
        >>> model, y = Ellipse(radii=(2.0, 1.5)), torch.tensor([[3.0, 0.0], [0.0, 0.0]])
        >>> lowest = EnergyView(model).bind(y).zero_temperature().per_datum
        >>> [round(value, 4) for value in model.squared_distance(lowest).tolist()]
        [1.0, 2.25]
    """

    def __init__(self, radii: Sequence[float] = (1.0, 1.0), scale: float = math.sqrt(0.5)) -> None:
        super().__init__()
        if scale <= 0:
            raise ValueError(f"scale must be a positive standard deviation, got {scale}.")
        self.scale = scale
        self.radii = nn.Parameter(torch.tensor(tuple(radii)))
        if self.radii.shape != (2,):
            raise ValueError(f"radii must be two numbers, got {tuple(radii)}.")

    def curve(self, angle: Tensor) -> Tensor:
        """g(angle), (...) to (..., 2)."""
        return self.radii * torch.stack([angle.cos(), angle.sin()], -1)

    def forward(self, point: Tensor | None = None) -> Tensor:
        """The program; returns the points, (N, 2)."""
        with pyro.plate("data", 1 if point is None else len(point)):
            angle = pyro.sample("angle", dist.Uniform(self.radii.new_zeros(()), 2 * math.pi))
            return pyro.sample("point", dist.Normal(self.curve(angle), self.scale).to_event(1), obs=point)

    def squared_distance(self, energy: Tensor) -> Tensor:
        r"""Squared distances of energies of one datum each, of the program: 2 s^2 (E - 2 log s - 2 log 2 pi)."""
        return 2 * self.scale**2 * (energy - 2 * math.log(self.scale) - 2 * math.log(2 * math.pi))
