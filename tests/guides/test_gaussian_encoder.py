"""The guide's density against the Gaussian's formula with the moments that its network gives."""

import math

import pyro.poutine as poutine
import pytest
import torch

from pyrometer.guides import GaussianEncoder


@pytest.fixture
def guide():
    return GaussianEncoder((4, 5), latents=3, hidden=7).double()


def test_the_density_is_the_formula(guide):
    image = torch.rand(6, 4, 5, dtype=torch.float64)
    trace = poutine.trace(guide).get_trace(image)
    trace.compute_log_prob()
    site = trace.nodes["code"]
    moments = guide.encoder(image.reshape(6, 20))
    mean, log_scale = moments[:, :3], moments[:, 3:]
    standard = (site["value"] - mean) / log_scale.exp()
    expected = -(standard**2 / 2 + log_scale + math.log(2 * math.pi) / 2).sum(-1)
    torch.testing.assert_close(site["log_prob"], expected)


def test_an_image_has_the_same_distribution_in_any_company(guide):
    image = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    together, alone = guide.distribution(image), guide.distribution(image[1, 2])
    torch.testing.assert_close(together.mean[1, 2], alone.mean)
    torch.testing.assert_close(together.variance[1, 2], alone.variance)


@pytest.mark.parametrize(("log_scale", "kept"), [(-50.0, -6.0), (-1.5, -1.5), (50.0, 3.0)])
def test_scales_stay_where_their_squares_are_numbers(guide, log_scale, kept):
    with torch.no_grad():
        guide.encoder[-1].weight.zero_()
        guide.encoder[-1].bias.fill_(log_scale)
    stddev = guide.distribution(torch.rand(2, 4, 5, dtype=torch.float64)).stddev
    torch.testing.assert_close(stddev, torch.full_like(stddev, math.exp(kept)))
