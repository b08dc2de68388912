"""The graph of a loss and its gradient, against autograd, and what stays alive in it."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrometer.inference.svi.compiled.capture import capture
from pyrometer.inference.svi.compiled.traceable import NotTraceable


def run(captured, batch, numbers=()):
    torch.manual_seed(7)
    return captured.graph(*captured.leaves, *captured.constants, *numbers, *batch.values())


def by_autograd(pair, batch):
    torch.manual_seed(7)
    loss = pair(batch, {})
    return loss.detach(), torch.autograd.grad(loss, pair.trainable(), allow_unused=True)


def test_loss_and_gradients_are_those_of_autograd_on_other_data_and_weights(plain, batch):
    pair = plain().pair
    captured = capture(pair, batch, {})
    with torch.no_grad():
        pair.trainable()[0].add_(0.7)
    other = {"y": batch["y"] - 1.3}
    loss, *gradients = run(captured, other)
    expected, by_leaf = by_autograd(pair, other)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients, list(by_leaf))


def test_a_change_in_place_of_what_the_program_closes_over_is_seen(plain, batch):
    offsets = torch.linspace(-1.0, 0.5, 5)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("shift", torch.tensor(0.2))

        def forward(self, y):
            z = pyro.sample("z", dist.Normal(self.shift, 2.0))
            pyro.sample("y", dist.Normal(z + offsets, 0.7).to_event(1), obs=y)

    model = Model()
    pair = plain(model).pair
    captured = capture(pair, batch, {})
    assert {id(tensor) for tensor in captured.constants} >= {id(offsets), id(model.shift)}
    offsets.mul_(3.0)
    model.shift.fill_(-2.0)
    torch.testing.assert_close(run(captured, batch)[0], by_autograd(pair, batch)[0])


def test_a_parameter_without_a_gradient_is_an_input_that_is_not_moved(plain, batch):
    pair = plain().pair
    pair.parts["guide"].unused = nn.Parameter(torch.ones(2))
    captured = capture(pair, batch, {})
    assert captured.moved == [True, True, False]
    assert [id(leaf) for leaf in captured.moving] == [id(leaf) for leaf in captured.leaves[:2]]


def test_a_parameter_under_two_names_is_one_input(plain, batch):
    class Guide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loc = nn.Parameter(torch.tensor(0.4))
            self.same = self.loc

        def forward(self, y):  # noqa: ARG002
            pyro.sample("z", dist.Normal(self.loc, self.same.exp()))

    pair = plain(guide=Guide()).pair
    captured = capture(pair, batch, {})
    assert len(captured.leaves) == 1
    torch.testing.assert_close(run(captured, batch)[1:], list(by_autograd(pair, batch)[1]))


def test_capturing_leaves_random_state_gradients_and_buffers_as_they_were(plain, batch):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(1)

        def forward(self, y):
            z = pyro.sample("z", dist.Normal(0.0, 2.0))
            loc = z + self.norm(y[:, None])[:, 0]
            pyro.sample("y", dist.Normal(loc, 0.7).to_event(1), obs=y)

    model = Model()
    pair = plain(model).pair
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    capture(pair, batch, {})
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(leaf.grad is None for leaf in pair.trainable())


def test_the_numbers_of_an_objective_are_inputs(plain, batch):
    def objective(model, guide, y, progress):  # noqa: ARG001
        return guide.loc * progress**2 + y.sum()

    pair = plain(objective=objective).pair
    captured = capture(pair, batch, {"progress": 0.0})
    loss, gradient = run(captured, batch, [torch.tensor(3.0, dtype=torch.float64)])
    torch.testing.assert_close(loss, 0.4 * 9 + batch["y"].sum(), check_dtype=False)
    torch.testing.assert_close(gradient, torch.tensor(9.0), check_dtype=False)


def test_an_objective_that_branches_on_its_progress_is_refused(plain, batch):
    def objective(model, guide, y, progress):  # noqa: ARG001
        return guide.loc * y.sum() if progress < 0.5 else guide.loc.square()

    with pytest.raises(NotTraceable, match="__bool__"):
        capture(plain(objective=objective).pair, batch, {"progress": 0.0})
