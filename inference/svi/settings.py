"""What a run is made of, as plain JSON: enough to notice that another run is asked for."""

import dataclasses
import functools
import importlib.metadata
import platform
import types
import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["describe", "differences", "versions"]


def describe(value: Any) -> Any:
    """An argument as names and numbers, the same in every process: a tensor by type, shape and checksum, a function or
    a module by its name, any other object by what it shows of itself, or its name and plain attributes.

    Example:
        >>> describe(functools.partial(torch.optim.Adam, lr=0.01))
        {'name': 'Adam', 'args': [], 'lr': 0.01}
        >>> describe(torch.zeros(3, 2))
        'float32 (3, 2) crc32 a3c1ca20'
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)} crc32 {_checksum(value):08x}"
    if isinstance(value, Mapping):
        return {str(key): describe(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [describe(part) for part in value]
    if isinstance(value, functools.partial):
        return {"name": describe(value.func), "args": describe(value.args), **describe(value.keywords)}
    if isinstance(value, type | types.FunctionType | types.MethodType | types.BuiltinFunctionType):
        return value.__qualname__
    name = type(value).__qualname__
    if isinstance(value, nn.Module):
        return name
    text = repr(value)
    return {"name": name, **_attributes(value)} if dataclasses.is_dataclass(value) or " at 0x" in text else text


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """Where two descriptions differ, as lines "name: old -> new".

    Example:
        >>> differences({"seed": 1, "data": {"y": "a"}}, {"seed": 1, "data": {"y": "b"}})
        ["data.y: 'a' -> 'b'"]
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        prefix = f"{name}." if name else ""
        return [line for key in {**old, **new} for line in differences(old.get(key), new.get(key), f"{prefix}{key}")]
    return [] if old == new else [f"{name}: {old!r} -> {new!r}"]


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    packages = ("pyrometer", "torch", "pyro-ppl", "lightning", "numpy")
    return {**{name: importlib.metadata.version(name) for name in packages}, "python": platform.python_version()}


def _attributes(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value):
        compared = [field.name for field in dataclasses.fields(value) if field.compare]  # others remember what was done
        return {name: describe(getattr(value, name)) for name in compared}
    # Pyro's ELBOs find max_plate_nesting out when they are used.
    return {
        key: part
        for key, part in getattr(value, "__dict__", {}).items()
        if isinstance(part, bool | int | float | str) and not key.startswith("_") and key != "max_plate_nesting"
    }


def _checksum(tensor: Tensor) -> int:
    return zlib.crc32(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
