"""How the gradients of processes meet: in memory that those of one machine share, or in one sum over the network."""

import mmap
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from .processes import Processes

__all__ = ["Exchange", "SharedMemory", "SummedBuffer", "make_exchange"]

SHARED = Path("/dev/shm")
"""Where files are memory."""
MOST = 8
"""Processes that read each other's gradients; of more, a sum over the network moves less."""
ALIGNED = 64
"""Bytes: a line of the cache."""


class Exchange(Protocol):
    """Where each process leaves its gradients, tensor by tensor, and finds those of all.

    Attributes:
        shapes: of the tensors, as all processes have them.
        own: where the gradients of this process go before :meth:`total`.
        parts: what is to be added up after it, in this order: a list of tensors or several.
    """

    shapes: list[torch.Size]

    @property
    def own(self) -> list[Tensor]: ...  # noqa: D102

    @property
    def parts(self) -> list[list[Tensor]]: ...  # noqa: D102

    def total(self, value: float, error: BaseException | None = None) -> float:
        """Meet the others: the sum of the values of all; where one has failed, its error in every process."""
        ...


class SharedMemory:
    """Every process writes to its place in common memory, tells its loss, and reads the gradients of the others there.

    There are two such places for each, taken in turn: who is ahead by a step writes where nobody reads any more, as all
    have met in between.

    Args:
        processes: who meets.
        shapes: of the gradients.
        dtype: their type.
        memory: common to all, of :meth:`size` bytes.
    """

    def __init__(self, processes: Processes, shapes: list[torch.Size], dtype: torch.dtype, memory: mmap.mmap) -> None:
        self.processes, self.shapes = processes, shapes
        each = _bytes(shapes, dtype)
        starts = [[(turn * processes.count + rank) * each for rank in range(processes.count)] for turn in (0, 1)]
        self.places = [[_tensors(memory, start, shapes, dtype) for start in one] for one in starts]
        self.turn = 0

    @property
    def own(self) -> list[Tensor]:
        """Those of this process at the step that comes."""
        return self.places[self.turn][self.processes.rank]

    @property
    def parts(self) -> list[list[Tensor]]:
        """Those of every process at the step in which all have met last."""
        return self.places[1 - self.turn]

    def total(self, value: float, error: BaseException | None = None) -> float:
        """The sum of the values of all processes, which have all left their gradients by then."""
        total = self.processes.total(value, error)
        self.turn = 1 - self.turn
        return total

    @staticmethod
    def size(processes: Processes, shapes: list[torch.Size], dtype: torch.dtype) -> int:
        """How many bytes of memory this takes."""
        return 2 * processes.count * _bytes(shapes, dtype)


class SummedBuffer:
    """Gradients, loss and whether somebody has failed lie side by side in memory and are summed as one tensor.

    Args:
        processes: who meets.
        shapes: of the gradients.
        dtype: their type.
    """

    def __init__(self, processes: Processes, shapes: list[torch.Size], dtype: torch.dtype) -> None:
        self.processes, self.shapes = processes, shapes
        end = _bytes(shapes, dtype)
        memory = mmap.mmap(-1, end + ALIGNED)
        self.own = _tensors(memory, 0, shapes, dtype)
        self.parts = [self.own]
        self.whole = torch.frombuffer(memory, dtype=dtype)
        self.words = torch.frombuffer(memory, dtype=dtype, count=2, offset=end)

    def total(self, value: float, error: BaseException | None = None) -> float:
        """The sum of the values of all processes; the gradients are summed in place."""
        self.words.copy_(torch.tensor([0.0 if error is not None else value, error is not None]))
        self.processes.add_up(self.whole)
        total, failed = self.words.tolist()
        return self.processes.total(0.0, error) if failed else total


def make_exchange(processes: Processes, leaves: Sequence[Tensor]) -> Exchange:
    """The place where the gradients of these parameters meet; all processes call this together.

    It is common memory where that can be had, as for processes of one machine.
    """
    shapes, dtype = [leaf.shape for leaf in leaves], torch.float32
    for leaf in leaves:
        dtype = torch.promote_types(dtype, leaf.dtype)
    memory = _common_memory(processes, SharedMemory.size(processes, shapes, dtype))
    if memory is None:
        return SummedBuffer(processes, shapes, dtype)
    return SharedMemory(processes, shapes, dtype, memory)


def _common_memory(processes: Processes, size: int) -> mmap.mmap | None:
    """Memory that all processes see, zero at first; None where one of them cannot have it."""
    if processes.count > MOST:
        return None
    path = processes.told(lambda: _new_file(size))
    memory = None if path is None else _mapped(Path(path), size)
    everybody = bool(processes.gathered_numbers(memory is not None).all())
    if processes.rank == 0 and path is not None:
        Path(path).unlink()  # the memory stays for those who have it
    return memory if everybody else None


def _new_file(size: int) -> str | None:
    try:
        file, path = tempfile.mkstemp(dir=SHARED, prefix="pyrometer-")
    except OSError:
        return None
    try:
        os.posix_fallocate(file, 0, size)  # memory that is promised and not there would end a process by a signal
    except OSError:
        Path(path).unlink()
        return None
    finally:
        os.close(file)
    return path


def _mapped(path: Path, size: int) -> mmap.mmap | None:
    try:
        with path.open("r+b") as file:
            return mmap.mmap(file.fileno(), size)
    except OSError:  # the first process is on another machine
        return None


def _bytes(shapes: Sequence[torch.Size], dtype: torch.dtype) -> int:
    return sum(_aligned(shape.numel() * dtype.itemsize) for shape in shapes)


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def _tensors(memory: mmap.mmap, start: int, shapes: Sequence[torch.Size], dtype: torch.dtype) -> list[Tensor]:
    """Tensors in consecutive places, each with a storage of its own: a compiler takes views of one for the whole."""
    found = []
    for shape in shapes:
        count = shape.numel()
        found.append(
            torch.frombuffer(memory, dtype=dtype, count=count, offset=start).view(shape)
            if count
            else torch.empty(shape, dtype=dtype)
        )
        start += _aligned(count * dtype.itemsize)
    return found
