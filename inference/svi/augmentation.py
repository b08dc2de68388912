"""Data augmentation: each step sees copies of its batch that are changed anew."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from .data import Batch
from .objective import Numbers, Objective

__all__ = ["Augment", "augmented"]

Augment = Callable[..., Mapping[str, Tensor]]
"""From the entries of a batch, as keyword arguments, to those that it changes."""


def augmented(objective: Objective, augment: Augment | None) -> Objective:
    """The objective of a batch in whose place ``augment`` puts a changed copy, the same for model and guide.

    Raises:
        ValueError: by the loss, if the data are streams, or ``augment`` gives what is no entry or has another shape.
    """
    if augment is None:
        return objective
    return dataclasses.replace(objective, loss=functools.partial(_of_changed, objective.loss, augment))


def _of_changed(
    loss: Callable[..., Tensor], augment: Augment, model: Callable, guide: Callable, batch: Batch, numbers: Numbers
) -> Tensor:
    if any(isinstance(part, Mapping) for part in batch.values()):
        raise ValueError(
            f"augment takes the entries of one batch, and the data are the streams {sorted(batch)}: give it to the "
            f"objective, as SemiSupervised(augment=...)."
        )
    changed = dict(augment(**batch))
    for name, value in changed.items():
        _check(name, value, batch)
    return loss(model, guide, {**batch, **changed}, numbers)


def _check(name: str, value: Any, batch: Batch) -> None:
    if name not in batch:
        raise ValueError(f"augment must give entries of the batch, which are {sorted(batch)}, got {name!r}.")
    before: Any = batch[name]
    if not isinstance(value, Tensor) or value.shape != before.shape:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"augment must leave {name!r} a tensor of shape {tuple(before.shape)}, got {got}.")
