"""Sums into places of a tensor are taken by torch's own operation in compiled code too, and not by its compiler.

The code that torch's compiler makes of ``index_put(accumulate=True)`` for several threads counts an inner index twice
where the values are transposed, and writes behind the end of the tensor. The gradient of ``weight[category]`` is such a
sum. Most operations that have one inside the compiler writes in terms of others only when it has the graph, so that
what looks for them here is a pass of its own, over its graph as it is last, those of loops inside included.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

__all__ = ["compiler_options", "leave_to_torch"]

aten = torch.ops.aten


def _accumulated(into: Tensor, places: list[Tensor | None], values: Tensor) -> Tensor:
    return aten.index_put.default(into, places, values, True)


_LIBRARY = torch.library.Library("pyrometer", "FRAGMENT")
_LIBRARY.define("accumulated(Tensor into, Tensor?[] places, Tensor values) -> Tensor")
_LIBRARY.impl("accumulated", _accumulated, "CPU")
_LIBRARY._register_fake("accumulated", _accumulated)


def compiler_options() -> dict[str, Any]:
    """Options of torch's compiler under which no sum into places of a tensor on the CPU is its own."""
    # Here, since these modules take seconds to import, and whoever compiles nothing does without.
    from torch._inductor import config
    from torch._inductor.custom_graph_pass import get_custom_graph_passes

    own = _pass()
    others = [one for one in get_custom_graph_passes(config.post_grad_custom_post_pass) if one is not own]
    # The second keeps scatter_add and its kind with torch for more than one thread; a user may have switched it off.
    return {"post_grad_custom_post_pass": [*others, own], "cpp.fallback_scatter_reduce_sum": True}


def leave_to_torch(graph: Graph) -> int:
    """Let torch's own operation take the sums of a compiler's graph; gives how many there were.

    Args:
        graph: without operations that write in place, as a compiler has it, with the meta data of its results.
    """
    count = 0
    for node in list(graph.nodes):
        rewrite = _RULES.get(node.target)
        if rewrite is None or node.meta["val"].device.type != "cpu":
            continue
        names = [argument.name for argument in node.target._schema.arguments]
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        with graph.inserting_before(node):
            result = rewrite(graph, *given.values())
        if result is not None:
            result.meta = dict(node.meta)
            node.replace_all_uses_with(result)
            graph.erase_node(node)
            count += 1
    return count


def _plain(graph: Graph, into: Node, places: list[Any], values: Node, accumulate: bool = False) -> Node | None:
    if not accumulate:
        return None
    return graph.call_function(torch.ops.pyrometer.accumulated.default, (into, places, values))


def _masked(graph: Graph, into: Node, mask: Node, places: list[Any], values: Node) -> Node:
    """Of values under a mask; places that are not under it may be anywhere, and get zero."""
    value, shape = values.meta["val"], into.meta["val"].shape
    zero = graph.call_function(aten.full.default, ([], 0), {"dtype": value.dtype, "device": value.device})
    chosen = graph.call_function(aten.where.self, (mask, values, zero))
    clamped = [
        None if place is None else _clamped(graph, place, size) for place, size in zip(places, shape, strict=False)
    ]
    return graph.call_function(torch.ops.pyrometer.accumulated.default, (into, clamped, chosen))


def _clamped(graph: Graph, place: Node, size: int) -> Node:
    value = place.meta["val"]
    options: Any = {"dtype": value.dtype, "device": value.device}
    least, most = (graph.call_function(aten.full.default, ([], bound), options) for bound in (-size, size - 1))
    return graph.call_function(aten.maximum.default, (graph.call_function(aten.minimum.default, (place, most)), least))


_RULES: dict[Any, Callable[..., Node | None]] = {
    aten.index_put.default: _plain,
    aten._unsafe_index_put.default: _plain,
    aten._unsafe_masked_index_put_accumulate.default: _masked,
}
"""All that a compiler's graph has of this kind: scatter_add, scatter_reduce and others it calls torch for itself."""


@functools.cache
def _pass() -> Any:
    """The pass, once in a process, with the way in which compiled code calls torch: without Python."""
    from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
    from torch._inductor.lowering import fallback_handler, register_lowering

    @register_lowering(torch.ops.pyrometer.accumulated.default, type_promotion_kind=None)
    def lowered(into: Any, places: list[Any], values: Any) -> Any:
        return fallback_handler(aten.index_put.default, add_to_fallback_set=False)(into, places, values, True)

    class Pass(CustomGraphPass):
        def __call__(self, graph: Graph) -> None:
            leave_to_torch(graph)

        def uuid(self) -> bytes:
            return get_hash_for_files((__file__,))  # compiled code that is kept on disk is that of this very file

    return Pass()
