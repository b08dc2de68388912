"""A small model's weights in one vector, so that a step updates one tensor and not one for each parameter."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .one_step import OneStep, Step
from .update_rule import State, packed_factors, updated

__all__ = ["PackedStep", "can_pack"]


def can_pack(step: OneStep) -> bool:
    """All moving leaves are of one type and device, and follow one rule; their rates may differ."""
    leaves, groups = step.captured.moving, step.groups
    if not groups or len({(leaf.dtype, leaf.device) for leaf in leaves}) > 1:
        return False
    return len({replace(group, index=0) for group in groups}) == 1


class PackedStep:
    """A step on vectors of D numbers: all weights, and the state of each.

    Args:
        step: what is packed.
    """

    def __init__(self, step: OneStep) -> None:
        assert step.groups is not None
        self.step, self.rule = step, step.groups[0]
        self.shapes = [leaf.shape for leaf in step.captured.moving]
        self.sizes = [shape.numel() for shape in self.shapes]
        self.group_of = torch.cat(
            [torch.full((size,), group.index) for size, group in zip(self.sizes, step.groups, strict=True)]
        )
        self.kinds = len(step.states[0].tensors())

    def pack(self, carried: Sequence[Tensor]) -> list[Tensor]:
        """Weights and states as vectors, (D,) each: weights, step, mean, square and, for amsgrad, the largest."""
        count = len(self.sizes)
        leaves, states = carried[:count], carried[count:]
        kinds = [leaves, *(states[kind :: self.kinds] for kind in range(self.kinds))]
        return [
            torch.cat([self._wide(tensor, size) for tensor, size in zip(kind, self.sizes, strict=True)])
            for kind in kinds
        ]

    def write(self, packed: Sequence[Tensor], carried: Sequence[Tensor]) -> None:
        """Write weights and states into vectors that :meth:`pack` has made."""
        for vector, values in zip(packed, self.pack(carried), strict=True):
            vector.copy_(values)

    def unpack(self, packed: Sequence[Tensor], carried: Sequence[Tensor]) -> None:
        """Write the vectors back into what they were made of."""
        count = len(self.sizes)
        for kind, vector in enumerate(packed):
            places = carried[:count] if kind == 0 else carried[count + kind - 1 :: self.kinds]
            for place, part in zip(places, vector.split(self.sizes), strict=True):
                place.copy_(part.reshape(place.shape) if place.dim() or part.numel() == 1 else part[0])

    def advanced(self, packed: Sequence[Tensor], held: Sequence[Tensor], given: Step) -> tuple[Tensor, list[Tensor]]:
        """The loss, and the vectors after a step; where the loss is not finite, the vectors stay."""
        weights, state = packed[0], State(*packed[1:])
        parts = weights.split(self.sizes)
        leaves = [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        loss, *gradients = self.step.loss_and_gradients(leaves, held, given)
        gradient = torch.cat([part.flatten() for part in gradients])
        rate = given.rates[0] if len(given.rates) == 1 else torch.stack(list(given.rates))[self.group_of]
        factors = packed_factors(self.rule, rate, state.step)
        weights, state = updated(self.rule, factors, weights, gradient, state)
        finite = loss.isfinite()
        return loss, [
            torch.where(finite, new, old) for new, old in zip([weights, *state.tensors()], packed, strict=True)
        ]

    def _wide(self, tensor: Tensor, size: int) -> Tensor:
        """A tensor as a vector; a step, which is one number, for every weight of its parameter."""
        return tensor.flatten() if tensor.numel() == size else tensor.reshape(1).expand(size)
