"""Operations of a graph that write to a tensor, and how to do without most of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.utils._pytree import tree_leaves

from .rewriting import graph_pass, substitute

__all__ = ["drop_writes", "is_alias", "outcome", "written"]

aten = torch.ops.aten


def written(node: Node) -> list[Node]:
    """The tensors that an operation writes to, each itself and under no other name."""
    if node.target is aten.native_batch_norm.default:
        in_training = node.args[5]
        return [_itself(one) for one in node.args[3:5] if in_training and isinstance(one, Node)]  # by no schema's word
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return []
    names = [argument.name for argument in schema.arguments]
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    targets = [given.get(argument.name) for argument in schema.arguments if _is_written(argument)]
    return [_itself(target) for target in tree_leaves(targets) if isinstance(target, Node)]


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _itself(node: Node) -> Node:
    while node.op == "call_function" and is_alias(node):
        node = node.all_input_nodes[0]
    return node


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
    targets = written(node)
    if len(targets) != 1 or targets != node.all_input_nodes[:1] or targets[0].op != "call_function":
        return None
    return None if any(is_alias(user) and user is not node for user in targets[0].users) else targets[0]


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


def is_alias(node: Node) -> bool:
    """The operation gives no tensor of its own: a view of its input, or its input after a change in place."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(result.alias_info is not None for result in schema.returns)
