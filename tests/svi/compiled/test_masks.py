"""Elements under a mask: constant masks become places, and assignments choices; in both with the same numbers."""

import pytest
import torch

from pyrometer.inference.svi.compiled.masks import choose_by_mask, fix_masks
from pyrometer.inference.svi.compiled.writes import drop_writes

MATRIX = torch.linspace(-2.0, 3.0, 9).reshape(3, 3)
OTHER = -MATRIX.flip(0)


def lower():
    places = torch.arange(3)
    return places[:, None] > places


def test_a_mask_that_is_always_the_same_becomes_places(graphs):
    graph = graphs.of(lambda x: 2 * x[lower()], MATRIX)
    assert graphs.rewritten(graph, fix_masks, MATRIX) == 1
    (node,) = [node for node in graph.graph.nodes if node.target is torch.ops.aten.index.Tensor]
    assert all(getattr(graph, place.target).dtype == torch.int64 for place in node.args[1])


def test_the_mask_of_an_assignment_does_too(graphs):
    def function(x):
        out = torch.zeros(3, 3)
        out[lower()] = x[lower()] * 2
        return out

    assert graphs.rewritten(graphs.of(function, MATRIX), fix_masks, MATRIX) == 2


def test_a_mask_of_data_stays_a_mask(graphs):
    graph = graphs.of(lambda x: x[x > 0].sum(), MATRIX)
    assert graphs.rewritten(graph, fix_masks, MATRIX) == 0


def test_a_mask_in_a_buffer_stays_one(graphs):
    """It may be changed in place."""
    mask = MATRIX > 0
    graph = graphs.of(lambda x: x[mask].sum(), MATRIX)
    assert graphs.rewritten(graph, fix_masks, MATRIX) == 0


VALUES = {
    "elements": lambda y, mask: y[mask],
    "a number": lambda y, mask: torch.tensor(3.0),  # noqa: ARG005
    "zeros": lambda y, mask: torch.zeros(y[mask].shape),
    "a number for each": lambda y, mask: torch.full(y[mask].shape, -1.5),
}


@pytest.mark.parametrize("name", VALUES)
def test_an_assignment_is_a_choice_for_each_element(graphs, name):
    """Also with other data than it was traced with, of which another number is under the mask."""

    def function(x, y):
        out, mask = x * 2, x > 0.4
        out[mask] = VALUES[name](y, mask)
        return out

    graph = graphs.of(function, MATRIX, OTHER)
    drop_writes(graph)
    assert graphs.rewritten(graph, choose_by_mask, MATRIX, OTHER) == 1
    other = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    assert torch.equal(graph(other, OTHER), function(other, OTHER))


def test_the_gradient_of_a_choice_adds_under_the_mask(graphs):
    def function(x, y):
        mask = x > 0.4
        return x.index_put([mask], y[mask], accumulate=True)

    graph = graphs.of(function, MATRIX, OTHER)
    assert graphs.rewritten(graph, choose_by_mask, MATRIX, OTHER) == 1


def test_values_that_are_another_number_for_each_place_stay(graphs):
    def function(x, y):
        mask = x > 0.4
        return x.index_put([mask], y[mask] * 2)

    assert graphs.rewritten(graphs.of(function, MATRIX, OTHER), choose_by_mask, MATRIX, OTHER) == 0


def test_elements_under_another_mask_stay(graphs):
    def function(x, y):
        return x.index_put([x > 0.0], y[x < 0.0])  # as many

    odd = MATRIX - MATRIX.mean()
    assert graphs.rewritten(graphs.of(function, odd, OTHER), choose_by_mask, odd, OTHER) == 0
