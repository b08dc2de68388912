"""Operations that a compiler calls out for, in terms of those that it compiles itself, where they are small."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from .rewriting import graph_pass, substitute

__all__ = ["decompose"]

aten = torch.ops.aten
LONGEST = 16
"""Of a cumulated axis that is written out."""


@graph_pass
def decompose(module: GraphModule) -> int:
    """Write inner products as sums, and cumulated sums and products along a short axis term by term.

    A small model spends much of its step in such calls. Gives how many were rewritten.
    """
    graph, count = module.graph, 0
    for node in list(graph.nodes):
        rule = RULES.get(node.target)
        if rule is None:
            continue
        with graph.inserting_before(node):
            result = rule(graph, node)
        if result is not None:
            substitute(node, result)
            count += 1
    return count


def _dot(graph: Graph, node: Node) -> Node:
    product = graph.call_function(aten.mul.Tensor, node.args)
    return graph.call_function(aten.sum.default, (product,))


def _cumulated(operation: Any) -> Callable[[Graph, Node], Node | None]:
    def rule(graph: Graph, node: Node) -> Node | None:
        source, dim = node.all_input_nodes[0], node.args[1]
        value = source.meta.get("val")
        if not isinstance(value, Tensor) or not isinstance(dim, int) or node.kwargs or not value.dim():
            return None
        if not 1 <= value.shape[dim] <= LONGEST:
            return None
        if not value.is_floating_point():
            source = graph.call_function(aten._to_copy.default, (source,), {"dtype": torch.int64})
        terms = [graph.call_function(aten.slice.Tensor, (source, dim, i, i + 1)) for i in range(value.shape[dim])]
        for index in range(1, len(terms)):
            terms[index] = graph.call_function(operation, (terms[index - 1], terms[index]))
        return graph.call_function(aten.cat.default, (terms, dim))

    return rule


RULES: dict[Any, Callable[[Graph, Node], Node | None]] = {
    aten.dot.default: _dot,
    aten.cumsum.default: _cumulated(aten.add.Tensor),
    aten.cumprod.default: _cumulated(aten.mul.Tensor),
}
