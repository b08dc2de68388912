"""Batches from whatever holds the data: a dict of tensors, a dict of streams, a loader."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from .data import BATCH_SIZE, Batch, parts, row_count
from .row_batches import StreamBatches, TensorBatches

__all__ = ["Batches", "LoaderBatches", "as_batches"]


class Batches(Protocol):
    """What the loop asks of its data."""

    generator: torch.Generator | None  # whose state belongs to a checkpoint
    ahead: bool  # whether batches may be made before their time: to make one draws nothing from a global generator

    @property
    def steps(self) -> int | None:
        """Batches in an epoch; None where nobody knows before it is over."""
        ...

    @property
    def total(self) -> int | None:
        """The number of data, where they have one source and it is known."""
        ...

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch, on the device."""
        ...

    def size(self, batch: Batch) -> int:
        """The number of data in a batch."""
        ...

    def samples(self) -> list[Batch]:
        """A batch of every shape that is known to come."""
        ...

    def rows(self, epoch: int, number: int) -> dict[str, Tensor]:
        """By source, the rows of a batch among all data; empty where nobody knows."""
        ...


def as_batches(data: Any, batch_size: Any, seed: int, device: torch.device) -> Batches:
    """The batches of tensors, of streams of tensors, or of a loader.

    Raises:
        TypeError: ``data`` is none of these, or an iterator, which can be read only once.
        ValueError: a tensor is empty, not finite or not as long as the others; a batch size is not positive, or is
            given for a loader.
    """
    if not isinstance(data, Mapping):
        if batch_size != BATCH_SIZE:
            raise ValueError(
                f"batch_size is for tensors, and a loader makes its own batches: leave out {batch_size!r}."
            )
        return LoaderBatches(data, device)
    if data and all(isinstance(part, Mapping) for part in data.values()):
        return StreamBatches(data, batch_size, seed, device)
    return TensorBatches(data, batch_size, seed, device)


class LoaderBatches:
    """Batches that somebody else makes and orders, such as a torch DataLoader whose batches are dicts.

    Args:
        loader: anything that can be iterated again and again. If it has a ``generator``, as a DataLoader may, its
            state is kept in checkpoints.
        device: where batches are wanted; each is moved there.
    """

    def __init__(self, loader: Iterable[Batch], device: torch.device) -> None:
        if not isinstance(loader, Iterable):
            raise TypeError(
                "data must be a dict of tensors, a dict of such dicts, or an iterable of batches such as a DataLoader, "
                f"got {type(loader).__name__}."
            )
        if isinstance(loader, Iterator):
            raise TypeError(
                f"data must be readable once an epoch, but an iterator ({type(loader).__name__}) is spent after the "
                "first: give a list of batches, a DataLoader, or an object whose __iter__ starts anew."
            )
        self.loader, self.device, self.total, self.ahead = loader, device, None, False
        self.generator: torch.Generator | None = getattr(loader, "generator", None)
        self.steps = _length(loader)
        if self.steps == 0:
            raise ValueError("data must have at least one batch, but its length is 0.")

    def epoch(self, number: int) -> Iterator[Batch]:  # noqa: ARG002 - the order is the loader's own
        """The loader's batches, on the device."""
        for batch in self.loader:
            yield self._moved(batch)

    def size(self, batch: Batch) -> int:
        """Rows of the batch, or of its first stream."""
        return row_count(next(iter(parts(batch).values())))

    def samples(self) -> list[Batch]:
        """The first batch."""
        state = None if self.generator is None else self.generator.get_state()
        batch = next(self.epoch(0), None)
        if self.generator is not None and state is not None:
            self.generator.set_state(state)
        if not batch:
            raise ValueError("data must have at least one batch with tensors in it; iterating it gives none.")
        return [batch]

    def rows(self, epoch: int, number: int) -> dict[str, Tensor]:  # noqa: ARG002 - only the loader could tell
        """Nobody knows."""
        return {}

    def _moved(self, batch: Batch) -> Batch:
        if not isinstance(batch, Mapping):
            raise TypeError(
                f"data must give batches that are dicts of tensors named as the model's arguments, got "
                f"{type(batch).__name__}. A DataLoader gives dicts where the items of its dataset are dicts."
            )
        return {
            name: part.to(self.device) if isinstance(part, Tensor) else self._moved(part)
            for name, part in batch.items()
        }


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:
        return None
