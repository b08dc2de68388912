"""Tensors of a graph that are the same at every run, as a range or a literal of the program's source."""

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from .writes import written

__all__ = ["add_fixed", "fixed_value"]

aten = torch.ops.aten
FIXED = "fixed"


def add_fixed(module: GraphModule, name: str, value: Tensor) -> Node:
    """A tensor that nobody writes to, as a node of the graph where something is being inserted."""
    module.register_buffer(name, value.clone())  # it may be a part of another
    node = module.graph.get_attr(name)
    node.meta = {FIXED: True, "val": value}
    return node


def fixed_value(module: GraphModule, node: Node) -> Tensor | None:
    """The value of a node that depends on no input, no draw and no tensor that others may write to; else None."""
    needed, waiting = set[Node](), [node]
    while waiting:
        source = waiting.pop()
        if source.op == "placeholder" or torch.Tag.nondeterministic_seeded in getattr(source.target, "tags", ()):
            return None
        if source.op == "get_attr" and not _is_own(source):
            return None  # data of the program, which may be changed in place
        needed.add(source)
        waiting.extend(source.all_input_nodes)
    if any(needed & set(written(other)) for other in module.graph.nodes if other not in needed):
        return None
    run = Interpreter(module)
    for source in module.graph.nodes:
        if source in needed:
            run.env[source] = run.run_node(source)
    return run.env[node]


def _is_own(node: Node) -> bool:
    """A literal, of which the program has copies alone, or what a pass has made."""
    return FIXED in node.meta or all(user.target is aten.lift_fresh_copy.default for user in node.users)
