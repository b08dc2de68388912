"""Many steps a call: a loop inside the compiled code, for small models, whose steps cost less than a call does."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch._higher_order_ops.while_loop import while_loop

from ..data import Batch
from .capture import is_random
from .noise import are_small_normals, normal_rows
from .one_step import OneStep, Step
from .packed import PackedStep, can_pack
from .signature import tensors_of

__all__ = ["Loop", "is_loopable"]

MOST = 100
"""Steps of a call."""
MOST_DATA = 2_000_000
"""Numbers in the batches of a call."""
MOST_WEIGHTS = 20_000
"""Weights that a loop carries: it copies them at every step, and beyond that a call costs little beside the rest."""


class _Given(NamedTuple):
    """What the steps are given.

    Attributes:
        numbers: (S,) each.
        batch: its tensors, (S, ...) each; or (...) where all steps have the same.
        noise: the draws of a step in a row, (S, draws); or nothing.
        rates: (S, groups).
    """

    numbers: list[Tensor]
    batch: list[Tensor]
    noise: list[Tensor]
    rates: Tensor


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
        self.carried, self.held = step.carried(), step.held()
        self.function = compiler(_looped(step, repeats))
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
        given = _Given(
            [self._padded(name, torch.tensor(column, dtype=torch.float64)) for name, column in columns.items()],
            tensors_of(batches[0]) if self.repeats else self._stacked(batches),
            self.draw(len(batches)),
            self._rates(rates),
        )
        with torch.no_grad():
            losses = self.function(self._counts[len(batches)], self.carried, self.held, given)
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
    if any(is_random(node) or _writes(node) for node in captured.graph.graph.nodes):
        return False
    data, weights = (sum(tensor.numel() for tensor in ones) for ones in (tensors_of(batch), captured.leaves))
    small = MOST * data <= MOST_DATA and weights <= MOST_WEIGHTS
    return small and (captured.noise is None or are_small_normals(captured.noise))


def _looped(step: OneStep, same: bool) -> Callable[[Tensor, list[Tensor], list[Tensor], _Given], Tensor]:
    """A function of (count, carried, held, given) that takes so many steps, writes to what is carried, gives losses."""
    packed = PackedStep(step)

    def run(count: Tensor, carried: list[Tensor], held: list[Tensor], given: _Given) -> Tensor:
        def goes_on(index: Tensor, finite: Tensor, _losses: Tensor, *_carried: Tensor) -> Tensor:
            return (index < count) & finite

        def body(index: Tensor, _finite: Tensor, losses: Tensor, *carried: Tensor) -> tuple[Tensor, ...]:
            at = index.reshape(1)
            loss, after = packed.advanced(carried, held, _at(step, given, at, same))
            losses = losses.index_copy(0, at, loss.double().reshape(1))
            return index + 1, loss.isfinite(), losses, *after

        losses = torch.full((MOST,), torch.nan, dtype=torch.float64, device=count.device)
        start = torch.zeros_like(count), torch.ones_like(count, dtype=torch.bool), losses
        _, _, losses, *after = while_loop(goes_on, body, (*start, *packed.pack(carried)))
        packed.unpack(after, carried)
        return losses

    return run


def _at(step: OneStep, given: _Given, at: Tensor, same: bool) -> Step:
    rates = _row(given.rates, at)
    noise = [part for row in given.noise for part in _split(_row(row, at), step.shapes)]
    batch = given.batch if same else [_row(tensor, at) for tensor in given.batch]
    return Step([_row(number, at) for number in given.numbers], batch, noise, list(rates.unbind()))


def _row(tensor: Tensor, at: Tensor) -> Tensor:
    return tensor.index_select(0, at).reshape(tensor.shape[1:])


def _split(row: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    parts = row.split([shape.numel() for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _writes(node: torch.fx.Node) -> bool:
    """The operation writes to an input of the graph, or to a view of one."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return False
    source = node.all_input_nodes[0]
    while source.op == "call_function" and _is_view(source):
        source = source.all_input_nodes[0]
    return source.op == "placeholder"


def _is_view(node: torch.fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(result.alias_info is not None for result in schema.returns)
