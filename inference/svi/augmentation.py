"""Data augmentation: each step sees a copy of its batch that is changed anew."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from .data import Batch

__all__ = ["Augment", "changed"]

Augment = Callable[..., Mapping[str, Tensor]]
"""From the entries of a batch, as keyword arguments, to those that it changes."""


def changed(batch: Batch, augment: Augment | None) -> Batch:
    """The batch, or each of its streams, with what ``augment`` gives in the place of its own.

    Raises:
        ValueError: if ``augment`` gives what is no entry or has another shape.
    """
    if augment is None:
        return batch
    if all(isinstance(part, Mapping) for part in batch.values()):
        return {name: changed(stream, augment) for name, stream in batch.items()}
    copies = dict(augment(**batch))
    for name, value in copies.items():
        _check(name, value, batch)
    return {**batch, **copies}


def _check(name: str, value: Any, batch: Batch) -> None:
    if name not in batch:
        raise ValueError(f"augment must give entries of the batch, which are {sorted(batch)}, got {name!r}.")
    before: Any = batch[name]
    if not isinstance(value, Tensor) or value.shape != before.shape:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"augment must leave {name!r} a tensor of shape {tuple(before.shape)}, got {got}.")
