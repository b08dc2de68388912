r"""Points along a spiral:  (r cos 2 pi r, r sin 2 pi r) + noise,  with as many on each stretch of the arm."""

import math

import torch
from torch import Tensor

__all__ = ["spiral"]


def spiral(size: int = 400, turns: float = 2.0, noise: float = 0.05, seed: int = 0) -> Tensor:
    r"""Points (N, 2) of an Archimedean spiral whose neighbouring turns lie at distance 1.

    .. math:: y = r \, (\cos 2 \pi r, \sin 2 \pi r) + \varepsilon, \qquad r = \text{turns} \sqrt{u}, \quad
              u \sim U(0, 1), \quad \varepsilon \sim N(0, \text{noise}^2 I)

    The square root makes them even along the arm, up to its innermost part, as its length grows with r^2.

    Args:
        size: N.
        turns: how often the arm goes around, and its greatest radius.
        noise: the standard deviation across and along the arm.
        seed: of a generator of its own.

    Raises:
        ValueError: if there are no points or no turns, or the noise is negative.

    Example:
        >>> spiral(size=5).shape
        torch.Size([5, 2])
    """
    if size < 1 or turns <= 0 or noise < 0:
        raise ValueError(f"size and turns must be positive and noise not negative, got {size}, {turns} and {noise}.")
    generator = torch.Generator().manual_seed(seed)
    radius = turns * torch.rand(size, generator=generator).sqrt()
    angle = 2 * math.pi * radius
    arm = radius.unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], -1)
    return arm + noise * torch.randn(size, 2, generator=generator)
