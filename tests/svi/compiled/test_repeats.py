"""What is computed twice is computed once, unless it is a draw, or something is written in between."""

import torch

from pyrometer.inference.svi.compiled.repeats import drop_repeats

X = torch.tensor([0.3, 1.7, 0.9])


def test_the_same_operations_are_done_once(graphs):
    graph = graphs.of(lambda x: x.exp().log() * x.exp().log() + x.exp(), X)
    assert graphs.rewritten(graph, drop_repeats, X) == 3
    assert graphs.targets(graph) == ["exp.default", "log.default", "mul.Tensor", "add.Tensor"]


def test_numbers_that_look_alike_are_told_apart(graphs):
    """0.0 and -0.0, whose reciprocals are not the same; and an integer, by which a type stays what it is."""
    graph = graphs.of(lambda x: ((x * 0.0).reciprocal() + (x * -0.0).reciprocal(), x.long() * 1, x.long() * 1.0), X)
    assert graphs.rewritten(graph, drop_repeats, X) == 1  # the conversion


def test_draws_are_not_repeats(graphs):
    graph = graphs.of(lambda x: torch.bernoulli(x / 2) + torch.bernoulli(x / 2) + torch.rand(3) + torch.rand(3), X)
    torch.manual_seed(3)
    expected = graph(X)
    drop_repeats(graph)
    torch.manual_seed(3)
    assert torch.equal(graph(X), expected)
    assert graphs.targets(graph).count("bernoulli.default") == 2
    assert graphs.targets(graph).count("rand.default") == 2


def test_what_is_read_before_and_after_it_is_written_is_read_twice(graphs):
    def function(x):
        own = x * 2
        view = own[:2]
        first = view.exp()
        own.add_(1.0)
        return first + view.exp()

    graph = graphs.of(function, X)
    graphs.rewritten(graph, drop_repeats, X)
    assert graphs.targets(graph).count("exp.default") == 2


def test_what_was_read_of_a_tensor_is_not_written_with_it(graphs):
    def function(x):
        own = x * 2
        read = own.exp()
        own[:1].add_(1.0)
        return read.log() + read.log() + own

    assert graphs.rewritten(graphs.of(function, X), drop_repeats, X) == 1


def test_tensors_that_are_written_to_stay_apart(graphs):
    def function(x):
        first, second = torch.zeros(3), torch.zeros(3)
        first.add_(x)
        return first + 3 * second

    assert graphs.rewritten(graphs.of(function, X), drop_repeats, X) == 0


def test_results_do_not_share_memory(graphs):
    """Two gradients that are the same numbers may yet be clipped one by one."""
    graph = graphs.of(lambda x: [x.exp(), x.exp()], X)
    assert graphs.rewritten(graph, drop_repeats, X) == 0
    one, other = graph(X)
    assert one.data_ptr() != other.data_ptr()


def test_parts_of_one_result_are_told_apart(graphs):
    graph = graphs.of(lambda x: x.sort()[0] + x.sort()[1], X)
    assert graphs.rewritten(graph, drop_repeats, X) == 1
    assert graphs.targets(graph).count("sort.default") == 1
