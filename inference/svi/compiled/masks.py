"""Elements under a mask: how many they are is no shape that a graph could have, unless the mask is always the same."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from .fixed_values import add_fixed, fixed_value
from .rewriting import graph_pass, substitute

__all__ = ["choose_by_mask", "fix_masks"]

aten = torch.ops.aten
INDEXING = aten.index.Tensor, aten.index_put.default, aten.index_put_.default


@graph_pass
def fix_masks(module: GraphModule) -> int:
    """Write a mask that depends on no input, as that of a matrix's lower half, as the places of its elements.

    Gives how many were rewritten.
    """
    graph, count = module.graph, 0
    for node in [node for node in graph.nodes if node.target in INDEXING]:
        places: list[Any] = []
        for index in node.args[1]:
            mask = _constant_mask(module, index)
            if mask is None:
                places.append(index)
                continue
            for axis, place in enumerate(mask.nonzero(as_tuple=True)):
                with graph.inserting_before(node):
                    places.append(add_fixed(module, f"_place_{count}_{axis}", place))
            count += 1
        node.update_arg(1, places)
    return count


@graph_pass
def choose_by_mask(module: GraphModule) -> int:
    """Write an assignment to the elements under a mask as a choice for each element, where that is what it is.

    Of ``target[mask] = values`` the values are elements under the same mask, or the same number for all. Gives how many
    were rewritten.
    """
    graph, count = module.graph, 0
    for node in [node for node in graph.nodes if node.target is aten.index_put.default]:
        with graph.inserting_before(node):
            result = _choice(graph, *node.args)
        if result is not None:
            substitute(node, result)
            count += 1
    return count


def _constant_mask(module: GraphModule, index: Any) -> Tensor | None:
    return fixed_value(module, index) if isinstance(index, Node) and _is_mask(index) else None


def _choice(graph: Graph, target: Node, indices: list[Any], values: Node, accumulate: bool = False) -> Node | None:
    shape = _shape(target)
    if len(indices) != 1 or not isinstance(indices[0], Node) or not _is_mask(indices[0]) or _shape(indices[0]) != shape:
        return None
    mask, options = indices[0], {"dtype": target.meta["val"].dtype, "device": target.meta["val"].device}
    if values.target is aten.index.Tensor and values.args[1] == [mask] and _shape(values.args[0]) == shape:
        values = values.all_input_nodes[0]
    elif (number := _uniform(values)) is not None:  # of as many as there were when it was traced
        values = graph.call_function(aten.full.default, ([], number), options)
    elif _shape(values) != ():
        return None
    if not accumulate:
        return graph.call_function(aten.where.self, (mask, values, target))
    zero = graph.call_function(aten.full.default, ([], 0), options)
    return graph.call_function(aten.add.Tensor, (target, graph.call_function(aten.where.self, (mask, values, zero))))


def _uniform(node: Node) -> Any:
    if node.target is aten.full.default:
        return node.args[1]
    return 0 if node.target is aten.zeros.default else 1 if node.target is aten.ones.default else None


def _is_mask(node: Node) -> bool:
    return node.meta["val"].dtype == torch.bool


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)
