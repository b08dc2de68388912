"""Operations of a graph that write to a tensor, and how to do without most of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from .rewriting import graph_pass, substitute

__all__ = ["drop_writes", "is_view", "outcome", "written"]

aten = torch.ops.aten


def written(node: Node) -> Node | None:
    """The tensor that an operation writes to, itself and not a view of it; None where it writes to none."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return None
    source = node.all_input_nodes[0]
    while source.op == "call_function" and is_view(source):
        source = source.all_input_nodes[0]
    return source


@graph_pass
def drop_writes(module: GraphModule) -> int:
    """Let operations that write to a tensor of the graph's own, as ``relu_``, give a new one.

    What comes after them reads that. Nothing is changed where the tensor has views, which would read it too. Gives how
    many were changed.
    """
    graph, count = module.graph, 0
    order = {node: index for index, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        target = _own(node)
        operation = None if target is None else _out_of_place(node)
        if target is None or operation is None:
            continue
        with graph.inserting_before(node):
            new = graph.call_function(operation, node.args, node.kwargs)
        order[new] = order[node]
        target.replace_all_uses_with(new, lambda user, at=order[node]: order[user] > at)
        substitute(node, new)
        count += 1
    return count


def _own(node: Node) -> Node | None:
    """The tensor that the operation writes to, if the graph has made it and nothing is a view of it."""
    target = written(node)
    if target is None or target is not node.all_input_nodes[0] or target.op != "call_function":
        return None
    return None if any(is_view(user) and user is not node for user in target.users) else target


def _out_of_place(node: Node) -> Any:
    """The operation that gives what this one writes, in the same type and shape; None where there is none."""
    target: Any = node.target
    packet = getattr(aten, target._opname.removesuffix("_"), None) if target._opname.endswith("_") else None
    operation = getattr(packet, target._overloadname, None)
    if operation is None or torch.Tag.nondeterministic_seeded in operation.tags:
        return None
    result, own = outcome(operation, node), node.all_input_nodes[0].meta.get("val")
    same = result is not None and isinstance(own, Tensor) and (result.dtype, result.shape) == (own.dtype, own.shape)
    return operation if same else None


def outcome(operation: Any, node: Node, arguments: Sequence[Any] | None = None) -> Tensor | None:
    """What another operation would give with a node's arguments, or with others, without numbers; None if it cannot."""
    try:
        given = torch.fx.map_arg(node.args if arguments is None else tuple(arguments), _without_numbers)
        return operation(*given, **torch.fx.map_arg(node.kwargs, _without_numbers))
    except NotImplementedError:
        return None


def _without_numbers(node: Node) -> Any:
    value = node.meta.get("val")
    return torch.empty(value.shape, dtype=value.dtype, device="meta") if isinstance(value, Tensor) else value


def is_view(node: Node) -> bool:
    """The operation gives another look at a tensor, and not a tensor of its own."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or schema.is_mutable:
        return False
    return any(result.alias_info is not None for result in schema.returns)
