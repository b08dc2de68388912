"""Where a Pyro program can be traced into a graph: Pyro's own looks at values are put aside, and others are refused."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import pyro
import torch
from pyro.infer.util import Dice
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...compiler.torch_internals import is_known, tracer

__all__ = ["NotTraceable", "traceable"]

LOOKS = (
    *(Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.__array__),
    *(Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.__complex__),
)


ALL_TRUE: Any = vars(torch)["_is_all_true"]


class NotTraceable(RuntimeError):  # noqa: N818 - it says what a program is, and the caller goes on without a graph
    """A program whose Python depends on the value of a tensor: its steps cannot be one graph."""


@contextmanager
def traceable() -> Iterator[None]:
    """A block in which the loss of a pair can be traced, and means the same.

    Validation is off, as it is in training; warnings of a NaN are left to the loop; DiCE factors leave impossible terms
    out by a zero rather than by an index; and a number that is taken out of the loss stays a tensor. Everything else
    that reads the value of a traced tensor is refused.

    Raises:
        NotTraceable: inside the block, where a program reads such a value.
    """
    with ExitStack() as stack:
        stack.enter_context(pyro.validation_enabled(False))
        for module in [module for name, module in sys.modules.items() if name.startswith("pyro.")]:
            if "warn_if_nan" in vars(module):
                stack.enter_context(patch.object(module, "warn_if_nan", _unchanged))
        stack.enter_context(patch.object(Dice, "compute_expectation", _with_zeros(Dice.compute_expectation)))
        stack.enter_context(_NoValues())
        yield


def _unchanged(value: Any, *_args: Any, **_kwargs: Any) -> Any:
    return value


def _with_zeros(compute_expectation: Callable) -> Callable:
    @functools.wraps(compute_expectation)
    def method(*args: Any, **kwargs: Any) -> Any:
        with _Zeros():
            return compute_expectation(*args, **kwargs)

    return method


class _Zeros(TorchFunctionMode):
    """Pyro leaves terms of probability zero out of a sum by ``masked_select``, whose result has no fixed shape."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__bool__:
            return False  # "not all terms are possible", which is right whether they are or not
        if func in (Tensor.masked_select, torch.masked_select):
            value, mask = args
            return torch.where(mask, value, torch.zeros_like(value))
        return func(*args, **(kwargs or {}))


class _NoValues(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is ALL_TRUE:
            return True  # asked by distributions that were made while validation was on, as the priors of a PyroSample
        if func in LOOKS and not _is_literal(args[0]):
            if func is Tensor.item and args[0].is_floating_point():
                return args[0].detach()
            shape = tuple(args[0].shape)
            raise NotTraceable(
                f"the Python of the program or of the objective reads the value of a tensor (by {func.__name__}, "
                f"shape {shape}), on which what it does next may depend"
            )
        return func(*args, **(kwargs or {}))


def _is_literal(value: Tensor) -> bool:
    """The tensor is a constant of the program's source, as ``torch.tensor(3)`` is."""
    tracing = tracer()
    return tracing is None or is_known(value, tracing)
