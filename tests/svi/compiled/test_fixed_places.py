"""Reading and summing at fixed places against the same graph before it is rewritten, bit by bit."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from pyrometer.inference.svi.compiled.capture import capture
from pyrometer.inference.svi.compiled.fixed_places import use_fixed_places
from pyrometer.inference.svi.objective import as_objective
from pyrometer.inference.svi.pair import Pair

ORDER = [2, 0, 3, 1]


def read_and_gradient(read):
    """Of what is read, and its gradient where every element counts differently."""

    def function(x):
        leaf = x.detach().requires_grad_()
        part = read(leaf)
        weights = torch.arange(1.0, part.numel() + 1).reshape(part.shape)
        return [part.detach(), torch.autograd.grad((part.sin() * weights).sum(), leaf)[0]]

    return function


@pytest.mark.parametrize(
    ("read", "left"),
    [
        (lambda x: x[torch.arange(4)], ["clone.default", "slice_scatter.default"]),
        (lambda x: x[:, torch.arange(1, 6, 2)], ["clone.default", "slice_scatter.default"]),
        (lambda x: x[:, [3]], ["clone.default", "slice_scatter.default"]),
        (lambda x: x[[-2, -1]], ["clone.default", "slice_scatter.default"]),
        (lambda x: x[torch.tensor(ORDER)], ["index.Tensor", "index.Tensor"]),
        (lambda x: x[:, [5, 4, 3, 2, 1, 0]], ["index.Tensor", "index.Tensor"]),
        (lambda x: x[[3, 1]], ["index.Tensor", "index_put.default"]),
        (lambda x: x[torch.arange(4), torch.tensor([0, 5, 0, 1])], ["index.Tensor", "index_put.default"]),
        (lambda x: x[torch.tensor([[0], [1]]), [2, 4]], ["index.Tensor", "index_put.default"]),
    ],
)
def test_at_places_that_are_all_different_nothing_is_summed(graphs, read, left):
    x = torch.randn(4, 6)
    graph = graphs.of(read_and_gradient(read), x)
    assert graphs.rewritten(graph, use_fixed_places, x) > 0
    assert set(left) <= set(graphs.targets(graph))
    assert not any(is_sum(node) for node in graph.graph.nodes)


def is_sum(node):
    return node.target is torch.ops.aten.index_put.default and True in (*node.args[3:], *node.kwargs.values())


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x[[1, 1]],
        lambda x: x[[-1, 3]],  # the same of four
        lambda x: x[[0, 0], [2, 2]],
        lambda x: x[(x[:, 0] > 0).long()],
        lambda x: x[torch.randint(4, (4,))],
    ],
)
def test_at_places_that_may_be_there_twice_sums_stay(graphs, read):
    x = torch.randn(4, 6)
    graph = graphs.of(read_and_gradient(read), x)
    assert use_fixed_places(graph) == 0
    assert any(is_sum(node) for node in graph.graph.nodes)


def test_a_sum_onto_numbers_adds_to_them(graphs):
    x, y = torch.randn(4, 6), torch.randn(2, 1)

    def function(x, y):
        places = torch.arange(1, 4, 2), torch.tensor([3, 0]), torch.tensor([0, 0])
        return [torch.index_put(x, [place], y, accumulate=True) for place in places]

    graph = graphs.of(function, x, y)
    assert graphs.rewritten(graph, use_fixed_places, x, y) == 2
    assert sum(map(is_sum, graph.graph.nodes)) == 1


def test_values_that_are_the_same_for_all_places_are_spread(graphs):
    x = torch.randn(())

    def function(x):
        zeros = x.new_zeros(4, 6)
        places = torch.arange(4), torch.tensor(ORDER), torch.arange(0, 4, 2), torch.tensor([2, 0])
        return [torch.index_put(zeros, [place], x, accumulate=True) for place in places]

    graph = graphs.of(function, x)
    assert graphs.rewritten(graph, use_fixed_places, x) == 4


def test_zeros_that_were_written_to_are_no_zeros(graphs):
    """Into a view, which leaves the node of the zeros what it was."""
    x = torch.randn(4, 6)

    def function(x):
        zeros = x.new_zeros(4, 6)
        zeros[1] = 7.0
        return torch.index_put(zeros, [torch.tensor(ORDER)], x, accumulate=True)

    graph = graphs.of(function, x)
    assert graphs.rewritten(graph, use_fixed_places, x) == 1


def test_places_that_are_written_to_are_not_fixed(graphs):
    x = torch.randn(4, 6)

    def function(x):
        places = torch.arange(4)
        places[0] = 3
        return x[places]

    graph = graphs.of(function, x)
    assert graphs.rewritten(graph, use_fixed_places, x) == 0


def test_what_is_read_may_be_written_to_afterwards(graphs):
    x = torch.randn(4, 6)

    def function(x):
        copy = x.clone()
        part = copy[torch.arange(4)]
        copy.mul_(2.0)
        return [part.add_(1.0), copy]

    graph = graphs.of(function, x)
    assert graphs.rewritten(graph, use_fixed_places, x) == 1


def test_what_is_not_in_order_in_memory_stays(graphs):
    """Torch gives such a result other strides, on which views after it depend."""
    x = torch.randn(6, 4)
    graph = graphs.of(lambda x: x.t()[torch.arange(4)], x)
    assert graphs.rewritten(graph, use_fixed_places, x) == 0


def test_data_of_the_program_are_no_fixed_places():
    """They may be changed in place, and a graph has to see that."""
    held = torch.arange(4)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.arange(1.0, 5.0))

        def forward(self, x):
            own = self.weight[torch.arange(4)]
            pyro.sample("x", dist.Normal(self.weight[held] + own, 1.0).to_event(1), obs=x)

    pair = Pair(Model(), lambda x: None, as_objective(None))  # noqa: ARG005 - the arguments are the model's
    batch = {"x": torch.randn(4)}
    graph = capture(pair, batch, {}).graph.graph
    (read,) = (node for node in graph.nodes if node.target is torch.ops.aten.index.Tensor)
    assert read.args[1][0].op == "placeholder"


def test_a_trace_of_fake_tensors_is_rewritten_like_one_of_numbers():
    graph = make_fx(read_and_gradient(lambda x: x[torch.arange(4)]), tracing_mode="fake")(torch.randn(4, 6))
    assert use_fixed_places(graph) == 2
