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
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...energy.checks_by_value import without_checks_by_value
from .equivalents import as_parameter
from .not_traceable import NotTraceable
from .value_reads import ValueReads

__all__ = ["NotTraceable", "traceable"]


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
        stack.enter_context(patch.object(nn.Parameter, "__new__", as_parameter))
        stack.enter_context(without_checks_by_value())
        stack.enter_context(ValueReads())
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
