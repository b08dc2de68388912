"""Functions of torch that look at values, as others that do not and give the same tensors."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["EQUIVALENTS", "as_parameter", "element", "one_hot", "tensor_of"]


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """``one_hot`` with a given number of classes; torch's own reads the values to see that none is beyond it.

    Example:
        >>> one_hot(torch.tensor([2, 0]), 3)
        tensor([[0, 0, 1],
                [1, 0, 0]])
    """
    classes = torch.arange(num_classes, device=tensor.device)
    return (tensor.unsqueeze(-1) == classes).to(torch.int64)


def tensor_of(data: Any, **options: Any) -> Tensor:
    """``torch.tensor`` of lists in which there are tensors, whose numbers torch's own reads one by one.

    Example:
        >>> tensor_of([torch.tensor(1.5), 2])
        tensor([1.5000, 2.0000])
    """
    dtype, device = options.get("dtype"), options.get("device")
    requires_grad = options.get("requires_grad", False)
    stacked = _stacked(data).detach().to(dtype=dtype, device=device)
    return stacked.clone().requires_grad_(requires_grad)


def element(tensor: Tensor, index: Any) -> Tensor:
    """``tensor[index]`` where one number of the index is a tensor, whose value torch's own reads.

    Example:
        >>> element(torch.arange(6).reshape(3, 2), torch.tensor(2))
        tensor([4, 5])
        >>> element(torch.arange(6).reshape(3, 2), (slice(None), torch.tensor(1)))
        tensor([1, 3, 5])
    """
    items = index if isinstance(index, tuple) else (index,)
    at = next(place for place, item in enumerate(items) if isinstance(item, Tensor))
    taken = sum(item is not None and item is not Ellipsis for item in items)
    widths = [tensor.dim() - taken if item is Ellipsis else int(not isinstance(item, int)) for item in items[:at]]
    return tensor[(*items[:at], items[at].reshape(1), *items[at + 1 :])].squeeze(sum(widths))


def as_parameter(cls: type, data: Tensor | None = None, requires_grad: bool = True) -> Tensor:
    """``nn.Parameter`` of a tensor in a graph; torch's own is a tensor that the graph knows nothing of."""
    if data is None or cls is not nn.Parameter:
        return PARAMETER(cls, data, requires_grad)
    made: Any = data.detach().requires_grad_(requires_grad)
    made._is_param = True
    return made


PARAMETER: Any = nn.Parameter.__new__


def _has_classes(args: Any, kwargs: Any) -> bool:
    return (args[1] if len(args) > 1 else kwargs.get("num_classes", -1)) >= 0


def _has_tensors(args: Any, kwargs: Any) -> bool:
    data = args[0] if args else kwargs.get("data")
    return isinstance(data, list | tuple) and any(isinstance(one, Tensor) or _has_tensors((one,), {}) for one in data)


def _has_one_number(args: Any, _kwargs: Any) -> bool:
    items = args[1] if isinstance(args[1], tuple) else (args[1],)
    tensors = [item for item in items if isinstance(item, Tensor)]
    kinds = int | slice | Tensor | type(Ellipsis) | None
    simple = all(isinstance(item, kinds) and not isinstance(item, bool) for item in items)
    integers = torch.int64, torch.int32, torch.int16, torch.int8
    return simple and len(tensors) == 1 and not tensors[0].dim() and tensors[0].dtype in integers


def _stacked(data: Any) -> Tensor:
    if isinstance(data, list | tuple):
        parts = [_stacked(one) for one in data]
        types = [part.dtype for part in parts]
        common = types[0]
        for one in types[1:]:
            common = torch.promote_types(common, one)
        return torch.stack([part.to(common) for part in parts])
    return data.reshape(()) if isinstance(data, Tensor) else torch.tensor(data)  # [x] counts as a number, as in torch


EQUIVALENTS: dict[Any, tuple[Callable[[Any, Any], bool], Callable[..., Tensor]]] = {
    F.one_hot: (_has_classes, one_hot),
    Tensor.__getitem__: (_has_one_number, element),
    torch.tensor: (_has_tensors, tensor_of),
}
"""By function of torch: for which arguments it has an equivalent, and that."""
