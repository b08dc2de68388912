"""Many steps a call: a loop inside the compiled code, for small models, whose steps cost less than a call does."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...compiler.torch_internals import while_loop
from ..data import Batch
from .capture import is_random
from .noise import are_small_normals, normal_rows
from .one_step import OneStep, Step, parted
from .packed import PackedStep, can_pack
from .signature import tensors_of
from .writes import written

__all__ = ["Loop", "is_loopable"]

MOST = 100
"""Steps of a call."""
MOST_DATA = 2_000_000
"""Numbers in the batches of a call."""
MOST_WEIGHTS = 20_000
"""Weights that a loop carries: it copies them at every step, and beyond that a call costs little beside the rest."""


class Loop:
    """Takes up to 100 steps at a time.

    Args:
        step: what a step does, its optimizer included.
        compiler: of a function of tensors.
        repeats: whether every step has the same batch, the very same tensors.
    """

    most = MOST

    def __init__(self, step: OneStep, compiler: Callable[[Callable], Callable], repeats: bool) -> None:
        self.step, self.repeats = step, repeats
        self.function = compiler(_looped(step, repeats))
        self.read = [*step.carried(), *step.held()]
        # Rows beyond the steps of a call are never read, so that they may be those of an earlier one.
        self._rows: dict[str, Tensor] = {}
        numbers = sum(shape.numel() for shape in step.shapes)
        self._normals = [normal_rows(MOST, numbers)] if numbers else []
        self._counts = [torch.tensor(count, device="cpu") for count in range(MOST + 1)]
        self._last_rates: Sequence[Sequence[float]] = []

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
        given = [
            *(self._padded(name, torch.tensor(column, dtype=torch.float64)) for name, column in columns.items()),
            *self.draw(len(batches)),
            self._rates(rates),
            *(tensors_of(batches[0]) if self.repeats else self._stacked(batches)),
        ]
        with torch.no_grad():
            (losses,) = self.function(self._counts[len(batches)], *self.read, *given)
        return losses[: len(batches)].tolist()

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


def _looped(step: OneStep, same: bool) -> Callable[..., list[Tensor]]:
    """A function that takes some steps, writes to what is carried, and gives the losses.

    Its arguments: how many steps; what is carried; what is held; the numbers of the objective, (S,) each; the draws of
    a step in a row, (S, draws), if there are any; the rates, (S, groups); the tensors of the batches, (S, ...) each, or
    (...) where all are the same.
    """
    packed, carries = PackedStep(step), len(step.carried())
    sizes = len(step.held()), len(step.captured.numbers), 1 if step.shapes else 0, 1

    def at(index: Tensor, given: Sequence[Tensor]) -> tuple[list[Tensor], Step]:
        """What is held, and what one of the steps is given."""
        held, numbers, noise, (rates,), batch = parted(given, sizes)
        return held, Step(
            [_row(number, index) for number in numbers],
            batch if same else [_row(tensor, index) for tensor in batch],
            [part for rows in noise for part in _split(_row(rows, index), step.shapes)],
            list(_row(rates, index).unbind()),
        )

    def run(count: Tensor, *tensors: Tensor) -> list[Tensor]:
        carried, given = tensors[:carries], _apart(tensors[carries:])
        weights = packed.pack(carried)

        def goes_on(index: Tensor, finite: Tensor, _losses: Tensor, *others: Tensor) -> Tensor:
            return (index < others[len(weights)]) & finite

        def body(index: Tensor, _finite: Tensor, losses: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
            now, (_count, *given) = others[: len(weights)], others[len(weights) :]
            held, step = at(index.reshape(1), given)
            loss, after = packed.advanced(now, held, step)
            losses = losses.index_copy(0, index.reshape(1), loss.double().reshape(1))
            return index + 1, loss.isfinite(), losses, *after

        losses = torch.full((MOST,), torch.nan, dtype=torch.float64, device=count.device)
        first: Any = torch.zeros_like(count), torch.ones_like(count, dtype=torch.bool), losses, *weights
        _, _, losses, *after = while_loop(goes_on, body, first, (count, *given))
        packed.unpack(after, carried)
        return [losses]

    return run


def _apart(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors, those copied that share memory with an earlier one, which a loop of torch refuses."""
    memory = [tensor.untyped_storage()._cdata for tensor in tensors]
    return [tensor.clone() if memory[at] in memory[:at] else tensor for at, tensor in enumerate(tensors)]


def _row(tensor: Tensor, at: Tensor) -> Tensor:
    return tensor.index_select(0, at).reshape(tensor.shape[1:])


def _split(row: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    parts = row.split([shape.numel() for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _writes_to_input(node: torch.fx.Node) -> bool:
    return any(target.op == "placeholder" for target in written(node))
