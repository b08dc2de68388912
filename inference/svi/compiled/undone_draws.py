"""Draws after which a program puts the random state back: a plain step has as good as not made them, nor may its graph.

An energy view runs a program so, to see of which sites it is made.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from ...compiler.torch_internals import tracer
from .traceable import NotTraceable
from .writes import written

__all__ = ["leave_out_undone_draws", "noting_undone_draws"]

UNDONE = "undone"


@contextmanager
def noting_undone_draws() -> Iterator[None]:
    """A block in which a trace notes, of each node, whether the random state was afterwards what it was before it."""
    get, put = torch.get_rng_state, torch.set_rng_state
    places: dict[int, tuple[Tensor, Node]] = {}

    def noting_get() -> Tensor:
        state, graph = get(), _graph()
        if graph is not None:
            places[id(state)] = state, next(iter(reversed(graph.nodes)))  # the state is held, that its id stays its own
        return state

    def noting_put(state: Tensor) -> None:
        put(state)
        if _graph() is not None and id(state) in places:
            node = places[id(state)][1].next
            while node.op != "root":
                node.meta[UNDONE] = True
                node = node.next

    with patch.object(torch, "get_rng_state", noting_get), patch.object(torch, "set_rng_state", noting_put):
        yield


def leave_out_undone_draws(module: GraphModule, randoms: set[Node]) -> None:
    """Erase, of what was noted, the draws and what only they are for.

    The state of torch's own generator on the CPU is what was put back: draws of others stay.

    Args:
        module: the traced graph.
        randoms: the nodes that draw.

    Raises:
        NotTraceable: something that is not undone goes by such a draw.
    """
    for node in [node for node in randoms if node.kwargs.get("generator") is not None or not _is_on_cpu(node)]:
        node.meta.pop(UNDONE, None)
    for node in reversed(list(module.graph.nodes)):
        if UNDONE in node.meta and not node.users and not _writes_elsewhere(node):
            module.graph.erase_node(node)
            randoms.discard(node)
    if any(UNDONE in node.meta for node in randoms):
        raise NotTraceable("the program goes on with what it drew before it put the random state back")


def _is_on_cpu(node: Node) -> bool:
    value = node.meta["val"]
    return value.device.type == "cpu"


def _writes_elsewhere(node: Node) -> bool:
    """Into what was not made since: that is not undone."""
    return any(target.op != "call_function" or UNDONE not in target.meta for target in written(node))


def _graph() -> Graph | None:
    tracing = tracer()
    return None if tracing is None else tracing.graph
