r"""Decoders of a latent angle:  x, angle -> a point of a closed curve in the plane."""

import torch
from torch import Tensor, nn

from .mlp import mlp

__all__ = ["CurveDecoder", "RadiiDecoder"]


class RadiiDecoder(nn.Module):
    r"""An ellipse whose radii a network reads off x:  g(x, z) = (w_1(x) cos z, w_2(x) sin z),  log w = network(x).

    Args:
        hidden: the width of the network's one hidden layer.

    Shapes: x (...) and angle (...), broadcast together, to (..., 2).

    Example:
        >>> RadiiDecoder()(torch.rand(5), torch.zeros(7, 5)).shape
        torch.Size([7, 5, 2])
    """

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.log_radii = mlp(1, hidden, 2)

    def radii(self, x: Tensor) -> Tensor:
        """w(x), (...) to (..., 2)."""
        return self.log_radii(x.unsqueeze(-1)).exp()

    def forward(self, x: Tensor, angle: Tensor) -> Tensor:
        """g(x, angle)."""
        return self.radii(x) * torch.stack([angle.cos(), angle.sin()], -1)


class CurveDecoder(nn.Module):
    r"""Any smooth closed curve:  g(x, z) = network(x, cos z, sin z, ..., cos Kz, sin Kz).

    The number of harmonics K is how much the latent can say: with one, the network bends a circle; with many, the curve
    can pass through any points whatever, in any order.

    Args:
        hidden: the width of the network's two hidden layers.
        harmonics: K.

    Shapes: as ``RadiiDecoder``.

    Example:
        >>> CurveDecoder(harmonics=3)(torch.rand(5), torch.zeros(7, 5)).shape
        torch.Size([7, 5, 2])
    """

    def __init__(self, hidden: int = 32, harmonics: int = 1) -> None:
        super().__init__()
        if harmonics < 1:
            raise ValueError(f"harmonics must be at least 1, got {harmonics}.")
        self.harmonics = harmonics
        self.network = mlp(1 + 2 * harmonics, hidden, hidden, 2)

    def forward(self, x: Tensor, angle: Tensor) -> Tensor:
        """g(x, angle)."""
        x, angle = torch.broadcast_tensors(x, angle)
        turns = angle.unsqueeze(-1) * torch.arange(1, self.harmonics + 1, dtype=angle.dtype, device=angle.device)
        return self.network(torch.cat([x.unsqueeze(-1), turns.cos(), turns.sin()], -1))
