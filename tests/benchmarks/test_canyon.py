"""The canyon's own numbers: against the view's quadrature, automatic derivatives and the theory of its depth."""

import math

import pytest
import torch

import pyrometer
from pyrometer.benchmarks.canyon import NOISE, WEIGHT, ClosedCurve, ellipse, free_energy, largest_force


def circle(points):
    return 2 * math.pi * torch.arange(points, dtype=torch.float64) / points


def known(size):
    z = circle(size)
    return torch.stack([2 * z.cos(), 1.5 * z.sin()], -1)


@pytest.mark.parametrize("noise", ["learnt", "fixed", "floor"])
def test_the_free_energy_is_that_of_the_program(noise):
    model, y = ClosedCurve(3, noise), ellipse(5, NOISE, seed=1)
    dense = model.curve(circle(20_000).float())
    exact = pyrometer.EnergyView(model).bind(y).free_energy(method="quadrature").per_datum
    torch.testing.assert_close(free_energy(y, dense, model.noise).detach().double(), exact, rtol=1e-4, atol=1e-4)


def test_the_prior_keeps_the_noise_from_vanishing_where_the_docs_say():
    model, size = ClosedCurve(1, "prior"), 24
    view = pyrometer.EnergyView(model).bind(torch.zeros(1, 2))
    log_noise = torch.linspace(math.log(0.01), math.log(0.1), 401)
    penalties = []
    for value in log_noise:
        with torch.no_grad():
            model.log_noise.copy_(value)
            penalties.append(view.global_energy({"z": torch.zeros(1)}))
    best = log_noise[(torch.stack(penalties) + size * log_noise).argmin()].exp().item()  # each datum gains log(1/s)
    assert best == pytest.approx(math.sqrt(WEIGHT * NOISE**2 / (size + WEIGHT + 2)), rel=0.006)  # the grid's spacing


def test_the_density_on_a_curve_grows_as_one_over_the_noise():
    on = known(16)
    one, other = (free_energy(on, known(40_000), torch.tensor(s, dtype=torch.float64)) for s in (0.004, 0.002))
    torch.testing.assert_close(one - other, torch.full((16,), math.log(2), dtype=torch.float64), rtol=1e-4, atol=1e-4)


def test_the_force_is_the_derivative_of_the_free_energy():
    noise = torch.tensor(0.1, dtype=torch.float64)
    z = circle(64)[:, None]
    normal = torch.nn.functional.normalize(torch.cat([1.5 * z.cos(), 2 * z.sin()], -1), dim=-1)
    across = torch.linspace(-3 * NOISE, 3 * NOISE, 31, dtype=torch.float64)[:, None, None]
    band = (known(64) + across * normal).reshape(-1, 2).requires_grad_()
    (slope,) = torch.autograd.grad(free_energy(band, known(2000), noise).sum(), band)
    found = largest_force(known(2000), noise)
    assert found == pytest.approx(slope.norm(dim=-1).max().item(), rel=1e-4)
    assert found == pytest.approx(3 * NOISE / 0.1**2, rel=0.1)  # r / s^2, but for the curve's own curvature
