"""From a pair and a batch to what takes steps on batches of that shape."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from ...compiler import compile_at
from ...compiler.torch_internals import propagate_shapes
from ..data import Batch
from ..pair import Pair
from .budget import check_size
from .capture import Capture, capture
from .checks import check_by_nan
from .decompositions import decompose
from .factored_linear import factor_linear
from .late_expansion import expand_late
from .loop import Loop, is_loopable
from .masks import choose_by_mask
from .noise import hoist_noise
from .not_traceable import NotTraceable
from .one_step import OneStep, one_step
from .products import Products, take_products
from .repeats import drop_repeats
from .signature import tensors_of
from .single_step import SingleStep
from .unknown_shapes import unknown_shape
from .writes import drop_writes

__all__ = ["Steps", "as_graph", "compile_function", "compiled", "graph_of_loss"]

Options = dict[str, Any]
Function = Callable[..., list[Tensor]]

IN_STEPS: Options = {"cpp_wrapper": True}
"""No Python between the compiled parts."""
IN_LOOPS: Options = {"cpp.threads": 1, "realize_opcount_threshold": 100, "realize_reads_threshold": 8}
"""One thread, since to wake another takes as long as a small step; and fewer results have memory of their own, which in
a small step costs more than to compute them twice."""


class Steps(Protocol):
    """Takes steps on batches of one shape.

    Attributes:
        most: how many at a time.
        threads: how many work on a step.
        step: what a step does.
    """

    most: int
    threads: int
    step: OneStep

    def draw(self, steps: int) -> list[Tensor] | list[list[Tensor]]:
        """The noise of so many steps, from torch's generator."""
        ...

    def __call__(
        self, batches: Sequence[Batch], numbers: Sequence[Mapping[str, float]], rates: Sequence[Sequence[float]]
    ) -> list[float]:
        """Take the steps, with the objective's numbers and the rates of the groups at each, and give their losses.

        After a loss that is not finite no step is taken, nor is that one. Where the optimizer is not part of the graph
        gradients are left in the parameters.
        """
        ...


def compiled(
    pair: Pair,
    optimizer: Optimizer | None,
    batch: Batch,
    numbers: Mapping[str, float],
    products: Products = "torch",
    repeats: bool = False,
) -> Steps:
    """Steps that are compiled by torch's inductor.

    Args:
        pair: what is trained.
        optimizer: to be put into the graph where its rule is known; None to have gradients.
        batch: a batch of the shape.
        numbers: those of the objective.
        products: who takes matrix products.
        repeats: whether every step has this very batch.

    Raises:
        NotTraceable: the program's Python depends on the values of tensors.
    """
    step = one_step(_improved(pair, batch, numbers, products), optimizer)
    if is_loopable(step, batch):
        return Loop(step, _compiler(IN_LOOPS), repeats)
    return SingleStep(step, compile_function)


def as_graph(pair: Pair, batch: Batch, numbers: Mapping[str, float], products: Products = "torch") -> Steps:
    """Steps that are run as a graph without a compiler, with torch's own optimizer beside it."""
    return SingleStep(one_step(_improved(pair, batch, numbers, products), None), lambda function: function)


def graph_of_loss(pair: Pair, batch: Batch, numbers: Mapping[str, float], products: Products = "torch") -> Capture:
    """The improved graph of loss and gradient, of which others make steps."""
    return _improved(pair, batch, numbers, products)


def compile_function(function: Function) -> Function:
    """The function, compiled as a single step is, when it is first called."""
    ready: list[Function] = []

    def call(*inputs: Tensor) -> list[Tensor]:
        if not ready:
            ready.append(_compiler(IN_STEPS)(function, inputs))
        return ready[0](*inputs)

    return call


def _improved(pair: Pair, batch: Batch, numbers: Mapping[str, float], products: Products) -> Capture:
    captured = capture(pair, batch, numbers)
    drop_writes(captured.graph)
    choose_by_mask(captured.graph)
    if reason := unknown_shape(captured.graph):
        raise NotTraceable(reason)
    check_by_nan(captured.graph)
    decompose(captured.graph)
    factor_linear(captured.graph)
    given = [torch.zeros((), dtype=torch.float64) for _ in numbers]
    propagate_shapes(captured.graph, [*captured.leaves, *captured.constants, *given, *tensors_of(batch)])
    expand_late(captured.graph)
    drop_repeats(captured.graph)
    take_products(captured.graph, products)
    check_size(captured.graph.graph)
    hoist_noise(captured)
    for node in captured.graph.graph.nodes:
        node.meta.clear()  # tensors and modes of the tracing, which a compiler would take for its own
    return captured


def _compiler(options: Options) -> Callable[[Function, Sequence[Tensor]], Function]:
    return functools.partial(compile_at, options=options)
