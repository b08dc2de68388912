"""What is done to an expanded tensor is done before: the same numbers, and operations on fewer of them."""

import torch

from pyrometer.inference.svi.compiled.late_expansion import expand_late

SCALE = torch.tensor([0.3, 1.7, 0.9])
DATA = torch.linspace(-2.0, 3.0, 12).reshape(4, 3)


def sizes(graph, name):
    return [node.meta["val"].numel() for node in graph.graph.nodes if str(node.target).startswith(f"aten.{name}.")]


def test_a_chain_of_operations_is_done_on_the_small_tensor(graphs):
    graph = graphs.of(lambda scale: (2 * scale.expand(500, 3).log()).exp().sum(0), SCALE)
    assert graphs.rewritten(graph, expand_late, SCALE) == 3
    assert [sizes(graph, name) for name in ("log", "mul", "exp")] == [[3], [3], [3]]
    assert sizes(graph, "expand") == [1500]


def test_two_expanded_tensors_meet_before_they_are_expanded(graphs):
    graph = graphs.of(lambda scale: scale.expand(4, 3) * scale[:1].expand(4, 3), SCALE)
    assert graphs.rewritten(graph, expand_late, SCALE) == 1
    assert sizes(graph, "mul") == [3]


def test_what_meets_a_tensor_of_full_size_stays(graphs):
    graph = graphs.of(lambda scale, data: data / scale.expand(4, 3), SCALE, DATA)
    assert graphs.rewritten(graph, expand_late, SCALE, DATA) == 0


def test_a_sum_over_an_expanded_axis_stays_a_sum(graphs):
    """It is not done element by element: each number counts four times."""
    graph = graphs.of(lambda scale: scale.expand(4, 3).sum(0), SCALE)
    assert graphs.rewritten(graph, expand_late, SCALE) == 0


def test_a_tensor_of_no_dimension_does_not_lose_its_part_in_the_type(graphs):
    """float64 expanded decides the type of a product with float32; of no dimension it would not."""
    double = torch.tensor(1 / 3, dtype=torch.float64)
    graph = graphs.of(lambda scale, double: scale[:1].expand(4) * double.expand(4), SCALE, double)
    assert graphs.rewritten(graph, expand_late, SCALE, double) == 0


def test_draws_are_made_for_each_element(graphs):
    graph = graphs.of(lambda scale: torch.bernoulli(scale.expand(500, 3) / 2), SCALE)
    torch.manual_seed(3)
    expand_late(graph)
    drawn = graph(SCALE)
    assert drawn[:, 1].std() > 0


def test_what_is_written_to_afterwards_has_memory_of_its_own(graphs):
    def function(scale):
        wide = scale.expand(4, 3).log()
        wide[0] = 7.0
        return wide

    graph = graphs.of(function, SCALE)
    assert graphs.rewritten(graph, expand_late, SCALE) == 0
