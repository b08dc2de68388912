"""One step a call: for large models, where a call costs little beside the arithmetic, and for draws that need data."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..data import Batch
from .capture import Capture
from .one_step import OneStep, Step, parted
from .signature import tensors_of

__all__ = ["SingleStep"]


class SingleStep:
    """Takes one step at a time.

    Args:
        step: what a step does; with its optimizer, or else gradients are left in the parameters.
        compiler: of a function of tensors.
    """

    most = 1

    def __init__(self, step: OneStep, compiler: Callable[[Callable], Callable]) -> None:
        self.step = step
        self.threads = torch.get_num_threads()
        self.read = [*step.carried(), *step.held()]
        self.function = compiler(_stepping(step))

    def draw(self, steps: int) -> list[list[Tensor]]:
        """The noise of so many steps."""
        noise = self.step.captured.noise
        return [[] if noise is None else list(noise()) for _ in range(steps)]

    def __call__(
        self, batches: Sequence[Batch], numbers: Sequence[Mapping[str, float]], rates: Sequence[Sequence[float]]
    ) -> list[float]:
        """Take a step and give its loss; where that is not finite, weights stay as they are."""
        captured = self.step.captured
        given = [
            *(torch.tensor(numbers[0][name], dtype=torch.float64, device="cpu") for name in captured.numbers),
            *self.draw(1)[0],
            *(torch.tensor(rate, dtype=torch.float64, device="cpu") for rate in rates[0][: self.step.rates]),
            *tensors_of(batches[0]),
        ]
        with torch.no_grad():
            loss, *gradients = self.function(*self.read, *given)
        if self.step.groups is None:
            _leave(gradients, captured)
        return [loss.item()]


def _leave(gradients: list[Tensor], captured: Capture) -> None:
    """Put the gradients where an optimizer finds them, and leave none of another step there."""
    for leaf in captured.leaves:
        leaf.grad = None
    for leaf, gradient in zip(captured.moving, gradients, strict=True):
        leaf.grad = gradient


def _stepping(step: OneStep) -> Callable[..., list[Tensor]]:
    """A function that takes a step and writes to what is carried, or gives the gradients after the loss.

    Its arguments: what is carried; what is held; the numbers of the objective; the draws; the rates; the batch.
    """
    sizes = len(step.carried()), len(step.held()), len(step.captured.numbers), len(step.shapes), step.rates

    def run(*tensors: Tensor) -> list[Tensor]:
        carried, held, numbers, noise, rates, batch = parted(tensors, sizes)
        given = Step(numbers, batch, noise, rates)
        if step.groups is None:
            return step.loss_and_gradients(carried, held, given)
        loss, after = step.advanced(carried, held, given)
        for old, new in zip(carried, after, strict=True):
            old.copy_(new)
        return [loss]

    return run
