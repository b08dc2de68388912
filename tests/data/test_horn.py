"""The generated points against the curves that they scatter around."""

import math

import pytest
import torch

from pyrometer.data import ellipse, horn, horn_radii, pen


def off_the_curve(data, radii):
    """How far (y_1 / rho_1)^2 + (y_2 / rho_2)^2 is from 1."""
    return (data["point"] / radii).square().sum(-1) - 1


def test_without_noise_every_point_lies_on_its_section():
    data = horn(500, noise=0.0)
    assert off_the_curve(data, horn_radii(data["x"])).abs().max() < 1e-5
    assert off_the_curve(ellipse(50, noise=0.0), torch.tensor([2.0, 1.5])).abs().max() < 1e-5
    assert off_the_curve(pen(50, noise=0.0), torch.tensor([1.0, 1.0])).abs().max() < 1e-5


def test_the_radii_at_both_ends_are_the_definition_s():
    torch.testing.assert_close(horn_radii(torch.tensor([0.0, 1.0]))[0], torch.tensor([2.0, 1.5]))
    torch.testing.assert_close(horn_radii(torch.tensor([0.0, 1.0]))[1], torch.tensor([1.5, 2.0]) * math.e**2)


def test_the_noise_has_the_standard_deviation_said():
    """Oracle: the same seed without noise."""
    noise = horn(4000, seed=3)["point"] - horn(4000, seed=3, noise=0.0)["point"]
    assert noise.std().item() == pytest.approx(0.05, abs=4.3 * 0.05 / math.sqrt(2 * 8000))


def test_the_same_seed_gives_the_same_points_and_another_others():
    torch.testing.assert_close(horn(9, seed=1), horn(9, seed=1), rtol=0, atol=0)
    assert not torch.equal(ellipse(seed=1)["point"], ellipse(seed=2)["point"])


def test_bad_counts_and_noises_are_refused():
    with pytest.raises(ValueError, match="count must be positive and noise not negative, got 0 and 0.05"):
        ellipse(0)
    with pytest.raises(ValueError, match="got 5 and -1"):
        pen(5, noise=-1)
