"""Which arguments of a program are its data, and the same arguments with other data in their place."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .vectorize import Program

__all__ = ["DataArguments", "arguments_by_name"]


class _Place(NamedTuple):
    """Where a site's data are: an argument as a whole (``start`` None), or the part of it that is a view from there."""

    argument: Tensor
    own: Tensor
    start: int | None


class DataArguments:
    """The arguments that a program observes.

    For each site that is the argument, or the tensor inside an argument, that is its value; else that which its value
    is a view of, such as ``y[:, t]``; else that which equals it, whatever its shape; else that named as the site.

    Args:
        program: a program as called.
        sites: its observed sites.

    Raises:
        ValueError: naming the site whose data are no argument, or more than one.
    """

    def __init__(self, program: Program, sites: list[str]) -> None:
        self.call = program.call
        found = list(_named_tensors(arguments_by_name(program)))
        self.places = {name: _place(name, program.structure.observed[name], found) for name in sites}

    @torch.no_grad()
    def with_data(self, data: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> tuple[tuple, dict[str, Any]]:
        """The arguments with other data in the place of their own, each site's as large as its own, where ``seen``."""
        new: dict[int, Tensor] = {}
        for name, (argument, own, start) in self.places.items():
            copied = new.setdefault(id(argument), argument.clone())
            part = copied if start is None else copied.as_strided(own.shape, own.stride(), start)
            value, where = data[name].reshape(part.shape), seen[name].reshape(part.shape)
            part.copy_(torch.where(where, value, part))
        args, kwargs = (_replaced(value, new) for value in self.call)
        return args, kwargs


def arguments_by_name(program: Program) -> Mapping[str, Any]:
    """What a program is called with, as far as its signature tells names; else ``args`` is all that have none."""
    called: Any = program.callable
    try:
        return (
            inspect.signature(called.forward if isinstance(called, nn.Module) else called)
            .bind(*program.args, **program.kwargs)
            .arguments
        )
    except (TypeError, ValueError):  # some callables have no signature, and wrapped ones may tell a wrong one
        return {"args": program.args, **program.kwargs}


def _named_tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors inside dicts, lists and tuples, each with the last name on the way to it."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _named_tensors(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _named_tensors(item, name)


def _place(site: str, own: Tensor, found: list[tuple[str, Tensor]]) -> _Place:
    if any(value is own for _, value in found):
        return _Place(own, own, None)
    viewed = {id(value): value for _, value in found if _start(own, value) is not None}
    if len(viewed) == 1:
        (argument,) = viewed.values()
        return _Place(argument, own, _start(own, argument))
    alike = {id(value): (name, value) for name, value in found if _same_elements(value, own)}
    named = {id(value): (name, value) for name, value in found if name == site and value.numel() == own.numel()}
    for candidates in (alike, named):
        if len(candidates) == 1:
            ((_, argument),) = candidates.values()
            return _Place(argument, own, None)
    if len(alike) > 1:
        names = sorted(name for name, _ in alike.values())
        raise ValueError(
            f"the arguments {names} all equal the data of the observed site {site!r}, so that simulated data could go "
            f"in the place of any; bind data that differ, or name the argument as the site."
        )
    raise ValueError(
        f"the data of the observed site {site!r} are no argument of the program, so that a guide cannot be given "
        f"simulated ones; make them one that the site observes as it is, as in def model(y) with obs=y."
    )


def _start(own: Tensor, argument: Tensor) -> int | None:
    """From which element on a site's data are a view of the argument; None where they are not."""
    same = own.device == argument.device and own.dtype == argument.dtype and argument.is_contiguous()
    if not same or own.untyped_storage().data_ptr() != argument.untyped_storage().data_ptr() or not own.numel():
        return None
    start = int(own.storage_offset()) - int(argument.storage_offset())
    last = start + sum((size - 1) * stride for size, stride in zip(own.shape, own.stride(), strict=True))
    return start if start >= 0 and last < argument.numel() else None


def _same_elements(value: Tensor, own: Tensor) -> bool:
    if value.numel() != own.numel() or value.device != own.device:
        return False
    ours, theirs = value.flatten(), own.flatten()
    return bool(((ours == theirs) | ((ours != ours) & (theirs != theirs))).all())


def _replaced(value: Any, new: Mapping[int, Tensor]) -> Any:
    """The same dicts, lists and tuples with other tensors."""
    if isinstance(value, Tensor):
        return new.get(id(value), value)
    if isinstance(value, dict):
        return {key: _replaced(item, new) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_replaced(item, new) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
