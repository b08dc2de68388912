"""What every pass over a graph has in common: one node takes another's place, and the graph is left in order."""

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec

import torch
from torch.fx import GraphModule, Node

__all__ = ["graph_pass", "set_in_order", "substitute"]

P = ParamSpec("P")


def graph_pass(
    rewrite: Callable[Concatenate[GraphModule, P], int],
) -> Callable[Concatenate[GraphModule, P], int]:
    """For a function that rewrites a graph and gives the number of places: where there are any, sets it in order."""

    @functools.wraps(rewrite)
    def run(module: GraphModule, /, *args: P.args, **kwargs: P.kwargs) -> int:
        count = rewrite(module, *args, **kwargs)
        if count:
            set_in_order(module)
        return count

    return run


def set_in_order(module: GraphModule) -> None:
    """Leave out what nobody uses, check the graph, and make its code anew."""
    module.graph.eliminate_dead_code(_has_effect)
    module.graph.lint()
    module.recompile()


def substitute(node: Node, by: Node) -> None:
    """Let a node made for it take a node's place and its meta data."""
    by.meta = dict(node.meta)
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def _has_effect(node: Node) -> bool:
    """It writes, draws, or gives nothing, as a check does that can fail; of the last two, older versions of torch take
    no account.
    """
    if node.is_impure() or not isinstance(node.target, torch._ops.OpOverload):
        return node.is_impure()
    return not node.target._schema.returns or torch.Tag.nondeterministic_seeded in node.target.tags
