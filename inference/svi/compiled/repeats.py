"""The same operation on the same tensors, which handlers and autograd do again and again, is done once."""

import torch
from torch.fx import GraphModule, Node

from .rewriting import graph_pass
from .writes import is_alias, written

__all__ = ["drop_repeats"]

aten = torch.ops.aten


@graph_pass
def drop_repeats(module: GraphModule) -> int:
    """Let what is computed twice be computed once; gives how many operations were dropped.

    Not dropped are draws, what writes or reads what is written to, and results of the graph, which somebody may change.
    """
    graph, count = module.graph, 0
    changing = _changing(module)
    results = set(graph.output_node().all_input_nodes)
    first: dict[tuple[object, str], Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or node in results or not _is_pure(node):
            continue
        if changing & {node, *node.all_input_nodes}:
            continue
        key = node.target, repr((node.args, node.kwargs))  # in which -0.0 is not 0.0, and 1 not 1.0
        if key in first:
            node.replace_all_uses_with(first[key])
            graph.erase_node(node)
            count += 1
        else:
            first[key] = node
    return count


def _is_pure(node: Node) -> bool:
    tags, schema = getattr(node.target, "tags", None), getattr(node.target, "_schema", None)
    if tags is None or schema is None:  # taking a part of several results, among others
        return node.target.__name__ == "getitem" if callable(node.target) else False
    return not schema.is_mutable and torch.Tag.nondeterministic_seeded not in tags and "empty" not in schema.name


def _changing(module: GraphModule) -> set[Node]:
    """What is written to somewhere, by all its names."""
    found = {target for node in module.graph.nodes for target in written(node)}
    for node in module.graph.nodes:
        if is_alias(node) and found & set(node.all_input_nodes):
            found.add(node)
    return found
