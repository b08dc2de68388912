"""Operations that write to a tensor of the graph give a new one; those that write to an input or under a view stay."""

import pytest
import torch

from pyrometer.inference.svi.compiled.capture import _tidy
from pyrometer.inference.svi.compiled.writes import drop_writes, written

X = torch.tensor([0.3, -1.7, 0.9])


def test_a_chain_of_writes_becomes_one_of_values(graphs):
    def function(x):
        own = x + 1.0
        before = own * 2
        own.relu_().mul_(3.0)
        return own + before

    graph = graphs.of(function, X)
    assert graphs.rewritten(graph, drop_writes, X) == 2
    assert graphs.targets(graph) == ["add.Tensor", "mul.Tensor", "relu.default", "mul.Tensor", "add.Tensor"]


def test_who_reads_the_tensor_later_reads_what_was_written(graphs):
    """By a name that autograd had for it, of which a capture leaves nothing."""

    def function(x):
        own = x * 2
        own.detach().add_(1.0)
        return own * 3

    graph = graphs.of(function, X)
    _tidy(graph)
    assert graphs.rewritten(graph, drop_writes, X) == 1
    assert torch.equal(graph(X), (X * 2 + 1) * 3)


def test_what_writes_to_an_input_stays(graphs):
    """As the running mean of a BatchNorm."""
    graph = graphs.of(lambda x: x.add_(1.0), X)
    assert graphs.rewritten(graph, drop_writes, X) == 0
    found = X.clone()
    graph(found)
    assert torch.equal(found, X + 1.0)


def test_what_has_a_view_stays(graphs):
    def function(x):
        own = x * 2
        view = own[1:]
        own.add_(1.0)
        return view * 3

    assert graphs.rewritten(graphs.of(function, X), drop_writes, X) == 0


def test_what_is_written_by_a_view_is_known(graphs):
    def function(x):
        own = x * 2
        own[1:][:1].zero_()
        return own

    graph = graphs.of(function, X)
    (target,) = [target for node in graph.graph.nodes for target in written(node)]
    assert str(target.target) == "aten.mul.Tensor"
    assert graphs.rewritten(graph, drop_writes, X) == 0


@pytest.mark.parametrize(
    "write",
    [
        lambda own: torch.add(torch.ones(3), 1.0, out=own),
        lambda own: torch._foreach_add_([torch.ones(3), own], 1.0),
        lambda own: own.add_(1.0).add_(2.0),
    ],
)
def test_whatever_argument_is_written_to_is_known(write, graphs):
    def function(x):
        own = x * 2
        write(own)
        return own * 3

    targets = [str(target.target) for node in graphs.of(function, X).graph.nodes for target in written(node)]
    assert "aten.mul.Tensor" in targets
    assert "aten.add_.Tensor" not in targets


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_normalisation_writes_to_its_running_mean_in_training(training, graphs):
    def function(x):
        own = x * 2
        data = torch.stack([x, x + 1])
        return own * 3 + torch.native_batch_norm(data, None, None, own, x.exp(), training, 0.1, 1e-5)[0]

    targets = [str(target.target) for node in graphs.of(function, X).graph.nodes for target in written(node)]
    assert targets == (["aten.mul.Tensor", "aten.exp.default"] if training else [])


def test_a_copy_from_another_type_keeps_the_type_of_its_place(graphs):
    def function(x):
        own = (x * 10).long()
        own.copy_(x * 3)
        return own

    graph = graphs.of(function, X)
    graphs.rewritten(graph, drop_writes, X)
    assert graph(X).dtype == torch.int64


def test_draws_into_a_tensor_stay(graphs):
    graph = graphs.of(lambda x: torch.zeros(3).uniform_() + x, X)
    assert drop_writes(graph) == 0
    assert "uniform_.default" in graphs.targets(graph)
