"""Batches of rows of tensors, gathered on the device in an order that the seed and the epoch decide."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .data import Batch, check_batch_size, check_tensors, row_count

__all__ = ["Stream", "StreamBatches", "TensorBatches", "permutation"]


def permutation(rows: int, seed: int, stream: str, number: int) -> Tensor:
    """A permutation of 0..N-1 that depends on nothing but the arguments: no global random state, no device."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{number}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big", signed=True))
    return torch.randperm(rows, generator=generator, device="cpu")


class TensorBatches:
    """Each row once an epoch in a new order; the last batch is smaller where the batch size does not divide N.

    Args:
        data: tensors with a common first dimension N.
        batch_size: rows of a batch B; None: every step is an epoch, on all rows in the order given.
        seed: with the number of the epoch it decides the order.
        device: where batches are wanted; the data are moved there once.
    """

    generator: torch.Generator | None = None
    ahead = True

    def __init__(self, data: Mapping[str, Tensor], batch_size: Any, seed: int, device: torch.device) -> None:
        self.total: int = check_tensors(data, "data")
        self.batch_size = check_batch_size(batch_size)
        self.data = {name: tensor.to(device) for name, tensor in data.items()}
        self.seed, self.device = seed, device
        self.steps = 1 if self.batch_size is None else math.ceil(self.total / self.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        if self.batch_size is None:
            yield self.data  # the same object every time, by which equal steps are told
            return
        order = permutation(self.total, self.seed, "", number).to(self.device)
        for rows in order.split(self.batch_size):
            yield {name: tensor.index_select(0, rows) for name, tensor in self.data.items()}

    def size(self, batch: Batch) -> int:
        """Rows of the batch."""
        return row_count(batch)

    def samples(self) -> list[Batch]:
        """A full batch and, where there is one, a last and smaller one."""
        full = min(self.batch_size or self.total, self.total)
        sizes = [full, self.total % full] if self.total % full else [full]
        return [{name: tensor[:size] for name, tensor in self.data.items()} for size in sizes]

    def rows(self, epoch: int, number: int) -> dict[str, Tensor]:
        """Which rows of the data the batch of this number is, both numbers from 0."""
        if self.batch_size is None:
            return {"data": torch.arange(self.total, device="cpu")}
        return {"data": permutation(self.total, self.seed, "", epoch).split(self.batch_size)[number]}


@dataclass(frozen=True)
class Stream:
    """Rows of tensors in an endless sequence of permutations, cut into batches of one size.

    Attributes:
        name: decides the order, together with the seed.
        data: tensors with a common first dimension N.
        total: N.
        batch_size: rows of a batch, at most N; None: all rows in the order given.
        seed: see ``name``.
    """

    name: str
    data: dict[str, Tensor]
    total: int
    batch_size: int | None
    seed: int

    @property
    def steps(self) -> int:
        """Batches in which each row comes up."""
        return 1 if self.batch_size is None else math.ceil(self.total / self.batch_size)

    def order(self, start: int, steps: int) -> Tensor:
        """Rows of the batches with the numbers ``start`` to ``start + steps - 1`` of the training, (steps, B)."""
        if self.batch_size is None:
            return torch.arange(self.total, device="cpu").expand(steps, -1)
        first, last = start * self.batch_size, (start + steps) * self.batch_size
        rounds = range(first // self.total, math.ceil(last / self.total))
        rows = torch.cat([permutation(self.total, self.seed, self.name, number) for number in rounds])
        return rows[first - rounds[0] * self.total :][: last - first].reshape(steps, self.batch_size)

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        """The tensors of these rows."""
        if self.batch_size is None:
            return dict(self.data)
        return {name: tensor.index_select(0, rows) for name, tensor in self.data.items()}


class StreamBatches:
    """Several streams side by side: a batch of each at every step, and every batch full.

    An epoch is one pass over the *leading* stream, the one with the most batches (among equals the first); the others
    go round and round. Where a batch size does not divide the size of its stream, a batch at the end of one pass takes
    its last rows from the next: shapes stay constant, and in the long run all rows come up equally often. A batch
    size beyond the size of a stream is cut to it.

    Args:
        data: for each stream, tensors with a common first dimension.
        batch_size: rows of a batch for all streams, or for each by name; None: all rows of the stream at every step.
        seed: with the number of the epoch it decides the order.
        device: where batches are wanted; the data are moved there once.
    """

    generator: torch.Generator | None = None
    total: int | None = None
    ahead = True

    def __init__(self, data: Mapping[str, Any], batch_size: Any, seed: int, device: torch.device) -> None:
        sizes = dict(batch_size) if isinstance(batch_size, Mapping) else dict.fromkeys(data, batch_size)
        if set(sizes) != set(data):
            raise ValueError(f"batch_size must name the streams {sorted(data)} and no others, got {sorted(sizes)}.")
        self.streams: list[Stream] = []
        for name, tensors in data.items():
            total, size = check_tensors(tensors, f"data[{name!r}]"), check_batch_size(sizes[name])
            moved = {key: tensor.to(device) for key, tensor in tensors.items()}
            self.streams.append(Stream(name, moved, total, None if size is None else min(size, total), seed))
        self.leading = max(self.streams, key=lambda stream: stream.steps)
        self.steps, self.device = self.leading.steps, device

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch: tensors for each stream."""
        orders = [order.to(self.device) for order in self._orders(number)]
        for rows in zip(*orders, strict=True):
            yield {stream.name: stream.batch(row) for stream, row in zip(self.streams, rows, strict=True)}

    def size(self, batch: Batch) -> int:
        """Rows of the leading stream."""
        return row_count(batch[self.leading.name])

    def samples(self) -> list[Batch]:
        """One batch; they all have its shape."""
        return [
            {
                stream.name: {name: tensor[: stream.batch_size] for name, tensor in stream.data.items()}
                for stream in self.streams
            }
        ]

    def rows(self, epoch: int, number: int) -> dict[str, Tensor]:
        """For each stream, which of its rows the batch of this number has, both numbers from 0."""
        return {stream.name: order[number] for stream, order in zip(self.streams, self._orders(epoch), strict=True)}

    def _orders(self, epoch: int) -> list[Tensor]:
        return [stream.order(epoch * self.steps, self.steps) for stream in self.streams]
