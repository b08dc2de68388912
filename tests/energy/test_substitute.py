"""Latents by their coordinates: supports that depend on enumerated values, and masks inside events."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView

Y = torch.tensor([0.4, 1.3], dtype=torch.float64)


def test_a_support_may_depend_on_a_summed_latent():
    widths = torch.tensor([1.0, 3.0], dtype=torch.float64)

    def model(y):
        with pyro.plate("data", len(y)):
            k = pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.7]).double()))
            z = pyro.sample("z", dist.Uniform(0.0, widths[k]))
            pyro.sample("y", dist.Normal(z, 0.5), obs=y)

    found = EnergyView(model).bind(Y).free_energy(method="quadrature")
    normal = torch.distributions.Normal(0.0, 1.0)
    cells = [normal.cdf((w - Y) / 0.5) - normal.cdf(-Y / 0.5) for w in widths]
    exact = -torch.log(0.3 * cells[0] / widths[0] + 0.7 * cells[1] / widths[1])
    torch.testing.assert_close(found.per_datum, exact, rtol=1e-7, atol=1e-7)


def test_a_mask_inside_an_event_counts_where_it_is_the_same_for_the_event():
    observed = torch.tensor([[True], [False]])

    def model(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 2.0).expand([2, 1]).mask(observed).to_event(1))
            pyro.sample("y", dist.Normal(z.squeeze(-1), 0.5).mask(observed.squeeze(-1)), obs=y)

    found = EnergyView(model).bind(Y).free_energy(method="quadrature", beta=2.5)
    assert found.per_datum[1].abs() < 1e-6  # left out: its prior at every beta, no energy
    beta, variances = 2.5, torch.tensor([4.0, 0.25], dtype=torch.float64)
    precision = beta * (1 / variances).sum()
    exponent = -0.5 * beta * Y[0] ** 2 / (4.0 + 0.25)
    log_z = exponent - 0.5 * beta * (2 * math.pi * variances).log().sum() + 0.5 * torch.log(2 * math.pi / precision)
    torch.testing.assert_close(found.per_datum[0], -log_z / beta, rtol=1e-6, atol=1e-6)  # z is float32


def test_a_mask_that_differs_within_an_event_is_refused():
    def model(y):
        with pyro.plate("data", len(y)):
            mask = torch.tensor([[True, False], [True, True]])
            z = pyro.sample("z", dist.Normal(0.0, 2.0).expand([2, 2]).mask(mask).to_event(1))
            pyro.sample("y", dist.Normal(z.sum(-1), 0.5), obs=y)

    with pytest.raises(ValueError, match="mask of the latent 'z' leaves out parts of one event"):
        EnergyView(model).bind(Y).free_energy(method="quadrature")
