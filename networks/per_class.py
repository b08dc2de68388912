r"""A linear map per class:  y = W_c x + b_c,  where the class c may be enumerated, sampled or observed."""

import math

import torch
from torch import Tensor, nn

__all__ = ["ClassLinear"]


class ClassLinear(nn.Module):
    r"""One affine map for each class: the output for input x and class c is ``weight[c] @ x + bias[c]``.

    A network that all classes share can ignore the class, and in a semi-supervised VAE it does; one that
    has weights for each class cannot.

    Args:
        classes: the number of classes K.
        inputs: the size of x.
        outputs: the size of y.

    Shapes: ``x`` (..., inputs), ``category`` (...) int64 in 0..K-1, the two broadcast; the result is
    (..., outputs). Weights are drawn as those of :class:`torch.nn.Linear`: uniform on +-1/sqrt(inputs).

    Example:
        >>> layer = ClassLinear(classes=3, inputs=4, outputs=2)
        >>> layer(torch.zeros(5, 4), torch.tensor([0, 2, 1, 0, 0])).shape
        torch.Size([5, 2])
        >>> layer(torch.zeros(5, 4), torch.arange(3)[:, None]).shape  # every class for every row
        torch.Size([3, 5, 2])
    """

    def __init__(self, classes: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.classes = classes
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(classes, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(classes, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor, category: Tensor) -> Tensor:
        """The affine map of each element's class, (..., outputs)."""
        rows = math.prod(torch.broadcast_shapes(x.shape[:-1], category.shape))
        if category.dim() > 0 and category.shape[-1] == 1 and category.numel() * self.classes <= rows:
            return self._few_categories(x, category)
        return self._many_categories(x, category)

    def _few_categories(self, x: Tensor, category: Tensor) -> Tensor:
        # Each weight serves many rows (an enumerated class of shape (K, 1)): gather it, one product a class.
        category = category.squeeze(-1)
        return x @ self.weight[category].mT + self.bias[category].unsqueeze(-2)

    def _many_categories(self, x: Tensor, category: Tensor) -> Tensor:
        # A weight gathered for each row would be (rows, outputs, inputs): instead x is put into its class's block
        # of a vector of K * inputs, so that one ordinary product serves all rows.
        chosen = (category.unsqueeze(-1) == torch.arange(self.classes, device=category.device)).to(x.dtype)
        blocks = (chosen.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2)
        return blocks @ self.weight.transpose(1, 2).flatten(0, 1) + chosen @ self.bias
