"""Deep models: a deep Markov model with a gated transition, its linear case, and a sparse gamma belief network."""

import math

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.nn import PyroModule
from torch import nn

LENGTHS = torch.tensor([4, 2, 1])


class GatedTransition(PyroModule):
    """Mean and scale of z_t, part of it linear in z_{t-1} through a gate."""

    def __init__(self, z_dim, width):
        super().__init__()
        self.gate = PyroModule[nn.Sequential](
            PyroModule[nn.Linear](z_dim, width), nn.ReLU(), PyroModule[nn.Linear](width, z_dim), nn.Sigmoid()
        )
        self.proposed = PyroModule[nn.GRUCell](z_dim, z_dim)
        self.linear = PyroModule[nn.Linear](z_dim, z_dim)
        self.spread = PyroModule[nn.Linear](z_dim, z_dim)

    def forward(self, z):
        """(N, z_dim) each."""
        gate, proposed = self.gate(z), self.proposed(z, torch.zeros_like(z))
        return (1 - gate) * self.linear(z) + gate * proposed, nn.functional.softplus(self.spread(proposed.relu()))


class DeepMarkov(PyroModule):
    """p(x, z) of piano rolls, as in the tutorial: masks by `.mask`, KL annealing by `poutine.scale`."""

    def __init__(self, z_dim=2, x_dim=3):
        super().__init__()
        self.transition = GatedTransition(z_dim, 5)
        self.emitter = PyroModule[nn.Linear](z_dim, x_dim)
        self.z_0 = nn.Parameter(torch.randn(z_dim))

    def forward(self, x, mask, annealing_factor=0.7):
        """The program."""
        with pyro.plate("sequences", len(x)):
            z = self.z_0.expand(len(x), -1)
            for t in pyro.markov(range(1, x.shape[1] + 1)):
                loc, scale = self.transition(z)
                with poutine.scale(scale=annealing_factor):
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, scale).mask(mask[:, t - 1 : t]).to_event(1))
                probs = torch.sigmoid(self.emitter(z))
                pyro.sample(f"x_{t}", dist.Bernoulli(probs).mask(mask[:, t - 1 : t]).to_event(1), obs=x[:, t - 1])


def linear_markov(y, lengths):
    with pyro.plate("sequences", len(y)):
        z = torch.zeros(len(y)).double()
        for t in pyro.markov(range(y.shape[1])):
            with poutine.mask(mask=t < lengths):
                z = pyro.sample(f"z_{t}", dist.Normal(0.8 * z + 0.3, 0.6))
                pyro.sample(f"y_{t}", dist.Normal(1.5 * z, 0.4), obs=y[:, t])


def kalman(y):
    """-log p of one linear sequence, one step after another."""
    mean, variance, total = 0.0, 0.0, 0.0
    for value in y.tolist():
        mean, variance = 0.8 * mean + 0.3, 0.64 * variance + 0.36
        spread, surprise = 2.25 * variance + 0.16, value - 1.5 * mean
        total += 0.5 * (surprise**2 / spread + math.log(2 * math.pi * spread))
        gain = 1.5 * variance / spread
        mean, variance = mean + gain * surprise, (1 - 1.5 * gain) * variance
    return total


def sparse_gamma(counts, width=(4, 3), alpha=0.3):
    """Two layers of gamma factors above Poisson counts."""
    top, bottom, features = width[0], width[1], counts.shape[1]
    with pyro.plate("w_top_plate", top * bottom):
        w_top = pyro.sample("w_top", dist.Gamma(0.5, 0.9))
    with pyro.plate("w_bottom_plate", bottom * features):
        w_bottom = pyro.sample("w_bottom", dist.Gamma(0.5, 0.9))
    with pyro.plate("data", len(counts)):
        z_top = pyro.sample("z_top", dist.Gamma(alpha, 0.1).expand([top]).to_event(1))
        mean = torch.matmul(z_top, w_top.reshape(top, bottom))
        z_bottom = pyro.sample("z_bottom", dist.Gamma(alpha, alpha / mean).to_event(1))
        rate = torch.matmul(z_bottom, w_bottom.reshape(bottom, features))
        pyro.sample("obs", dist.Poisson(rate).to_event(1), obs=counts)


def test_the_deep_markov_model_has_finite_energies_and_gradients(measured):
    mask = (torch.arange(4) < LENGTHS[:, None]).float()
    x = (torch.rand(3, 4, 3) < 0.5).float()
    assert measured(DeepMarkov(), x, mask.bool()).plate == "sequences"


def test_sparse_gamma_networks_have_finite_energies_and_gradients(measured):
    counts = torch.tensor([[3.0, 0.0, 7.0, 1.0, 12.0], [0.0, 2.0, 2.0, 30.0, 1.0]])
    measured(lambda counts: sparse_gamma(counts, alpha=1.3), counts)


@pytest.mark.parametrize("base", ["lebesgue", "prior"])
def test_the_linear_markov_model_has_kalmans_evidence(base, measured):
    y = torch.randn(3, 4).double()
    exact = measured(linear_markov, y, LENGTHS).free_energy(method="laplace", base=base)
    expected = [kalman(row[:n]) for row, n in zip(y, LENGTHS, strict=True)]
    torch.testing.assert_close(exact.per_datum, torch.tensor(expected).double(), rtol=1e-6, atol=1e-6)
