"""Products of matrices and convolutions in bfloat16: factors are rounded to 8 bits, and all the rest is float32."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["BFloat16Products", "has_bfloat16_products"]

aten = torch.ops.aten
PRODUCTS = (aten.mm.default, aten.bmm.default)
PRODUCTS_WITH_SUMMAND = {aten.addmm.default: aten.mm.default, aten.baddbmm.default: aten.bmm.default}
GRADIENT_OF_BIAS = 2
"""Its place among what a convolution's backward pass gives."""


class BFloat16Products(TorchDispatchMode):
    r"""A block in which products of float32 matrices, and convolutions, are taken in bfloat16, in the gradients too.

    Factors are rounded, their products are summed in float32, and the result, a bfloat16 number, is float32 again.
    Weights, their gradients, energies and all sums outside products stay float32, as do biases.

    Example:
        >>> a = torch.full((2, 2), 1 + 2**-12)
        >>> with BFloat16Products():
        ...     b = a @ a
        >>> b.dtype, b[0, 0].item()  # 1 + 2^-12 is 1 in bfloat16
        (torch.float32, 2.0)
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS and _are_single(*args):
            return _product(func, *args)
        if func in PRODUCTS_WITH_SUMMAND and not kwargs and len(args) == 3 and _are_single(*args):
            return args[0] + _product(PRODUCTS_WITH_SUMMAND[func], *args[1:])
        if func is aten.convolution.default and not kwargs and _are_single(*args[:2]):
            return convolution(*args)
        if func is aten.convolution_backward.default and not kwargs and _are_single(*args[:3]):
            return convolution_backward(*args)
        return func(*args, **(kwargs or {}))


def convolution(image: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
    """``aten.convolution`` with rounded factors; the bias is added in float32."""
    result = aten.convolution.default(image.bfloat16(), weight.bfloat16(), None, *how).float()
    return result if bias is None else result + bias.reshape(-1, *(1,) * (weight.dim() - 2))


def convolution_backward(
    gradient: Tensor, image: Tensor, weight: Tensor, bias_sizes: Any, *how: Any
) -> tuple[Tensor | None, ...]:
    """``aten.convolution_backward`` with rounded factors; the gradient of the bias is a sum in float32."""
    *rest, wanted = how
    factors = [factor.bfloat16() for factor in (gradient, image, weight)]
    found = list(aten.convolution_backward.default(*factors, bias_sizes, *rest, [*wanted[:GRADIENT_OF_BIAS], False]))
    if wanted[GRADIENT_OF_BIAS]:
        found[GRADIENT_OF_BIAS] = gradient.sum([0, *range(2, gradient.dim())])
    return tuple(one if one is None else one.float() for one in found)


def has_bfloat16_products(device: torch.device) -> bool:
    """The processor multiplies bfloat16 numbers by itself; others imitate it, and are slower than with float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def _product(func: Any, a: Tensor, b: Tensor) -> Tensor:
    return func(a.bfloat16(), b.bfloat16()).float()


def _are_single(*tensors: Tensor) -> bool:
    return all(tensor.dtype == torch.float32 for tensor in tensors)
