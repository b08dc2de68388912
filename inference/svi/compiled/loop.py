"""Many steps a call: a loop around the compiled code, for small models, whose steps cost less than a call does."""

import operator
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data import Batch
from .capture import is_random
from .noise import are_small_normals, normal_rows
from .one_step import OneStep, Step, parted
from .packed import PackedStep, can_pack
from .replay import NotReplayable, Replay, Rows
from .signature import tensors_of
from .writes import written

__all__ = ["Loop", "is_loopable"]

MOST = 100
"""Steps of a call."""
MOST_DATA = 2_000_000
"""Numbers in the batches of a call."""
MOST_WEIGHTS = 20_000
"""Weights of a small model; a larger one is better served by several threads a step."""

Compiler = Callable[[Callable[..., list[Tensor]], Sequence[Tensor]], Callable[..., list[Tensor]]]
"""Of a function of tensors, for the shapes of an example."""


class Loop:
    """Takes up to 100 steps at a time.

    Args:
        step: what a step does, its optimizer included.
        compiler: of a function of tensors.
        repeats: whether every step has the same batch, the very same tensors.
    """

    most = MOST
    threads = 1

    def __init__(self, step: OneStep, compiler: Compiler, repeats: bool) -> None:
        self.step, self.compiler, self.repeats = step, compiler, repeats
        self.packed, self.carried = PackedStep(step), step.carried()
        numbers = sum(shape.numel() for shape in step.shapes)
        self._normals = [normal_rows(MOST, numbers)] if numbers else []
        # Rows beyond the steps of a call are never read, so that they may be those of an earlier one.
        self._rows: dict[str, Tensor] = {}
        self._last_rates: Sequence[Sequence[float]] = []
        self._memory: _Memory | None = None

    def draw(self, steps: int) -> list[Tensor]:
        """The noise of so many steps, in the first rows of what is given."""
        for rows in self._normals:
            rows[:steps].normal_()
        return self._normals

    def __call__(
        self, batches: Sequence[Batch], numbers: Sequence[Mapping[str, float]], rates: Sequence[Sequence[float]]
    ) -> list[float]:
        """Take a step for each batch and give the losses; after one that is not finite weights stay as they are."""
        columns = {name: [each[name] for each in numbers] for name in self.step.captured.numbers}
        varying = [
            *(self._padded(name, torch.tensor(column, dtype=torch.float64)) for name, column in columns.items()),
            *self.draw(len(batches)),
            self._rates(rates),
            *([] if self.repeats else self._stacked(batches)),
        ]
        same = tensors_of(batches[0]) if self.repeats else []

        with torch.no_grad():
            if self._memory is None:
                self._memory = self._made(varying, same)
            memory = self._memory
            self.packed.write(memory.weights, self.carried)
            for place, tensor in zip(memory.same, same, strict=True):
                place.copy_(tensor)
            inputs = [Rows(rows, target) for rows, target in zip(varying, memory.varying, strict=True)]
            losses = memory.run(len(batches), inputs)
            self.packed.unpack(memory.weights, self.carried)

        missing = len(batches) - len(losses)
        return [*losses, *[torch.nan] * missing]

    def _made(self, varying: Sequence[Tensor], same: Sequence[Tensor]) -> "_Memory":
        """The compiled step and the tensors that it reads and writes, for the shapes of the first call."""
        weights = self.packed.pack(self.carried)
        targets = [torch.empty_strided(rows.shape[1:], rows.stride()[1:], dtype=rows.dtype) for rows in varying]
        for rows, target in zip(varying, targets, strict=True):
            target.copy_(rows[0])
        copies = [tensor.clone() for tensor in same]
        loss = torch.zeros((), dtype=torch.float64)
        inputs = [loss, *weights, *self.step.held(), *targets, *copies]

        function = self.compiler(_stepping(self.step, self.packed, len(weights)), inputs)
        try:
            run = Replay(function, inputs, loss).run
        except (NotReplayable, OSError, subprocess.CalledProcessError):
            run = _InTurn(function, inputs, loss).run
        return _Memory(weights, targets, copies, run)

    def _stacked(self, batches: Sequence[Batch]) -> list[Tensor]:
        columns = zip(*(tensors_of(batch) for batch in batches), strict=True)
        return [self._padded(f"batch {index}", torch.stack(column)) for index, column in enumerate(columns)]

    def _rates(self, rates: Sequence[Sequence[float]]) -> Tensor:
        if len(rates) > len(self._last_rates) or any(map(operator.ne, rates, self._last_rates)):
            self._last_rates = [list(row) for row in rates]
            return self._padded("rates", torch.tensor(rates, dtype=torch.float64))
        return self._rows["rates"]

    def _padded(self, name: str, rows: Tensor) -> Tensor:
        if name not in self._rows:
            self._rows[name] = rows.new_zeros(MOST, *rows.shape[1:])
        self._rows[name][: len(rows)] = rows
        return self._rows[name]


