"""A batch as a flat list of tensors and a structure to put them back into, which is also the key of its graph."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..data import Batch

__all__ = ["rebuilt", "signature", "tensors_of"]


def tensors_of(batch: Batch) -> list[Tensor]:
    """The tensors of a batch or of its streams, in order.

    Example:
        >>> import torch
        >>> [len(tensor) for tensor in tensors_of({"a": {"x": torch.ones(3)}, "b": {"x": torch.ones(2)}})]
        [3, 2]
    """
    return [value for value in _values(batch) if isinstance(value, Tensor)]


def rebuilt(batch: Batch, tensors: Sequence[Tensor]) -> Batch:
    """The batch with other tensors in the places of its own."""
    rest = iter(tensors)

    def place(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: place(part) for name, part in value.items()}
        return next(rest) if isinstance(value, Tensor) else value

    return place(batch)


def signature(batch: Batch) -> str:
    """All that a graph takes for granted of a batch: names, shapes, strides, types, devices; other values as they are.

    A batch of one row in a graph of two would be broadcast, and give a wrong loss without an error.

    Example:
        >>> import torch
        >>> signature({"y": torch.ones(3, 2), "flag": True})
        'y: torch.float32 (3, 2) (2, 1) cpu, flag: True'
    """
    return ", ".join(f"{name}: {_key(value)}" for name, value in batch.items())


def _key(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{signature(dict(value))}}}"
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)} {value.stride()} {value.device}"
    return repr(value)


def _values(batch: Mapping[str, Any]) -> Iterator[Any]:
    for value in batch.values():
        if isinstance(value, Mapping):
            yield from _values(value)
        else:
            yield value
