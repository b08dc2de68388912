"""Elements at places that are always the same: a sum into them is an assignment, and a range of them is a slice.

The gradient of ``weight[places]`` is a sum into places, since a place may be there twice. Where places are known when
the program is traced and all different, nothing is to be summed, and code that is compiled can do without.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from .fixed_values import add_fixed, fixed_value
from .rewriting import graph_pass, substitute
from .writes import written

__all__ = ["use_fixed_places"]

aten = torch.ops.aten
CREATED_AS_ZEROS = aten.new_zeros.default, aten.zeros.default, aten.zeros_like.default


@graph_pass
def use_fixed_places(module: GraphModule) -> int:
    """Write reading and summing at fixed places, all different, as what it is; gives how many were rewritten.

    Numbers stay the same, bit by bit, but for the sign of a zero in a gradient.
    """
    graph, count = module.graph, 0
    for node in graph.nodes:
        if node.op == "get_attr":  # of which a trace says nothing
            node.meta.setdefault("val", getattr(module, node.target))
    for node in [node for node in graph.nodes if node.target in (aten.index.Tensor, aten.index_put.default)]:
        if not _is_dense(node) or not _is_dense(node.args[0]):
            continue
        with graph.inserting_before(node):
            if node.target is aten.index.Tensor:
                result = _read(module, *node.args)
            else:
                result = _summed(module, *node.args, **node.kwargs)
        if result is not None:
            substitute(node, result)
            count += 1
    return count


def _read(module: GraphModule, source: Node, places: list[Node | None]) -> Node | None:
    """A range of places along one axis is a slice, as a tensor of its own."""
    part = _range(_along_one_axis(module, source, places))
    return None if part is None else _copied(module.graph, _sliced(module.graph, source, part))


def _summed(
    module: GraphModule, into: Node, places: list[Node | None], values: Node, accumulate: bool = False
) -> Node | None:
    graph, fixed = module.graph, _fixed(module, places) if accumulate else None
    if fixed is None or not _are_different(fixed, into.meta["val"].shape):
        return None
    along = _along_one_axis(module, into, places)
    part, empty = _range(along), _is_empty(into)
    if part is not None:
        axis, bounds = part
        shape = aten.slice.Tensor(into.meta["val"], axis, *bounds).shape
        new = _expanded(graph, values, shape)
        new = new if empty else graph.call_function(aten.add.Tensor, (_sliced(graph, into, part), new))
        return graph.call_function(aten.slice_scatter.default, (into, new, axis, *bounds))
    if along is not None and empty and len(along[1]) == into.meta["val"].shape[along[0]]:
        axis, order = along
        new = _expanded(graph, values, into.meta["val"].shape)
        inverse = add_fixed(module, f"_inverse_{len(list(module.buffers()))}", order.argsort())
        moved = graph.call_function(aten.index.Tensor, (new, [*[None] * axis, inverse]))
        return _copied(graph, moved)
    if not empty:
        own = graph.call_function(aten.index.Tensor, (into, places))
        values = graph.call_function(aten.add.Tensor, (own, values))
    return graph.call_function(aten.index_put.default, (into, places, values))


def _along_one_axis(module: GraphModule, source: Node, places: Sequence[Node | None]) -> tuple[int, Tensor] | None:
    """The axis and its places, counted from the front, where there is one list of them."""
    given = [axis for axis, place in enumerate(places) if place is not None]
    fixed = _fixed(module, places) if len(given) == 1 else None
    if fixed is None:
        return None
    axis, size = given[0], source.meta["val"].shape[given[0]]
    place = fixed[axis]
    assert place is not None
    if place.ndim != 1 or place.numel() == 0 or place.min() < -size or place.max() >= size:
        return None
    return axis, place % size


def _range(along: tuple[int, Tensor] | None) -> tuple[int, tuple[int, int, int]] | None:
    """The axis, start, end and step of places that are in order and equally far from each other."""
    if along is None:
        return None
    axis, places = along
    start, step = int(places[0]), int(places[1] - places[0]) if len(places) > 1 else 1
    end = start + step * (len(places) - 1) + 1
    same = step > 0 and torch.equal(places, torch.arange(start, end, step, dtype=places.dtype, device=places.device))
    return (axis, (start, end, step)) if same else None


def _fixed(module: GraphModule, places: Sequence[Node | None]) -> list[Tensor | None] | None:
    """The values of all places, as far as there are any; None if one is not fixed."""
    found = [None if place is None else fixed_value(module, place) for place in places]
    for place, value in zip(places, found, strict=True):
        if place is not None and (value is None or value.dtype not in (torch.int64, torch.int32)):
            return None
    return found


def _are_different(places: Sequence[Tensor | None], shape: Sequence[int]) -> bool:
    """No element is meant twice."""
    given = [(place % size, size) for place, size in zip(places, shape, strict=False) if place is not None and size]
    if not given:
        return False
    numbers = torch.zeros((), dtype=torch.int64, device=given[0][0].device)
    for place, size in given:
        numbers = numbers * size + place
    return len(numbers.unique()) == numbers.numel()


def _is_empty(node: Node) -> bool:
    """There are zeros in it, and nobody has written to it."""
    return node.target in CREATED_AS_ZEROS and not any(node in written(other) for other in node.graph.nodes)


def _sliced(graph: Graph, source: Node, part: tuple[int, tuple[int, int, int]]) -> Node:
    axis, bounds = part
    return graph.call_function(aten.slice.Tensor, (source, axis, *bounds))


def _expanded(graph: Graph, node: Node, shape: Sequence[int]) -> Node:
    if node.meta["val"].shape == torch.Size(shape):
        return node
    return graph.call_function(aten.expand.default, (node, list(shape)))


def _copied(graph: Graph, node: Node) -> Node:
    return graph.call_function(aten.clone.default, (node,), {"memory_format": torch.contiguous_format})


def _is_dense(node: Any) -> bool:
    """Its numbers are in memory in their order; what takes its place has them so as well."""
    return node.meta["val"].is_contiguous()
