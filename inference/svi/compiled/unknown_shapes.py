"""Results as large as the values of a tensor say, as ``x[mask]``: no graph of fixed shapes has them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.fx import GraphModule, Node

from ...compiler.torch_internals import tracer
from .user_line import user_line

__all__ = ["noted_places", "unknown_shape"]

aten = torch.ops.aten
PLACE = "place"
REMEDIES: dict[Any, str] = {
    aten.index.Tensor: "write torch.where(mask, x, 0.0), or mask the site by poutine.mask",
    aten.masked_select.default: "write torch.where(mask, x, 0.0), or mask the site by poutine.mask",
    aten.bincount.default: "write torch.nn.functional.one_hot(x, classes).sum(0)",
    aten.repeat_interleave.Tensor: "index by places that are computed once, before the training",
    aten._pack_padded_sequence.default: "give the network padded sequences, and mask the sites by poutine.mask",
}


@contextmanager
def noted_places() -> Iterator[None]:
    """A block of one function of torch: its operations whose shape may hang on values note the user's line."""
    tracing = tracer()
    before = None if tracing is None else next(iter(reversed(tracing.graph.nodes)), None)
    yield
    if tracing is None:
        return
    for node in reversed(tracing.graph.nodes):
        if node is before:
            break
        if _may_be_unknown(node):
            node.meta[PLACE] = user_line()


def unknown_shape(module: GraphModule) -> str:
    """What in a graph has such a shape, in a sentence; empty where nothing has."""
    for node in module.graph.nodes:
        if _may_be_unknown(node):
            name = "a mask in []" if node.target is aten.index.Tensor else node.target._opname.strip("_")
            remedy = REMEDIES.get(node.target, "write it with results of a fixed shape, as torch.where(mask, x, 0.0)")
            place = node.meta.get(PLACE, "the program")
            return f"{place} makes a tensor whose shape depends on the values of another (by {name}): {remedy}"
    return ""


def _may_be_unknown(node: Node) -> bool:
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    if node.target is aten.index.Tensor:
        indices: Any = node.args[1]
        return any(isinstance(index, Node) and index.meta["val"].dtype == torch.bool for index in indices)
    return node.target in REMEDIES or torch.Tag.dynamic_output_shape in node.target.tags
