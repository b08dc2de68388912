"""The value, slope and curvature of a function of inverse temperatures, by forward differentiation."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp

__all__ = ["value_slope_curvature"]


def value_slope_curvature(
    function: Callable[[Tensor], tuple[Tensor, ...]], betas: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
    """f, df/d beta and d2f/d beta2 of a function of tensors (B,) that treats each beta by itself, or of a beta ().

    Example:
        >>> value_slope_curvature(lambda beta: (beta**3,), torch.tensor([1.0, 2.0]))
        ((tensor([1., 8.]),), (tensor([ 3., 12.]),), (tensor([ 6., 12.]),))
    """
    one = torch.ones_like(betas)

    def with_slope(beta: Tensor) -> Any:
        return jvp(function, (beta,), (one,))

    with warnings.catch_warnings():
        # The first forward derivative of a process makes torch import a file of its own that torch has deprecated.
        warnings.filterwarnings("ignore", ".*torch.jit.script")  # the category depends on the version
        first, second = jvp(with_slope, (betas,), (one,))  # pyright: ignore[reportAssignmentType]
    return first[0], first[1], second[1]
