"""Each process's share of every batch: neighbouring rows of the batch that a single process would see."""

import zlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .batches import Batches, LoaderBatches
from .compiled.signature import signature
from .data import Batch, parts, row_count
from .processes import Processes

__all__ = ["Share", "SharedBatches", "share"]


class Share(dict[str, Any]):
    """The rows of a batch that one process works on, perhaps none.

    Attributes:
        whole: rows of the whole batch, or of its leading stream.
        fraction: the part of them that this is.
        kind: names, shapes and types of the whole batch, the same in all processes.
    """

    def __init__(self, batch: Batch, whole: int, fraction: float, kind: str) -> None:
        super().__init__(batch)
        self.whole, self.fraction, self.kind = whole, fraction, kind


def share(batch: Batch, rank: int, count: int, whole: int | None = None) -> Share:
    """The share of the process ``rank`` of ``count`` in a batch: each row in one share, sizes differing by at most 1.

    Streams must be shared equally, as an objective may weigh one by the size of another.

    Args:
        batch: the whole batch.
        rank: the number of the process.
        count: how many there are.
        whole: rows of the whole batch, by default those of its first stream.

    Raises:
        ValueError: the rows of one of several streams cannot be shared equally.

    Example:
        >>> [share({"x": torch.arange(5)}, rank, 3)["x"].tolist() for rank in range(3)]
        [[0, 1], [2, 3], [4]]
    """
    sources = parts(batch)
    for source, part in sources.items():
        if len(sources) > 1 and row_count(part) % count:
            raise ValueError(
                f"data[{source!r}] has {row_count(part)} rows in a batch, and {count} processes cannot share them "
                f"equally, as streams must be: choose a multiple of {count} that is no more than there are rows."
            )
    slices = {source: _rows_of(row_count(part), rank, count) for source, part in sources.items()}
    first = next(iter(sources))
    fraction = (slices[first].stop - slices[first].start) / row_count(sources[first])
    shares = {
        source: {name: tensor[slices[source]] for name, tensor in part.items()} for source, part in sources.items()
    }
    own = shares if sources is batch else shares["data"]
    return Share(own, whole or row_count(sources[first]), fraction, signature(batch))


class SharedBatches:
    """The batches of a single process, of each of which this process gets its share.

    Args:
        batches: those of a single process.
        processes: who shares.

    Raises:
        ValueError: a full batch has fewer rows than there are processes, or cannot be shared.
    """

    def __init__(self, batches: Batches, processes: Processes) -> None:
        self.batches, self.processes = batches, processes
        self.generator, self.steps, self.total = batches.generator, batches.steps, batches.total
        self.ahead = batches.ahead
        full = batches.samples()[0]
        self._share(full)
        if batches.size(full) < processes.count:
            raise ValueError(
                f"a batch must have a row for each process, but it has {batches.size(full)} for {processes.count} "
                "processes: choose a larger batch size, or start fewer."
            )

    def epoch(self, number: int) -> Iterator[Batch]:
        """The shares of an epoch's batches; a share of a last batch may be empty."""
        whole = self.batches.epoch(number)
        if isinstance(self.batches, LoaderBatches):
            whole = _agreed(whole, self.processes)
        for batch in whole:
            yield self._share(batch)

    def size(self, batch: Batch) -> int:
        """Rows of the whole batch."""
        return batch.whole if isinstance(batch, Share) else self.batches.size(batch)

    def samples(self) -> list[Batch]:
        """A whole batch of every shape that is known to come."""
        return self.batches.samples()

    def rows(self, epoch: int, number: int) -> dict[str, Tensor]:
        """By source, the rows of this process's share of a batch among all data; empty where nobody knows."""
        whole = self.batches.rows(epoch, number)
        rank, count = self.processes.rank, self.processes.count
        return {source: rows[_rows_of(len(rows), rank, count)] for source, rows in whole.items()}

    def _share(self, batch: Batch) -> Share:
        return share(batch, self.processes.rank, self.processes.count, self.batches.size(batch))


def _rows_of(rows: int, rank: int, count: int) -> slice:
    small, larger = divmod(rows, count)
    start = rank * small + min(rank, larger)
    return slice(start, start + small + (rank < larger))


def _agreed(batches: Iterator[Batch], processes: Processes) -> Iterator[Batch]:
    """The batches of a loader, as long as they are the same in every process."""
    while True:
        batch, error = None, None
        try:
            batch = next(batches, None)
        except BaseException as raised:  # or the others would wait for ever
            error = raised
        processes.total(0.0, error)
        marks = processes.gathered_numbers(*_mark(batch))
        if (marks != marks[0]).any():
            raise ValueError(
                f"data must give the same batches in the same order in each of the {processes.count} processes, which "
                "take their shares of each, but the batches differ: pass the same loader in all, without a "
                "DistributedSampler, and shuffle by a generator of its own, "
                "DataLoader(..., shuffle=True, generator=torch.Generator().manual_seed(0))."
            )
        if batch is None:
            return
        yield batch


def _mark(batch: Batch | None) -> tuple[float, float]:
    """Something by which a batch is known: its rows, and a checksum of the first and the last."""
    if batch is None:
        return -1.0, 0.0
    rows, checksum = 0, 0
    for part in parts(batch).values():
        rows += row_count(part)
        for tensor in part.values():
            ends = tensor[[0, -1]].detach().cpu().contiguous().flatten().view(torch.uint8)
            checksum = zlib.crc32(ends.numpy().data, checksum)
    return float(rows), float(checksum)
