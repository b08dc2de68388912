"""Reweighted wake-sleep, whose guide learns from data and from dreams."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyrometer
from pyrometer import WakeSleep

SHARES = torch.tensor([0.3, 0.7]).double()
MEANS = torch.tensor([-0.5, 1.0]).double()


class Model(nn.Module):
    """k ~ Cat(0.3, 0.7), y ~ N(mean_k, 0.8^2)."""

    def __init__(self):
        super().__init__()
        self.means = nn.Parameter(MEANS.clone())

    def forward(self, y=None):
        with pyro.plate("data", 1 if y is None else len(y)):
            k = pyro.sample("k", dist.Categorical(SHARES))
            return pyro.sample("y", dist.Normal(self.means[k], 0.8), obs=y)


class Guide(nn.Module):
    """q(k = 1 | y) = sigmoid(a y + b), a family that has the posterior."""

    def __init__(self, slope=0.4, offset=-0.2):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope).double())
        self.offset = nn.Parameter(torch.tensor(offset).double())

    def forward(self, y=None):
        with pyro.plate("data", len(y)):
            one = self.slope * y + self.offset
            pyro.sample("k", dist.Categorical(logits=torch.stack([torch.zeros_like(one), one], -1)))


def dream_gradient(guide):
    """Of E_p[-log q(k | y)] by slope and offset: a sum over k, and quadrature over y."""
    y = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = SHARES[:, None] * dist.Normal(MEANS[:, None], 0.8).log_prob(y).exp()
    one = guide.slope * y + guide.offset
    loss = (density[0] * nn.functional.softplus(one) + density[1] * nn.functional.softplus(-one)).sum() * (y[1] - y[0])
    return torch.autograd.grad(loss, list(guide.parameters()))


def test_asleep_the_guide_follows_the_cross_entropy_under_the_model():
    """Whatever the data are: they give the dreams their number alone."""
    model, guide, rounds, size = Model(), Guide(), 60, 500
    found = []
    for _ in range(rounds):
        loss = WakeSleep(draws=2, sleep=1.0)(model, guide, y=torch.full((size,), 9.0).double())
        found.append(torch.stack(torch.autograd.grad(loss, list(guide.parameters()))) / size)
    rows = torch.stack(found)
    error = rows.std(0) / math.sqrt(rounds)
    assert ((rows.mean(0) - torch.stack(dream_gradient(guide))).abs() < 4.3 * error).all()


@pytest.mark.parametrize("sleep", [0.0, 0.5, 1.0])
def test_the_guide_arrives_at_the_posterior(sleep):
    """log q(1) / q(0) is the log ratio of the joint: slope (m1 - m0) / s^2, and an offset of shares and means."""
    model, guide = Model(), Guide()
    model.means.requires_grad_(False)
    y = pyro.poutine.uncondition(model)(torch.zeros(2000).double()).detach()
    adam = partial(torch.optim.Adam, lr=0.05)
    how = {"objective": WakeSleep(10, sleep), "steps": 300, "optimizer": adam, "batch_size": 500, "compile": False}
    pyrometer.fit(model, guide, {"y": y}, schedule=lambda t: 1 - t, seed=0, progress=False, **how)
    slope = (MEANS[1] - MEANS[0]) / 0.8**2
    offset = (SHARES[1] / SHARES[0]).log() - (MEANS[1] ** 2 - MEANS[0] ** 2) / (2 * 0.8**2)
    assert guide.slope.item() == pytest.approx(slope.item(), abs=0.15)
    assert guide.offset.item() == pytest.approx(offset.item(), abs=0.15)


def test_the_model_learns_awake():
    """Its gradient is that of log mean w, in which dreams have no part."""
    y = torch.randn(400).double()
    means = []
    for sleep in (0.0, 1.0):
        model, guide = Model(), Guide()
        pyro.set_rng_seed(5)
        loss = WakeSleep(3, sleep)(model, guide, y=y)
        pyro.set_rng_seed(5)
        loss = WakeSleep(3, sleep)(model, guide, y=y)
        means.append((loss.item(), torch.autograd.grad(loss, model.means)[0]))
    assert means[0][0] == pytest.approx(means[1][0], rel=1e-12)
    torch.testing.assert_close(means[0][1], means[1][1])


def test_a_share_that_is_none_is_refused():
    with pytest.raises(ValueError, match="sleep must be a share from 0 to 1.*got 1.5"):
        WakeSleep(sleep=1.5)
