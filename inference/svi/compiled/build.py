"""From a pair and a batch to what takes steps on batches of that shape."""

import itertools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.fx.passes.fake_tensor_prop import FakeTensorProp
from torch.optim import Optimizer

from ..data import Batch
from ..pair import Pair
from .capture import Capture, capture
from .decompositions import decompose
from .factored_linear import factor_linear
from .loop import Loop, is_loopable
from .noise import hoist_noise
from .one_step import OneStep, one_step
from .products import Products, take_products
from .signature import tensors_of
from .single_step import SingleStep

__all__ = ["Steps", "as_graph", "compiled"]

OPTIONS = {"fallback_random": True, "cpp_wrapper": True}
"""Torch's own random operations, so that a seed means the same; and no Python between the compiled parts."""


_NUMBERS = itertools.count()


class Steps(Protocol):
    """Takes steps on batches of one shape.

    Attributes:
        most: how many at a time.
        step: what a step does.
    """

    most: int
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
    return Loop(step, _compiler, repeats) if is_loopable(step, batch) else SingleStep(step, _compiler)


def as_graph(pair: Pair, batch: Batch, numbers: Mapping[str, float], products: Products = "torch") -> Steps:
    """Steps that are run as a graph without a compiler, with torch's own optimizer beside it."""
    return SingleStep(one_step(_improved(pair, batch, numbers, products), None), lambda function: function)


def _improved(pair: Pair, batch: Batch, numbers: Mapping[str, float], products: Products) -> Capture:
    captured = capture(pair, batch, numbers)
    if factor_linear(captured.graph):
        given = [torch.zeros((), dtype=torch.float64) for _ in numbers]
        inputs = [*captured.leaves, *captured.constants, *given, *tensors_of(batch)]
        FakeTensorProp(captured.graph).propagate(*(tensor.detach() for tensor in inputs))  # shapes of what is new
    take_products(captured.graph, products)
    decompose(captured.graph)
    hoist_noise(captured)
    for node in captured.graph.graph.nodes:
        node.meta.clear()  # tensors and modes of the tracing, which a compiler would take for its own
    return captured


def _compiler(function: Callable) -> Callable:
    # What torch would look at before each call is known: batches are told apart by their signature, and parameters are
    # looked at by the engine.
    options: Any = {**OPTIONS, "guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    return torch.compile(_with_own_code(function), fullgraph=True, dynamic=False, options=options)


def _with_own_code(function: Callable) -> Callable:
    """The function, as one that torch has not met: it keeps what it compiles by the code, which closures share."""
    original: Any = function
    code = original.__code__.replace(co_name=f"{original.__name__}_{next(_NUMBERS)}")
    return types.FunctionType(code, original.__globals__, code.co_name, original.__defaults__, original.__closure__)
