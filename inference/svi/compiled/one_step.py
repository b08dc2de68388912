"""A whole step of training as a pure function of tensors: loss, gradient, and the optimizer's update."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from .capture import Capture
from .update_rule import Group, State, factors, groups_of, prepare_state, updated

__all__ = ["OneStep", "Step", "one_step", "parted"]


@dataclass(frozen=True)
class Step:
    """What a step is given beside the state: the numbers of the objective, a batch, its noise, and the rates."""

    numbers: Sequence[Tensor]
    batch: Sequence[Tensor]
    noise: Sequence[Tensor]
    rates: Sequence[Tensor]


@dataclass(frozen=True)
class OneStep:
    """The graph of a loss with the rule of its optimizer.

    Attributes:
        captured: the graph.
        groups: of every moving leaf, the settings of its rule; None where the optimizer is not part of the graph.
        states: of every moving leaf, the optimizer's own tensors.
        rates: how many learning rates a step is given.
        places: of the leaves in memory.
    """

    captured: Capture
    groups: list[Group] | None
    states: list[State]
    rates: int
    places: list[int]

    @property
    def shapes(self) -> list[torch.Size]:
        """Those of the draws of a step."""
        return self.captured.shapes

    def carried(self) -> list[Tensor]:
        """What a step changes, as tensors that share memory with the originals: moving leaves, then their states."""
        leaves = [leaf.detach() for leaf in self.captured.moving]
        return [*leaves, *(tensor for state in self.states for tensor in state.tensors())]

    def is_in_place(self) -> bool:
        """The leaves have not been moved in memory since the step was made."""
        return [leaf.data_ptr() for leaf in self.captured.leaves] == self.places

    def held(self) -> list[Tensor]:
        """What a step reads: leaves that it does not move, and constants."""
        captured = self.captured
        still = [leaf for leaf, moved in zip(captured.leaves, captured.moved, strict=True) if not moved]
        return [tensor.detach() for tensor in [*still, *captured.constants]]

    def loss_and_gradients(self, leaves: Sequence[Tensor], held: Sequence[Tensor], step: Step) -> list[Tensor]:
        """The loss and the gradients of the moving leaves, by the graph."""
        captured, moving, still = self.captured, iter(leaves), iter(held)
        ordered = [next(moving) if moved else next(still) for moved in captured.moved]
        return captured.graph(*ordered, *still, *step.numbers, *step.batch, *step.noise)

    def advanced(self, carried: Sequence[Tensor], held: Sequence[Tensor], step: Step) -> tuple[Tensor, list[Tensor]]:
        """The loss, and what is carried after the step; where the loss is not finite, what is carried stays."""
        assert self.groups is not None
        count = len(self.groups)
        leaves, states = carried[:count], self._states(carried[count:])
        loss, *gradients = self.loss_and_gradients(leaves, held, step)
        new_leaves, new_states = [], []
        common = factors(self.groups, step.rates, states)
        for group, factor, leaf, gradient, state in zip(self.groups, common, leaves, gradients, states, strict=True):
            new, after = updated(group, factor, leaf, gradient, state)
            new_leaves.append(new)
            new_states.extend(after.tensors())
        finite = loss.isfinite()
        both = zip(carried, [*new_leaves, *new_states], strict=True)
        return loss, [torch.where(finite, new, old) for old, new in both]

    def _states(self, tensors: Sequence[Tensor]) -> list[State]:
        rest = iter(tensors)
        return [State(*(next(rest) for _ in state.tensors())) for state in self.states]


def one_step(captured: Capture, optimizer: Optimizer | None) -> OneStep:
    """The step of a captured loss, with its optimizer in the graph where that is possible.

    Args:
        captured: loss and gradient.
        optimizer: None to leave it out.
    """
    places = [leaf.data_ptr() for leaf in captured.leaves]
    known = None if optimizer is None else groups_of(optimizer)
    if optimizer is None or known is None:
        return OneStep(captured, None, [], 0, places)
    moving = captured.moving
    groups, states = [known[id(leaf)] for leaf in moving], prepare_state(optimizer, moving)
    return OneStep(captured, groups, states, len(optimizer.param_groups), places)


def parted(tensors: Sequence[Tensor], sizes: Sequence[int]) -> list[list[Tensor]]:
    """Tensors in consecutive parts of these sizes; the last part is what is left."""
    rest = iter(tensors)
    return [*(list(itertools.islice(rest, size)) for size in sizes), list(rest)]
