"""Matrix products in bfloat16: what goes into a product is rounded to 8 bits, sums and everything else are float32."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["BFloat16Products", "has_bfloat16_products"]

aten = torch.ops.aten
PRODUCTS = (aten.mm.default, aten.bmm.default)
PRODUCTS_WITH_SUMMAND = {aten.addmm.default: aten.mm.default, aten.baddbmm.default: aten.bmm.default}


class BFloat16Products(TorchDispatchMode):
    r"""A block in which products of float32 matrices are taken in bfloat16, in the gradients too.

    Factors are rounded, their products are summed in float32, and the result, a bfloat16 number, is float32 again.
    Weights, their gradients, energies and all sums outside products stay float32. Convolutions are left as they are.

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
        return func(*args, **(kwargs or {}))


def has_bfloat16_products(device: torch.device) -> bool:
    """The processor multiplies bfloat16 numbers by itself; others imitate it, and are slower than with float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def _product(func: Any, a: Tensor, b: Tensor) -> Tensor:
    return func(a.bfloat16(), b.bfloat16()).float()


def _are_single(*tensors: Tensor) -> bool:
    return all(tensor.dtype == torch.float32 for tensor in tensors)