@dataclass(frozen=True)
class _Memory:
    """The tensors of a compiled step, which keep their places.

    Attributes:
        weights: the packed weights and their states.
        varying: what differs from step to step.
        same: the batch, where it is the same at every step.
        run: takes so many steps and gives their losses, up to the first that is not finite.
    """

    weights: list[Tensor]
    varying: list[Tensor]
    same: list[Tensor]
    run: Callable[[int, Sequence[Rows]], list[float]]


class _InTurn:
    """Calls the function for each step from Python, where its calls cannot be recorded."""

    def __init__(self, function: Callable[..., list[Tensor]], inputs: Sequence[Tensor], loss: Tensor) -> None:
        self.function, self.inputs, self.loss = function, inputs, loss

    def run(self, steps: int, inputs: Sequence[Rows]) -> list[float]:
        """Take so many steps, each with its row of these inputs; ends after a loss that is not finite."""
        losses: list[float] = []
        for step in range(steps):
            for one in inputs:
                one.target.copy_(one.rows[step])
            self.function(*self.inputs)
            losses.append(self.loss.item())
            if not self.loss.isfinite():
                break
        return losses


def is_loopable(step: OneStep, batch: Batch) -> bool:
    """A step is a small, pure function of tensors, with one rule for all, and its draws are few normal numbers."""
    captured = step.captured
    if not can_pack(step) or any(leaf.device.type != "cpu" for leaf in captured.leaves):
        return False
    if any(is_random(node) or _writes_to_input(node) for node in captured.graph.graph.nodes):
        return False
    data, weights = (sum(tensor.numel() for tensor in ones) for ones in (tensors_of(batch), captured.leaves))
    small = MOST * data <= MOST_DATA and weights <= MOST_WEIGHTS
    return small and (captured.noise is None or are_small_normals(captured.noise))


def _stepping(step: OneStep, packed: PackedStep, vectors: int) -> Callable[..., list[Tensor]]:
    """A function that takes a step, and writes the loss and the new vectors to where the old ones are.

    Its arguments: the place of the loss; the packed vectors; what is held; the numbers of the objective; the draws of
    the step in a row, if there are any; the rates, (groups,); the tensors of the batch.
    """
    sizes = 1, vectors, len(step.held()), len(step.captured.numbers), 1 if step.shapes else 0, 1

    def run(*tensors: Tensor) -> list[Tensor]:
        (place,), vectors, held, numbers, noise, (rates,), batch = parted(tensors, sizes)
        draws = [part for row in noise for part in _split(row, step.shapes)]

        loss, after = packed.advanced(vectors, held, Step(numbers, batch, draws, list(rates.unbind())))

        place.copy_(loss)
        for old, new in zip(vectors, after, strict=True):
            old.copy_(new)
        return []

    return run


def _split(row: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    parts = row.split([shape.numel() for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _writes_to_input(node: torch.fx.Node) -> bool:
    return any(target.op == "placeholder" for target in written(node))
