"""Errors that linear algebra raises become NaN in a graph, which cannot raise them; the loop then says what failed."""

import math
from typing import Any

import torch
from torch.fx import GraphModule, Node

from .rewriting import graph_pass

__all__ = ["check_by_nan"]

aten = torch.ops.aten


@graph_pass
def check_by_nan(module: GraphModule) -> int:
    """Let a factorisation that fails give NaN, as of a matrix that is not positive definite; gives how many there are.

    Without the check that follows it, it would give numbers that mean nothing.
    """
    graph, count = module.graph, 0
    for node in [node for node in graph.nodes if node.target is aten._linalg_check_errors.default]:
        info = node.all_input_nodes[0]
        parts = [part for part in info.all_input_nodes[0].users if part.args[1] == 0]  # the factor
        with graph.inserting_before(node):
            failed = graph.call_function(aten.ne.Scalar, (info, 0))
            for _ in range(2):  # one number for each matrix
                failed = graph.call_function(aten.unsqueeze.default, (failed, -1))
            for part in parts:
                _mark(part, failed)
        graph.erase_node(node)
        count += 1
    return count


def _mark(factor: Node, failed: Node) -> None:
    graph, value = factor.graph, factor.meta["val"]
    options: Any = {"dtype": value.dtype, "device": value.device}
    nan = graph.call_function(aten.full.default, ([], math.nan), options)
    marked = graph.call_function(aten.where.self, (failed, nan, factor))
    marked.meta = dict(factor.meta)
    factor.replace_all_uses_with(marked, lambda user: user is not marked)
