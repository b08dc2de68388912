"""Products of matrices as torch's library has them, to be called from C with no Python in between."""

import ctypes
import functools
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .replay_driver import add_product

__all__ = ["NativeCall", "native_product"]

aten = torch.ops.aten
PRODUCTS = {
    aten.mm.out: "aoti_torch_cpu_mm_out",
    aten.bmm.out: "aoti_torch_cpu_bmm_out",
    aten.addmm.out: "aoti_torch_cpu_addmm_out",
}
"""Operations that write to a tensor they are given, and their names in torch's library."""


class NativeCall(NamedTuple):
    """The address of a function and those of its arguments.

    Attributes:
        owner: has to live as long as the call is made.
    """

    address: int
    arguments: list[int]
    owner: Any


def native_product(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NativeCall | None:
    """The call that does what such an operation does with these arguments; None where it is another operation.

    Of ``addmm`` only the plain sum is one: with factors there are more arguments than addresses.
    """
    factors = {kwargs.get(name, 1) for name in ("alpha", "beta")}
    tensors = [kwargs.get("out"), *args]
    if func not in PRODUCTS or factors != {1} or not all(isinstance(tensor, Tensor) for tensor in tensors):
        return None
    function = _address(PRODUCTS[func])
    if function is None:
        return None

    owners, handles = zip(*(_handle(tensor) for tensor in tensors), strict=True)
    if func is aten.addmm.out:
        return NativeCall(add_product(), [function, *handles], owners)
    return NativeCall(function, list(handles), owners)


@functools.cache
def _address(name: str) -> int | None:
    """Of a function of torch's library; None where a version or a system has it not."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    except (AttributeError, OSError):
        return None


def _handle(tensor: Tensor) -> tuple[Any, int]:
    """A reference to a tensor that C code can use, and its address. It is never given back, as a replay never is."""
    inner: Any = torch._C
    (capsule,) = inner._aoti.unsafe_alloc_void_ptrs_from_tensors([tensor])
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return (capsule, tensor), get(capsule, None)
