"""The horn's program against the ellipse of each of its sections, and against Rice's density of a circle."""

import math

import numpy as np
import pytest
import torch
from scipy.special import ive
from torch import nn

from pyrometer import EnergyView
from pyrometer.models import Ellipse, Horn
from pyrometer.networks import CurveDecoder, RadiiDecoder


def test_each_section_is_an_ellipse_with_the_radii_of_the_network():
    model, x = Horn(RadiiDecoder(hidden=5), scale=0.3).double(), torch.tensor([0.1, 0.8], dtype=torch.float64)
    y = torch.randn(2, 2, dtype=torch.float64)
    found = EnergyView(model).bind(x=x, point=y).free_energy(beta=0.7).per_datum
    for n in range(2):
        section = Ellipse(model.decoder.radii(x[n]).tolist(), scale=0.3).double()
        one = EnergyView(section).bind(y[n : n + 1]).free_energy(beta=0.7).per_datum
        assert found[n].item() == pytest.approx(one.item(), rel=1e-6)  # the radii pass through float32


class Circle(nn.Module):
    """A curve decoder of which the curve is known: a circle of radius 1.3 + x."""

    def __init__(self):
        super().__init__()
        self.radius = nn.Parameter(torch.tensor(1.3, dtype=torch.float64))

    def forward(self, x, angle):
        return (self.radius + x).unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], -1)


def test_any_decoder_will_do_and_a_circle_has_rices_density():
    """Oracle: scipy's I_0."""
    x, y = torch.tensor([0.1, 0.8], dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    found = EnergyView(Horn(Circle(), scale=0.3)).bind(x=x, point=y).free_energy().per_datum
    radius, length = 1.3 + x.numpy(), y.norm(dim=-1).numpy()
    log_p = -((length - radius) ** 2) / (2 * 0.3**2) + np.log(ive(0, length * radius / 0.3**2))
    np.testing.assert_allclose(found.numpy(), math.log(2 * math.pi * 0.3**2) - log_p, rtol=1e-9)


def test_x_is_given_or_else_a_latent_of_its_own():
    model, x, y = Horn(CurveDecoder(hidden=4)), torch.rand(3), torch.randn(3, 2)
    assert EnergyView(model).bind(x=x, point=y).structure.latents == ["angle"]
    assert EnergyView(model).bind(point=y).structure.latents == ["x", "angle"]
    assert model(x=x).shape == (3, 2)
    assert model().shape == (1, 2)


def test_the_curve_closes_and_harmonics_are_its_only_inputs():
    """After a whole turn every harmonic is the same again; a shift of half a turn flips the odd ones alone."""
    decoder, angle = CurveDecoder(hidden=6, harmonics=4).double(), torch.tensor([0.3, 2.0], dtype=torch.float64)
    x = torch.tensor([0.2, 0.9], dtype=torch.float64)
    torch.testing.assert_close(decoder(x, angle + 2 * math.pi), decoder(x, angle))
    inputs = []
    decoder.network = nn.Module()
    decoder.network.forward = lambda values: inputs.append(values) or values
    decoder(x, angle)
    by_hand = [x, *[(k * angle).cos() for k in range(1, 5)], *[(k * angle).sin() for k in range(1, 5)]]
    torch.testing.assert_close(inputs[0], torch.stack(by_hand, -1))


def test_bad_scales_and_harmonics_are_refused():
    with pytest.raises(ValueError, match="scale must be a positive standard deviation, got -1"):
        Horn(scale=-1)
    with pytest.raises(ValueError, match="harmonics must be at least 1, got 0"):
        CurveDecoder(harmonics=0)
