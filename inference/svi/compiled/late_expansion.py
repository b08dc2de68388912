"""What is done element by element to a tensor that has been expanded is done before it is expanded.

A distribution takes the logarithm of its scale after it has been expanded to the plate: for a scale that all data share
that is once for each of them, in the gradient too.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from .rewriting import graph_pass, substitute
from .writes import outcome, written

__all__ = ["expand_late"]

aten = torch.ops.aten


@graph_pass
def expand_late(module: GraphModule) -> int:
    """Move such operations before the expansions of their arguments; gives how many were moved.

    Numbers stay the same, bit by bit. Shapes and types are read from the meta data of the nodes.
    """
    graph, count = module.graph, 0
    changed = {target for node in graph.nodes for target in written(node)}
    for node in list(graph.nodes):
        value = node.meta.get("val")
        if node in changed or not _is_by_element(node) or not isinstance(value, Tensor):
            continue
        arguments = torch.fx.map_arg(node.args, _unexpanded)
        if _numel(arguments) >= value.numel():
            continue
        result = outcome(node.target, node, arguments)
        if result is None or result.dtype != value.dtype:
            continue  # a tensor of no dimension counts less where types differ
        with graph.inserting_before(node):
            small = graph.call_function(node.target, arguments, node.kwargs)
            large = graph.call_function(aten.expand.default, (small, list(value.shape)))
        small.meta = {"val": result}
        substitute(node, large)
        count += 1
    return count


def _is_by_element(node: Node) -> bool:
    target: Any = node.target
    if not isinstance(target, torch._ops.OpOverload) or target._schema.is_mutable or node.kwargs:
        return False
    return torch.Tag.pointwise in target.tags


def _unexpanded(node: Node) -> Node:
    while node.target is aten.expand.default:
        node = node.all_input_nodes[0]
    return node


def _numel(arguments: Any) -> int:
    """Of the arguments together, where they are broadcast; where there is none no number is small enough."""
    shapes = [node.meta["val"].shape for node in arguments if isinstance(node, Node)]
    return math.prod(torch.broadcast_shapes(*shapes)) if shapes else 2**63
