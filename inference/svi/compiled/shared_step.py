"""A step that several processes take together: each its own gradient, by one graph; then all one update, by another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..data import Batch
from ..exchange import Exchange
from .capture import Capture
from .meeting import Meeting
from .one_step import OneStep, parted
from .signature import tensors_of
from .update_rule import State, factors, groups_of, prepare_state, updated

__all__ = ["Part", "SharedStep"]

Compiler = Callable[[Callable[..., list[Tensor]]], Callable[..., list[Tensor]]]


@dataclass(frozen=True)
class Part:
    """What a process has to do with a batch.

    Attributes:
        captured: loss and gradient of its share; of an empty one, a graph of nothing that moves no leaf.
        weight: what the graph's loss and gradient are yet to be multiplied by.
        moved: of each leaf, whether the share of some process has a gradient for it.
        meeting: of all processes within the graph.
    """

    captured: Capture
    weight: float
    moved: list[bool]
    meeting: Meeting

    def of_moved(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Of tensors that belong to the leaves, those whose leaf is moved."""
        return [tensor for tensor, moved in zip(tensors, self.moved, strict=True) if moved]


class SharedStep:
    """Takes one step at a time, with the others or alone.

    Together: :meth:`gradient`, then ``exchange.total``, then :meth:`update`. When called, as any steps, it is alone:
    the update is by the gradient of this process.

    Args:
        part: what this process does.
        optimizer: its rule is part of the graph of the update where it is known, or else gradients are left in the
            parameters.
        exchange: where gradients meet.
        compiler: of a function of tensors.
    """

    most = 1

    def __init__(self, part: Part, optimizer: Optimizer, exchange: Exchange, compiler: Compiler) -> None:
        self.part, self.exchange = part, exchange
        self.threads = torch.get_num_threads()
        self.leaves = part.of_moved(part.captured.leaves)
        self.step = _with_rule(part.captured, optimizer, self.leaves)
        self.read = [tensor.detach() for tensor in [*part.captured.leaves, *part.captured.constants]]
        self.carried = [
            *(leaf.detach() for leaf in self.leaves),
            *(tensor for state in self.step.states for tensor in state.tensors()),
        ]
        self.gradient_function = compiler(_gradient(part))
        self.update_function = compiler(_update(self.step, len(self.leaves), len(exchange.parts)))

    def draw(self, steps: int) -> list[list[Tensor]]:
        """The noise of so many steps."""
        noise = self.part.captured.noise
        return [[] if noise is None else list(noise()) for _ in range(steps)]

    def gradient(self, batch: Batch, numbers: Mapping[str, float]) -> float:
        """The loss of this share; its gradient is left in the exchange."""
        with self.part.meeting.held_by_all():
            return self._gradient(batch, numbers)

    def _gradient(self, batch: Batch, numbers: Mapping[str, float]) -> float:
        captured, places = self.part.captured, self.part.of_moved(self.exchange.own)
        if not any(captured.moved):
            for place in places:
                place.zero_()
            return 0.0
        given = [
            *(torch.tensor(numbers[name], dtype=torch.float64, device="cpu") for name in captured.numbers),
            *tensors_of(batch),
            *self.draw(1)[0],
        ]
        with torch.no_grad():
            (loss,) = self.gradient_function(*places, *self.read, *given)
        return loss.item()

    def update(self, rates: Sequence[float]) -> None:
        """Move the weights by the gradients of all, which have met; or leave the sum of these in the parameters."""
        self._update(self.exchange.parts, rates)

    def __call__(
        self, batches: Sequence[Batch], numbers: Sequence[Mapping[str, float]], rates: Sequence[Sequence[float]]
    ) -> list[float]:
        """Take a step by this share alone, and give its loss."""
        loss = self._gradient(batches[0], numbers[0])
        own = self.exchange.own
        nothing = [torch.zeros_like(place) for place in own]
        self._update([own, *([nothing] * (len(self.exchange.parts) - 1))], rates[0])
        return [loss]

    def _update(self, parts: Sequence[Sequence[Tensor]], rates: Sequence[float]) -> None:
        met = [place for part in parts for place in self.part.of_moved(part)]
        given = [torch.tensor(rate, dtype=torch.float64, device="cpu") for rate in rates[: self.step.rates]]
        with torch.no_grad():
            gradients = self.update_function(*met, *given, *self.carried)
        if self.step.groups is None:
            for leaf in self.part.captured.leaves:
                leaf.grad = None
            for leaf, gradient in zip(self.leaves, gradients, strict=True):
                leaf.grad = gradient


def _with_rule(captured: Capture, optimizer: Optimizer, leaves: Sequence[Tensor]) -> OneStep:
    places = [leaf.data_ptr() for leaf in captured.leaves]
    known = groups_of(optimizer) or {}
    if not all(id(leaf) in known for leaf in leaves):
        return OneStep(captured, None, [], 0, places)
    groups, states = [known[id(leaf)] for leaf in leaves], prepare_state(optimizer, leaves)
    return OneStep(captured, groups, states, len(optimizer.param_groups), places)


def _gradient(part: Part) -> Callable[..., list[Tensor]]:
    """A function that writes gradients to their places, zero where a share has none, and gives the loss.

    Its arguments: the places of what is moved; all leaves and constants; the numbers of the objective; the batch; the
    draws.
    """
    captured, weight = part.captured, part.weight
    own = [mine for mine, moved in zip(captured.moved, part.moved, strict=True) if moved]

    def run(*tensors: Tensor) -> list[Tensor]:
        places, given = parted(tensors, [len(own)])
        loss, *gradients = captured.graph(*given)
        rest = iter(gradients)
        for place, mine in zip(places, own, strict=True):
            place.copy_(weight * next(rest) if mine else torch.zeros_like(place))
        return [weight * loss]

    return run


def _update(step: OneStep, leaves: int, processes: int) -> Callable[..., list[Tensor]]:
    """A function that adds gradients up and writes to what is carried, or gives the sums.

    Its arguments: the gradients of the leaves, for each process; the rates; the leaves, and the optimizer's states.
    """

    def run(*tensors: Tensor) -> list[Tensor]:
        met, rates, weights, states = parted(tensors, [processes * leaves, step.rates, leaves])
        sums = [sum(met[at + leaves :: leaves], met[at]) for at in range(leaves)]
        gradients = [total.to(leaf.dtype) for total, leaf in zip(sums, weights, strict=True)]
        if step.groups is None:
            return [gradient.clone() for gradient in gradients]

        rest = iter(states)
        before = [State(*(next(rest) for _ in state.tensors())) for state in step.states]
        common = factors(step.groups, rates, before)
        for group, factor, leaf, gradient, old in zip(step.groups, common, weights, gradients, before, strict=True):
            new, after = updated(group, factor, leaf, gradient, old)
            leaf.copy_(new)
            for place, tensor in zip(old.tensors(), after.tensors(), strict=True):
                place.copy_(tensor)
        return []

    return run
