r"""The lecture's curves in the plane: the horn, its first section, an ellipse, and where a falling pen comes to lie."""

import math

import torch
from torch import Tensor

__all__ = ["ellipse", "horn", "horn_radii", "pen"]

NOISE = 1 / 20
"""The standard deviation of what is added to each coordinate."""
WIDE, NARROW = 2.0, 1.5
"""b and a: the radii of the horn at x = 0, along the first axis and the second."""


def horn(count: int = 1000, seed: int = 0, noise: float = NOISE) -> dict[str, Tensor]:
    r"""Points of a horn, whose section at x is an ellipse with radii rho(x).

    .. math::

        x &\sim U(0, 1), \quad \theta \sim U(0, 2 \pi), \quad
        y = (\rho_1(x) \cos \theta, \rho_2(x) \sin \theta) + N(0, s^2) \\
        \rho(x) &= \big(a x + b (1 - x), \; b x + a (1 - x)\big) \, e^{2x}, \qquad a = 1.5, \; b = 2

    Args:
        count: N.
        seed: of the draws: the same seed gives the same points.
        noise: s, a standard deviation; 0 gives points of the manifold itself.

    Returns:
        ``x`` (N,) and ``point`` (N, 2), which is y.

    Source: Y. LeCun and A. Canziani, Deep Learning (NYU, 2021), the lectures on latent-variable energy models.

    Example:
        >>> {name: tuple(value.shape) for name, value in horn(count=5).items()}
        {'x': (5,), 'point': (5, 2)}
    """
    generator = _generator(count, noise, seed)
    x = torch.rand(count, generator=generator)
    return {"x": x, "point": _around(horn_radii(x), noise, generator)}


def horn_radii(x: Tensor) -> Tensor:
    """rho(x), the radii of the horn's section: (...) to (..., 2).

    Example:
        >>> horn_radii(torch.tensor(0.0))
        tensor([2.0000, 1.5000])
    """
    radii = torch.stack([NARROW * x + WIDE * (1 - x), WIDE * x + NARROW * (1 - x)], -1)
    return radii * (2 * x).exp().unsqueeze(-1)


def ellipse(count: int = 24, seed: int = 0, noise: float = NOISE) -> dict[str, Tensor]:
    """Points of the horn's section at x = 0, the ellipse (2 cos, 1.5 sin), at uniform angles: ``point`` (N, 2).

    Example:
        >>> ellipse()["point"].shape
        torch.Size([24, 2])
    """
    generator = _generator(count, noise, seed)
    return {"point": _around(horn_radii(torch.zeros(count)), noise, generator)}


def pen(count: int = 1000, seed: int = 0, noise: float = NOISE) -> dict[str, Tensor]:
    """Where the tip of a pen comes to lie that stood upright and was let go: one x, and a circle of outcomes.

    Every ``x`` (N,) is 0; ``point`` (N, 2) is a uniform direction, one length of the pen away, and noise.

    Example:
        >>> pen(count=4)["x"]
        tensor([0., 0., 0., 0.])
    """
    generator = _generator(count, noise, seed)
    return {"x": torch.zeros(count), "point": _around(torch.ones(count, 2), noise, generator)}


def _around(radii: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """A point of each ellipse (N, 2) at a uniform angle, with noise."""
    angle = 2 * math.pi * torch.rand(len(radii), generator=generator)
    return radii * torch.stack([angle.cos(), angle.sin()], -1) + noise * torch.randn(radii.shape, generator=generator)


def _generator(count: int, noise: float, seed: int) -> torch.Generator:
    if count < 1 or noise < 0:
        raise ValueError(f"count must be positive and noise not negative, got {count} and {noise}.")
    return torch.Generator().manual_seed(seed)
