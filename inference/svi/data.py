"""What data look like: tensors by argument name, perhaps in several streams, checked once at the start."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["BATCH_SIZE", "Batch", "Unconverted", "check_batch_size", "check_tensors", "parts", "row_count"]

Batch = dict[str, Any]
"""Tensors by argument name; where the data are streams, such a dict for each stream."""


BATCH_SIZE = 256
"""Rows of a batch where nobody says."""


class Unconverted:
    """A batch in a cover under which nobody looks for tensors to convert."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


def parts(batch: Batch) -> dict[str, dict[str, Tensor]]:
    """What the model and guide are called with: the streams of a batch by name, or the batch itself as "data"."""
    streams = all(isinstance(part, Mapping) for part in batch.values())
    return batch if streams else {"data": batch}


def row_count(part: Mapping[str, Tensor]) -> int:
    """The first dimension of the tensors."""
    return len(next(iter(part.values())))


def check_tensors(data: Mapping[str, Any], source: str) -> int:
    """The number of rows N that all tensors have in common.

    Raises:
        TypeError: something is not a tensor.
        ValueError: there are no tensors or no rows, lengths differ, or a value is NaN or infinite.
    """
    if not data:
        raise ValueError(f"{source} is an empty dict: give tensors named as the model's arguments.")
    for name, tensor in data.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{source}[{name!r}] must be a tensor, got {type(tensor).__name__}: convert data with torch.as_tensor; "
                "an argument that is no data is bound to model and guide with functools.partial."
            )
        if tensor.dim() == 0:
            raise ValueError(f"{source}[{name!r}] must have data along its first dimension, got a scalar tensor.")
    first, rows = next(iter(data)), row_count(data)
    for name, tensor in data.items():
        if len(tensor) != rows:
            raise ValueError(
                f"{source} must have tensors with a common first dimension, but {first!r} has {rows} rows and "
                f"{name!r} has {len(tensor)}."
            )
    if rows == 0:
        raise ValueError(f"{source} must not be empty, but its tensors have 0 rows.")
    for name, tensor in data.items():
        _check_finite(tensor, f"{source}[{name!r}]")
    return rows


def check_batch_size(batch_size: Any) -> int | None:
    """The batch size, a positive integer, or None for all rows at every step.

    Raises:
        TypeError: it is no integer.
        ValueError: it is less than 1.
    """
    if batch_size is None:
        return None
    if isinstance(batch_size, bool) or not isinstance(batch_size, int):
        raise TypeError(f"batch_size must be a positive integer, or None for all data at once, got {batch_size!r}.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, or None for all data at once, got {batch_size}.")
    return batch_size


def _check_finite(tensor: Tensor, name: str) -> None:
    finite = torch.isfinite(tensor)
    if not finite.all():
        bad = (~finite).reshape(len(tensor), -1).any(1).nonzero().flatten()
        raise ValueError(
            f"{name} must be finite, but {len(bad)} of its {len(tensor)} rows are not; the first is row {int(bad[0])}. "
            "Remove or impute them."
        )
