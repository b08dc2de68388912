"""Who takes the matrix products of a graph: torch's own library, oneDNN (which comes with torch), or bfloat16 units.

On some processors oneDNN multiplies float32 matrices twice as fast as the library that torch is built on, and torch has
no setting for it.
"""

import functools
import time
from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from ..bfloat16 import convolution, convolution_backward
from .rewriting import graph_pass, substitute

__all__ = ["Products", "faster_products", "take_products"]

Products = Literal["torch", "onednn", "bf16"]

aten = torch.ops.aten
SIZE = 384
"""Of the square matrices by which libraries are compared."""
BETTER = 1.15
"""By this factor oneDNN has to be faster."""
LEAST = 100_000
"""Multiplications below which a call costs more than the library matters."""
ROUNDED_CONVOLUTIONS = {
    aten.convolution.default: convolution,
    aten.convolution_backward.default: convolution_backward,
}


def _by_onednn(a: Tensor, b: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(_dense(a), _dense(b).t(), None, "none", [], "")


def _dense(matrix: Tensor) -> Tensor:
    """Without gaps or repeats between its numbers: others oneDNN takes a hundred times as long for."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


def _shape(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[1])


_LIBRARY = torch.library.Library("pyrometer", "DEF")
_LIBRARY.define("product(Tensor a, Tensor b) -> Tensor")
_LIBRARY.impl("product", _by_onednn, "CPU")
_LIBRARY._register_fake("product", _shape)


@functools.cache
def faster_products() -> Products:
    """Whether torch's own library or oneDNN multiplies matrices faster here; measured once in a process."""
    if not torch.backends.mkldnn.is_available():
        return "torch"
    a, b = (torch.linspace(0.0, 1.0, SIZE * SIZE, device="cpu").reshape(SIZE, SIZE) for _ in range(2))
    own, other = (_seconds(product, a, b) for product in (torch.mm, torch.ops.pyrometer.product.default))
    return "onednn" if other * BETTER < own else "torch"


@graph_pass
def take_products(module: GraphModule, products: Products) -> int:
    """Let the products of float32 matrices on the processor be taken in this way; gives how many were changed.

    In bfloat16 convolutions are products as well.

    Shapes and types are read from the meta data of the nodes.
    """
    graph, count = module.graph, 0
    rounded = dict[Node, Node]()
    for node in list(graph.nodes) if products != "torch" else []:
        if products == "bf16" and node.target in ROUNDED_CONVOLUTIONS and _is_single(node.args[0]):
            node.target = ROUNDED_CONVOLUTIONS[node.target]
            count += 1
            continue
        if node.target not in (aten.mm.default, aten.addmm.default) or node.kwargs or not _is_large(node):
            continue
        *summand, a, b = node.args
        with graph.inserting_before(node):
            result = _bf16(graph, a, b, rounded) if products == "bf16" else _onednn(graph, a, b)
            for term in summand:
                result = graph.call_function(aten.add.Tensor, (result, term))
        substitute(node, result)
        count += 1
    return count


def _onednn(graph: Graph, a: Any, b: Any) -> Node:
    return graph.call_function(torch.ops.pyrometer.product.default, (a, b))


def _bf16(graph: Graph, a: Any, b: Any, rounded: dict[Node, Node]) -> Node:
    product = graph.call_function(aten.mm.default, (_rounded(graph, a, rounded), _rounded(graph, b, rounded)))
    return graph.call_function(aten._to_copy.default, (product,), {"dtype": torch.float32})


def _rounded(graph: Graph, node: Node, done: dict[Node, Node]) -> Node:
    """The node in bfloat16, rounded once, also where it is needed transposed."""
    if node not in done:
        if node.target is aten.t.default:
            done[node] = graph.call_function(aten.t.default, (_rounded(graph, node.all_input_nodes[0], done),))
        else:
            done[node] = graph.call_function(aten._to_copy.default, (node,), {"dtype": torch.bfloat16})
    return done[node]


def _is_single(node: Any) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype == torch.float32 and value.device.type == "cpu"


def _is_large(node: Node) -> bool:
    value, factor = node.meta.get("val"), node.all_input_nodes[-1].meta.get("val")
    if not isinstance(value, Tensor) or not isinstance(factor, Tensor):
        return False
    suits = value.dtype == torch.float32 and value.device.type == "cpu"
    return suits and value.numel() * factor.shape[0] >= LEAST


def _seconds(product: Any, a: Tensor, b: Tensor) -> float:
    times = []
    for _ in range(7):
        began = time.perf_counter()
        product(a, b)
        times.append(time.perf_counter() - began)
    return sorted(times)[3]
