"""Several inputs of one network side by side, whichever of them have draws or enumerated values to their left."""

import torch
from torch import Tensor

__all__ = ["joined"]


def joined(*parts: Tensor) -> Tensor:
    """Concatenates the last dimensions, with all others broadcast.

    Shapes: (..., D_1), (..., D_2), ... to (..., D_1 + D_2 + ...).

    Example:
        >>> joined(torch.zeros(5, 3), torch.ones(7, 5, 2)).shape  # seven draws beside what all of them share
        torch.Size([7, 5, 5])
    """
    shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*shape, part.shape[-1]) for part in parts], -1)
