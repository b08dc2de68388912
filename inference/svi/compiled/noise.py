"""Random draws that depend on nothing, moved out of a graph: what is left is a pure function, and can be run in a loop.

The generator is read in the order of the program, so that a seed means the same numbers with and without a graph.
"""

from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from ..random_state import preserved_random_state
from .capture import Capture, is_random
from .rewriting import set_in_order, substitute

__all__ = ["are_small_normals", "hoist_noise", "normal_rows"]

aten = torch.ops.aten
CREATED = {
    *(aten.empty.memory_format, aten.zeros.default, aten.ones.default, aten.full.default, aten.scalar_tensor.default),
}
LIKE = {
    aten.empty_like.default: aten.empty.memory_format,
    aten.zeros_like.default: aten.zeros.default,
    aten.ones_like.default: aten.ones.default,
    aten.rand_like.default: aten.rand.default,
    aten.randn_like.default: aten.randn.default,
}
SMALL = 16
"""From so many numbers on, torch's generator fills a tensor in blocks, and not number by number."""


def hoist_noise(captured: Capture) -> None:
    """Move the draws at the head of the graph that depend on no input into a graph of their own, ``captured.noise``.

    Their results become further inputs. A draw that depends on data, and all after it, stay where they are.
    """
    graph = captured.graph.graph
    _make_creations_plain(graph)
    order = {node: index for index, node in enumerate(graph.nodes)}
    draws: list[tuple[Node, set[Node]]] = []
    for node in graph.nodes:
        if is_random(node):
            sources = _sources(node)
            if sources is None or _is_shared(node, order):
                break
            draws.append((node, sources))
    if not draws:
        return
    noise, copied = Graph(), dict[Node, Node]()
    for node, sources in draws:
        for source in sorted({*sources, node}, key=order.__getitem__):
            if source not in copied:
                copied[source] = noise.node_copy(source, copied.__getitem__)
    noise.output([copied[node] for node, _ in draws])
    last = [node for node in graph.nodes if node.op == "placeholder"][-1:]
    for index, (node, _) in enumerate(draws):
        with graph.inserting_after(last[0]) if last else graph.inserting_before(next(iter(graph.nodes))):
            last = [graph.placeholder(f"noise_{index}")]
        node.replace_all_uses_with(last[0])
        graph.erase_node(node)
    set_in_order(captured.graph)
    captured.noise = GraphModule({}, noise)
    captured.shapes = [node.meta["val"].shape for node, _ in draws]


def normal_rows(steps: int, numbers: int) -> Tensor:
    """Room for the draws of so many steps, (steps, numbers), which ``normal_()`` fills number by number.

    That is how torch draws into fewer than 16 numbers, and into a tensor that is not contiguous, as this one.
    """
    return torch.zeros(steps, numbers, 2, device="cpu")[..., 0]


def are_small_normals(noise: GraphModule) -> bool:
    """The draws of a step are few standard normal numbers: rows of ``normal_rows`` are the same stream.

    It is compared here, bit by bit, over two steps.
    """
    with preserved_random_state():
        torch.manual_seed(0)
        first, second = noise(), noise()
        if any(draw.numel() >= SMALL or draw.dtype != torch.float32 or draw.device.type != "cpu" for draw in first):
            return False
        expected = torch.stack([torch.cat([draw.flatten() for draw in draws]) for draws in (first, second)])
        torch.manual_seed(0)
        return torch.equal(normal_rows(*expected.shape).normal_(), expected)


def _make_creations_plain(graph: Graph) -> None:
    """``zeros_like(data)`` depends on the data's shape alone, which is fixed: say ``zeros(shape)``."""
    for node in list(graph.nodes):
        value = node.meta.get("val")
        if node.target in LIKE and isinstance(value, Tensor) and value.is_contiguous():
            with graph.inserting_before(node):
                plain = graph.call_function(
                    LIKE[node.target], (list(value.shape),), {"dtype": value.dtype, "device": value.device}
                )
            substitute(node, plain)


def _sources(node: Node) -> set[Node] | None:
    """What a draw is made of, if that is constants alone."""
    found: set[Node] = set()
    waiting = list(node.all_input_nodes)
    while waiting:
        source = waiting.pop()
        if source.target not in CREATED:
            return None
        found.add(source)
        waiting.extend(source.all_input_nodes)
    return found


def _is_shared(node: Node, order: dict[Node, int]) -> bool:
    """The draw overwrites a tensor that something before it uses."""
    target: Any = node.target
    if not target._schema.is_mutable:
        return False
    return any(order[user] < order[node] for user in node.all_input_nodes[0].users)
