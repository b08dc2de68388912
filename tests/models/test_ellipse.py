"""The ellipse's energies against the geometry, dense sums on the circle, and Bessel functions."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import ive, logsumexp

import pyrometer
from pyrometer import EnergyView, Marginalised, Minimised
from pyrometer.data import ellipse
from pyrometer.models import Ellipse

RADII = (2.0, 1.5)
CIRCLE = {"angle": 2 * math.pi * torch.arange(512) / 512}
Y = torch.tensor([[0.3, -0.2], [2.5, 0.4], [0.0, 0.0], [-1.1, 1.9]], dtype=torch.float64)


def view(y, radii=RADII, **how):
    model = Ellipse(radii, **how).double()
    return model, EnergyView(model).bind(y)


def squared_distance_to_the_ellipse(point, radii=RADII):
    """By the foot of the perpendicular in the first quadrant: the largest root t of the secular equation.

    (a p / (t + a^2))^2 + (b q / (t + b^2))^2 = 1 (D. Eberly 2013, Distance from a point to an ellipse), at points off
    both axes.
    """
    (a, b), (p, q) = radii, np.abs(point)

    def secular(t):
        return (a * p / (t + a**2)) ** 2 + (b * q / (t + b**2)) ** 2 - 1

    t = brentq(secular, -(b**2) + b * q, a * p + b * q + a**2, xtol=1e-15, rtol=1e-15)
    return (t * p / (t + a**2)) ** 2 + (t * q / (t + b**2)) ** 2


def test_the_default_energy_is_the_squared_distance_and_a_constant():
    _, bound = view(Y)
    angle = torch.tensor([0.4, 2.0, 5.0, 3.3], dtype=torch.float64)
    on = torch.stack([2.0 * angle.cos(), 1.5 * angle.sin()], -1)
    expected = (Y - on).square().sum(-1) + math.log(math.pi) + math.log(2 * math.pi)
    torch.testing.assert_close(bound.energy_per_datum({"angle": angle}), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("scale", [0.05, 0.6])
def test_squared_distance_takes_energies_of_any_scale_back(scale):
    model, bound = view(Y, scale=scale)
    angle = torch.tensor([0.4, 2.0, 5.0, 3.3], dtype=torch.float64)
    on = torch.stack([2.0 * angle.cos(), 1.5 * angle.sin()], -1)
    found = model.squared_distance(bound.energy_per_datum({"angle": angle}))
    torch.testing.assert_close(found, (Y - on).square().sum(-1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scale", [0.05, math.sqrt(0.5)])
def test_zero_temperature_is_the_geometric_distance(scale):
    """Oracle: the foot of the perpendicular, by scipy's root-finder."""
    y = 1.6 * torch.randn(30, 2, dtype=torch.float64)
    model, bound = view(y, scale=scale)
    expected = [squared_distance_to_the_ellipse(point) for point in y.numpy()]
    found = model.squared_distance(bound.zero_temperature().per_datum)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=1e-6)


def test_two_explanations_tie_at_the_centre():
    model, bound = view(torch.zeros(1, 2, dtype=torch.float64))
    lowest = bound.zero_temperature()
    assert lowest.ties.item() == 2
    assert model.squared_distance(lowest.energy).item() == pytest.approx(1.5**2, rel=1e-9)
    two = lowest.minima["angle"][:2, 0].sort().values
    torch.testing.assert_close(two, torch.tensor([0.5, 1.5], dtype=torch.float64) * math.pi, rtol=1e-5, atol=0)


@pytest.mark.parametrize("scale", [0.05, math.sqrt(0.5)])
@pytest.mark.parametrize("temperature", [0.02, 1.0, 10.0])
def test_the_free_energy_is_a_sum_over_the_circle(scale, temperature):
    """Oracle: the mean over a million points of the circle, in numpy; its error is rounding."""
    model, bound = view(Y, scale=scale)
    angle = 2 * math.pi * np.arange(1_000_000) / 1_000_000
    on = np.stack([2 * np.cos(angle), 1.5 * np.sin(angle)], -1)
    squares = np.stack([((y - on) ** 2).sum(-1) for y in Y.numpy()])
    expected = -temperature * (logsumexp(-squares / temperature, axis=-1) - math.log(1_000_000))
    found = bound.free_energy(2 * scale**2 / temperature, "quadrature", "uniform").per_datum
    np.testing.assert_allclose(model.squared_distance(found).detach().numpy(), expected, rtol=1e-8, atol=1e-8)


def test_the_evidence_of_a_circle_is_rices_and_that_of_the_centre_a_bessel_function():
    """Oracle: scipy's I_0.

    On a circle of radius r, p(y) = N(y; 0, s^2) exp(-r^2 / 2 s^2) I_0(|y| r / s^2). At the centre of an ellipse,
    p(0) = N(0; 0, s^2) exp(-(a^2 + b^2) / 4 s^2) I_0((a^2 - b^2) / 4 s^2).
    """
    s = 0.3
    constant = 2 * math.log(s) + math.log(2 * math.pi)
    _, bound = view(Y, (1.5, 1.5), scale=s)
    length = Y.norm(dim=-1).numpy()
    rice = constant + (length - 1.5) ** 2 / (2 * s**2) - np.log(ive(0, length * 1.5 / s**2))
    np.testing.assert_allclose(bound.free_energy().per_datum.numpy(), rice, rtol=1e-9)
    _, bound = view(torch.zeros(1, 2, dtype=torch.float64), scale=s)
    centre = constant + 1.5**2 / (2 * s**2) - math.log(ive(0, (2.0**2 - 1.5**2) / (4 * s**2)))
    assert bound.free_energy().value.item() == pytest.approx(centre, rel=1e-9)


def test_bad_radii_and_scales_are_refused():
    with pytest.raises(ValueError, match="scale must be a positive standard deviation, got 0.0"):
        Ellipse(scale=0.0)
    with pytest.raises(ValueError, match=r"radii must be two numbers, got \(1.0, 2.0, 3.0\)"):
        Ellipse(radii=(1.0, 2.0, 3.0))


@pytest.mark.parametrize(
    ("objective", "beta"), [(Minimised(CIRCLE), 1.0), (Marginalised(CIRCLE), 200.0), (Marginalised(CIRCLE), 1.0)]
)
def test_training_recovers_the_radii_from_24_points_unless_it_is_too_warm(objective, beta):
    """At b = 1 / (2 s^2) = 200 F_b is minus the log likelihood; at b = 1 it explains noise that is not there."""
    model = Ellipse()
    start = model.radii.detach().clone()
    how = {"objective": objective, "batch_size": None, "seed": 0, "progress": False, "compile": False}
    adam = partial(torch.optim.Adam, lr=0.1)
    pyrometer.fit(model, None, ellipse(24, seed=0), steps=80, beta=beta, optimizer=adam, schedule=decay, **how)
    off = model.radii.detach() / torch.tensor(RADII) - 1
    assert (start / torch.tensor(RADII) - 1).abs().max() > 0.3
    assert (off.abs().max() < 0.02) if beta > 1 or isinstance(objective, Minimised) else (off < -0.05).all()


def decay(progress):
    return min(1.0, 2 * (1 - progress))
