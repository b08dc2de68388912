"""Forces against differences of the free energy."""

import math

import pytest
import torch

from pyrometer import EnergyView, force, plot_force
from pyrometer.models import Ellipse, GaussianMixture

CIRCLE = {"angle": 2 * math.pi * torch.arange(300, dtype=torch.float64) / 300}
Y = torch.tensor([[0.3, -0.2], [2.5, 0.4], [-1.1, 1.9]], dtype=torch.float64)


def bind():
    return EnergyView(Ellipse((2.0, 1.5), scale=0.6).double()).bind


def by_differences(measure, y, step=1e-4):
    """-dF/dy by central differences, elementwise."""
    shifts = step * torch.eye(2, dtype=torch.float64)
    return torch.stack([-(measure(y + one) - measure(y - one)) / (2 * step) for one in shifts], -1)


@pytest.mark.parametrize("beta", [0.2, 1.0, 6.0])
def test_the_force_is_minus_the_slope_of_the_free_energy(beta):
    """Oracle: central differences of F by quadrature."""
    slope = by_differences(lambda y: bind()(y).free_energy(beta, "quadrature").per_datum, Y)
    torch.testing.assert_close(force(bind(), Y, beta, CIRCLE), slope, rtol=1e-6, atol=1e-6)


def test_at_zero_temperature_it_is_minus_the_slope_of_the_lowest_energy():
    """Oracle: central differences of F_inf, whose minimiser moves."""
    slope = by_differences(lambda y: bind()(y).zero_temperature().per_datum.detach(), Y)
    torch.testing.assert_close(force(bind(), Y, math.inf), slope, rtol=1e-5, atol=1e-6)


def test_at_the_centre_the_force_is_a_kink_when_cold_and_nothing_when_warm():
    centre = torch.zeros(1, 2, dtype=torch.float64)
    assert force(bind(), centre, 1.0, CIRCLE).norm().item() < 1e-12
    cold = force(bind(), centre, math.inf)  # towards one of (0, 1.5) and (0, -1.5), by dE/dy = (y - g) / scale^2
    assert cold.norm().item() == pytest.approx(1.5 / 0.6**2, rel=1e-6)


def test_a_mixture_pulls_by_its_responsibilities():
    """Oracle: the posterior mean of (m_k - x) / s_k^2, from the closed form."""
    model = GaussianMixture(torch.tensor([[-1.0, 0.2], [0.5, 2.0]], dtype=torch.float64), scale=0.7)
    pull = (model.means - Y.unsqueeze(1)) / model.scales**2
    expected = (model.responsibilities(Y).probs.unsqueeze(-1) * pull).sum(1).detach()
    found = force(EnergyView(model).bind, Y, points={"component": torch.arange(2)})
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_arrows_are_the_forces_on_the_grid():
    grid = ([-1.0, 0.0, 1.0], [0.2, 0.6])
    arrows = plot_force(bind(), grid, 1.0, CIRCLE).collections[0]
    where = torch.cartesian_prod(*[torch.tensor(values, dtype=torch.float64) for values in grid])
    expected = force(bind(), where, 1.0, CIRCLE)
    torch.testing.assert_close(torch.as_tensor(arrows.U).double(), expected[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.as_tensor(arrows.V).double(), expected[:, 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("beta", "points", "what"), [(1.0, None, "without points"), (math.inf, CIRCLE, "with points")])
def test_points_are_given_at_finite_temperature_alone(beta, points, what):
    with pytest.raises(ValueError, match=f"got beta = {beta} {what}"):
        force(bind(), Y, beta, points)
