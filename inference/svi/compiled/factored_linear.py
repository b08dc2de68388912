r"""A linear layer of concatenated parts, some of them the same for many rows:  [a, b] W = a W_a + b W_b.

Where a digit is enumerated, its one-hot code meets the style of every image, and the layer multiplies out as many rows
as there are pairs. The parts by themselves have as many as there are digits, and as there are images.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.fx import Graph, GraphModule, Node

from .rewriting import graph_pass, substitute

__all__ = ["factor_linear"]

aten = torch.ops.aten
WORTHWHILE = 0.6
"""The part of the multiplications that may be left, at most, for a layer to be rewritten."""


class _Part(NamedTuple):
    """A part before it was expanded: its shape has ones where it was."""

    node: Node
    shape: tuple[int, ...]

    @property
    def rows(self) -> int:
        return math.prod(self.shape[:-1])


@graph_pass
def factor_linear(module: GraphModule) -> int:
    """Rewrite such layers, forwards and in the gradient of the weight; gives how many products were.

    The algebra is exact; sums are taken in another order. Shapes are read from the meta data that tracing leaves.
    """
    graph, count = module.graph, 0
    for flat in list(graph.nodes):
        found = _concatenation(flat)
        if found is None:
            continue
        parts, shape = found
        for user in list(flat.users):
            count += _rewrite(graph, user, flat, parts, shape)
    return count


def _concatenation(flat: Node) -> tuple[list[_Part], tuple[int, ...]] | None:
    """The parts of a concatenation along the last axis that is flattened to a matrix, if they were expanded enough."""
    if flat.target not in (aten.view.default, aten._unsafe_view.default, aten.reshape.default):
        return None
    whole = flat.all_input_nodes[0]
    if whole.target is not aten.cat.default or _shape(flat)[1:] != _shape(whole)[-1:]:
        return None
    shape, arguments = _shape(whole), [*whole.args, 0]
    parts: Any = arguments[0]
    if arguments[1] not in (-1, len(shape) - 1):
        return None
    parts = [_unexpanded(node) for node in parts]
    multiplied = sum(part.rows * part.shape[-1] for part in parts)
    return (parts, shape) if multiplied <= WORTHWHILE * math.prod(shape) else None


def _unexpanded(node: Node) -> _Part:
    rank, source = len(_shape(node)), node
    while source.target is aten.expand.default:
        source = source.all_input_nodes[0]
    shape = _shape(source)
    return _Part(source, (*[1] * (rank - len(shape)), *shape))


def _rewrite(graph: Graph, user: Node, flat: Node, parts: Sequence[_Part], shape: tuple[int, ...]) -> int:
    arguments: Any = user.args
    with graph.inserting_before(user):
        if user.target is aten.addmm.default and arguments[1] is flat and not user.kwargs:
            result = _product(graph, arguments[2], parts, shape, bias=arguments[0])
        elif user.target is aten.mm.default and arguments[0] is flat:
            result = _product(graph, arguments[1], parts, shape, bias=None)
        elif user.target is aten.mm.default and arguments[1] is flat:
            result = _weight_gradient(graph, arguments[0], parts, shape)
        else:
            return 0
    substitute(user, result)
    return 1


def _product(graph: Graph, weight: Node, parts: Sequence[_Part], shape: tuple[int, ...], bias: Node | None) -> Node:
    """[a, b, ...] W, (rows, O), as the sum of a W_a, b W_b, ... with the bias."""
    outputs, start = _shape(weight)[1], 0
    terms = []
    for part in parts:
        stop = start + part.shape[-1]
        rows = graph.call_function(aten.reshape.default, (part.node, [part.rows, part.shape[-1]]))
        columns = graph.call_function(aten.slice.Tensor, (weight, 0, start, stop))
        product = graph.call_function(aten.mm.default, (rows, columns))
        terms.append(graph.call_function(aten.view.default, (product, [*part.shape[:-1], outputs])))
        start = stop
    if bias is not None:
        # To the part with the fewest rows, so that the bias is added seldom.
        least = min(range(len(parts)), key=lambda index: parts[index].rows)
        terms[least] = graph.call_function(aten.add.Tensor, (terms[least], bias))
    total = terms[0]
    for term in terms[1:]:
        total = graph.call_function(aten.add.Tensor, (total, term))
    expanded = graph.call_function(aten.expand.default, (total, [*shape[:-1], outputs]))
    return graph.call_function(aten.reshape.default, (expanded, [math.prod(shape[:-1]), outputs]))


def _weight_gradient(graph: Graph, gradient: Node, parts: Sequence[_Part], shape: tuple[int, ...]) -> Node:
    """G [a, b, ...], (O, inputs), from G (O, rows) summed over the rows for which a part is the same."""
    outputs = _shape(gradient)[0]
    spread = graph.call_function(aten.reshape.default, (gradient, [outputs, *shape[:-1]]))
    products = []
    for part in parts:
        same = [1 + axis for axis, size in enumerate(part.shape[:-1]) if size == 1 and shape[axis] != 1]
        summed = graph.call_function(aten.sum.dim_IntList, (spread, same, True)) if same else spread
        summed = graph.call_function(aten.reshape.default, (summed, [outputs, part.rows]))
        rows = graph.call_function(aten.reshape.default, (part.node, [part.rows, part.shape[-1]]))
        products.append(graph.call_function(aten.mm.default, (summed, rows)))
    return graph.call_function(aten.cat.default, (products, 1))


def _shape(node: Node) -> tuple[int, ...]:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()
