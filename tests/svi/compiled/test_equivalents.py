"""Functions that do not look at values give, bit by bit, what torch's own give."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from pyrometer.inference.svi.compiled.capture import capture
from pyrometer.inference.svi.compiled.equivalents import EQUIVALENTS, element, one_hot, tensor_of
from pyrometer.inference.svi.compiled.traceable import traceable

X, T, ALL = torch.arange(120).reshape(2, 3, 4, 5), torch.tensor(1), slice(None)
INDICES = [T, (T,), (ALL, T), (..., T), (..., T, ALL), (None, T), (0, T), (ALL, 1, T), (T, ...), (ALL, None, T, None)]
MORE = [(slice(0, 1), ..., T), (T, None), (-1, ..., T, 0), torch.tensor(-1), (ALL, ALL, ALL, torch.tensor(-2))]


def same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


@pytest.mark.parametrize("labels", [torch.tensor(2), torch.tensor([0, 3, 1]), torch.tensor([[1], [3]])])
def test_one_hot_is_that_of_torch(labels):
    assert same(one_hot(labels, 4), functional.one_hot(labels, 4))


@pytest.mark.parametrize("index", INDICES + MORE)
def test_an_element_is_that_of_torch(index):
    suits, _ = EQUIVALENTS[Tensor.__getitem__]
    assert suits((X, index), {})
    assert same(element(X, index), X[index])


@pytest.mark.parametrize("index", [(T, T), (True, T), (torch.tensor(True),), ([0], T), torch.tensor([1]), 1])
def test_other_indices_are_left_to_torch(index):
    suits, _ = EQUIVALENTS[Tensor.__getitem__]
    assert not suits((X, index), {})


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ([torch.tensor(1.5), 2], {}),
        ([[torch.tensor(1), 2], [3, torch.tensor(4)]], {}),
        ([torch.tensor(1.5, dtype=torch.float64), torch.tensor(2.5, dtype=torch.float64)], {}),
        ((torch.tensor(1.5), 2.5), {"dtype": torch.float64}),
        ([torch.tensor([1.0]), torch.tensor([2.0])], {"requires_grad": True}),
    ],
)
def test_a_tensor_of_tensors_is_that_of_torch(data, options):
    found, expected = tensor_of(data, **options), torch.tensor(data, **options)
    assert same(found, expected)
    assert found.requires_grad == expected.requires_grad


def test_in_a_graph_they_follow_their_inputs():
    """Torch's own would leave the values of the tracing in it."""

    def function(labels, x):
        return functional.one_hot(labels, 3).float() @ x + torch.tensor([x[0], 2.0, x[1]]) + x[labels[0]]

    with traceable():
        graph = make_fx(function)(torch.tensor([0, 1, 2]), torch.tensor([1.0, 2.0, 3.0]))
    labels, x = torch.tensor([2, 2, 1]), torch.tensor([-1.0, 5.0, 0.5])
    assert torch.equal(graph(labels, x), function(labels, x))


def test_a_parameter_that_a_program_makes_of_a_weight_has_its_gradient_no_more_and_its_value(plain, batch):
    """As the recipe of K-means does, whose guide is to move no prototype; against the plain loss at other weights."""

    def program(y):
        held = nn.Parameter(made.loc.detach() * 2)
        z = pyro.sample("z", dist.Normal(held, 2.0))
        pyro.sample("y", dist.Normal(z, 0.7).expand([len(y)]).to_event(1), obs=y)

    pair = plain(program).pair
    made = pair.programs[1]
    captured = capture(pair, batch, {})
    with torch.no_grad():
        made.loc.fill_(3.0)
    torch.manual_seed(5)
    loss = captured.graph(*captured.leaves, *captured.constants, batch["y"])[0]
    torch.manual_seed(5)
    torch.testing.assert_close(loss, pair(batch, {}).detach())
