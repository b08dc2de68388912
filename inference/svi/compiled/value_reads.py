"""Python that reads the value of a traced tensor is refused, with its line and what to write in its place."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ...compiler.torch_internals import is_known, tracer
from .budget import check_forward
from .equivalents import EQUIVALENTS
from .not_traceable import NotTraceable
from .unknown_shapes import noted_places
from .user_line import user_line

__all__ = ["ValueReads"]

CHOOSE = "choose by torch.where(condition, a, b), or hold what it is decided by fixed and pass it as a number"
KEEP = "keep it a tensor, or pass it to the program as a number"
PRINT = "print from on_epoch"
CLASSES = "give it num_classes"
REMEDIES: dict[Any, str] = {
    **dict.fromkeys((Tensor.__bool__, torch.equal, torch.allclose, Tensor.equal, Tensor.allclose), CHOOSE),
    **dict.fromkeys((torch.is_nonzero, Tensor.is_nonzero), CHOOSE),
    **dict.fromkeys((Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.__array__), KEEP),
    **dict.fromkeys((Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.__complex__), KEEP),
    **dict.fromkeys((Tensor.__repr__, Tensor.__format__), PRINT),
    F.one_hot: CLASSES,
}
"""What looks at a value, and what to do about it."""
ALL_TRUE: Any = vars(torch)["_is_all_true"]


class ValueReads(TorchFunctionMode):
    """A block in which values are not read: a number taken out of a loss stays a tensor, and all else is refused."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tracing = tracer()
        if tracing is not None:
            check_forward(tracing.graph)
        if func is ALL_TRUE:
            return True  # asked by distributions that were made while validation was on, as the priors of a PyroSample
        suits, equivalent = EQUIVALENTS.get(func, (None, None))
        if suits is not None and equivalent is not None and suits(args, kwargs):
            return equivalent(*args, **kwargs)
        if func in REMEDIES and not _is_literal(args[0]):
            if func is Tensor.item and args[0].is_floating_point():
                return args[0].detach()
            raise NotTraceable(_refusal(func, args[0]))
        with noted_places():
            return func(*args, **kwargs)


def _refusal(func: Any, value: Tensor) -> str:
    return (
        f"{user_line()} reads the value of a tensor (by {func.__name__}, shape {tuple(value.shape)}), on which what it "
        f"does next may depend: {REMEDIES[func]}"
    )


def _is_literal(value: Any) -> bool:
    """The tensor is a constant of the program's source, as ``torch.tensor(3)`` is."""
    tracing = tracer()
    if tracing is None or not isinstance(value, Tensor):
        return True
    return is_known(value, tracing)
