"""The processes that torchrun has started, as one: what all are told, who has failed, one sum of gradients."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from .messages import as_plain, from_plain, pack, unpack
from .settings import describe, differences

__all__ = ["Processes", "is_first_process", "process_count", "process_rank"]

T = TypeVar("T")


def process_count() -> int:
    """How many processes torchrun has started, of which this is one; 1 where it is none of torchrun's.

    Example:
        >>> process_count()
        1
    """
    # What torch.distributed.is_torchelastic_launched() and Lightning look at.
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def process_rank() -> int:
    """The number of this process among them, from 0."""
    return int(os.environ["RANK"]) if process_count() > 1 else 0


def is_first_process() -> bool:
    """Whether this process is the one that writes, and speaks to the user."""
    return process_rank() == 0


class Processes:
    """All processes of a training. Each must call the same methods in the same order, or all wait for ever.

    Where there is but one, nothing is sent.

    Attributes:
        rank: the number of this process, from 0.
        count: how many there are.
        device: where tensors that are sent must be.
    """

    def __init__(self, fabric: Any) -> None:
        self.rank: int = fabric.global_rank
        self.count: int = fabric.world_size
        self.device: torch.device = fabric.device

    def told(self, call: Callable[[], T]) -> T:
        """What ``call`` gives in the first process, or its error, in every process; the others do not call it."""
        if self.count == 1:
            return call()
        error, answer = None, [None, None]  # of this process; value and error of the first
        if self.rank == 0:
            try:
                answer = [call(), None]
            except BaseException as raised:  # or the others would wait for ever
                error, answer = raised, [None, as_plain(raised)]
        answer = self._broadcast(answer)
        if answer[1] is not None:
            raise error or from_plain(answer[1], 0)
        return answer[0]

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, by rank, in every process."""
        packed = pack(value).to(self.device)
        sizes = [int(size) for size in self.gathered_numbers(len(packed)).flatten()]
        padded = torch.cat([packed, packed.new_zeros(max(sizes) - len(packed))])
        return [unpack(row[:size]) for row, size in zip(self._gather(padded), sizes, strict=True)]

    def gathered_numbers(self, *numbers: float) -> Tensor:
        """The numbers of all processes, (processes, numbers) in float64, in every process; quicker than objects."""
        return torch.stack(self._gather(torch.tensor(numbers, dtype=torch.float64, device=self.device))).cpu()

    def agree(self, what: Any) -> None:
        """Raise in every process where ``what`` is not the same in all.

        Raises:
            ValueError: naming what differs, and the process.
        """
        if self.count == 1:
            return
        description, error = None, None
        try:
            description = describe(what)
        except Exception as raised:
            error = raised
        self.total(0.0, error)
        first, *others = self.gathered(description)
        lines = [
            f"{line} (process {rank})"
            for rank, other in enumerate(others, start=1)
            for line in differences(first, other)
        ]
        if lines:
            raise ValueError(
                f"every one of the {self.count} processes must call fit with the same arguments, all data included, "
                "of which each takes its share, but these differ (process 0 -> another):\n  " + "\n  ".join(lines)
            )

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Give the tensors the values that they have in the first process."""
        if self.count == 1:
            return
        with torch.no_grad(), self._connected():
            for tensor in tensors:
                value = tensor.detach().contiguous()
                dist.broadcast(value, src=0)
                tensor.copy_(value)

    def total(self, value: float, error: BaseException | None = None) -> float:
        """The sum of the values of all processes; where one has failed, its error in every process.

        Args:
            value: that of this process.
            error: what it has failed with instead.
        """
        numbers = self.gathered_numbers(0.0 if error is not None else value, error is not None)
        failed = numbers[:, 1].nonzero().flatten().tolist()
        if not failed:
            return numbers[:, 0].sum().item()
        told = self.gathered(None if error is None else as_plain(error))
        # A process may have got its NaN from another, which knows the site.
        rank = min(failed, key=lambda rank: told[rank].get("site", "") is None)
        if error is not None and rank == self.rank:
            raise error
        raise from_plain(told[rank], rank) from error

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        value = value.detach().clone(memory_format=torch.contiguous_format)
        self.add_up(value)
        return value

    def add_up(self, value: Tensor) -> None:
        """Replace a tensor by its sum over all processes."""
        with self._connected():
            dist.all_reduce(value)

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replace each gradient by its sum over all processes.

        A parameter without a gradient counts as one whose gradient is zero, unless it has none in any process.
        """
        groups: dict[Any, list[Tensor]] = {}
        for parameter in parameters:
            groups.setdefault((parameter.dtype, parameter.device), []).append(parameter)
        for group in groups.values():
            self._sum_gradients(group)

    def _sum_gradients(self, group: list[Tensor]) -> None:
        gradients = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in group]
        if any(gradient.layout != torch.strided for gradient in gradients):
            raise TypeError(
                "gradients must be dense to be summed over processes: leave out nn.Embedding's sparse=True."
            )
        present = gradients[0].new_tensor([leaf.grad is not None for leaf in group])
        flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), present])
        self.add_up(flat)
        *sums, present = flat.split([*(leaf.numel() for leaf in group), len(group)])
        for leaf, total, there in zip(group, sums, present.tolist(), strict=True):
            if there:
                leaf.grad = total.view_as(leaf)

    def _broadcast(self, value: Any) -> Any:
        packed = pack(value).to(self.device)
        size = torch.tensor(len(packed), device=self.device)
        with self._connected():
            dist.broadcast(size, src=0)
            if self.rank > 0:
                packed = packed.new_empty(int(size))
            dist.broadcast(packed, src=0)
        return unpack(packed)

    def _gather(self, mine: Tensor) -> list[Tensor]:
        found = [torch.empty_like(mine) for _ in range(self.count)]
        with self._connected():
            dist.all_gather(found, mine)
        return found

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Inside, warnings are shown by the first process alone."""
        if self.rank == 0:
            yield
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield

    @contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise ConnectionError(
                f"process {self.rank} has lost another of the {self.count} processes of the training: that one has "
                "ended or does not answer, and its own last words say why. The last checkpoint is whole: start all of "
                f"them again with resume=True. ({str(error).splitlines()[0]})"
            ) from error
