"""Distances from points that depend on the data, on a Gaussian whose posterior is known."""

import numpy as np
import pytest
import torch

from pyrometer.inference.diagnostics.calibration.ranked_quantities import randomised_pit
from pyrometer.inference.diagnostics.calibration.tarp import References, distances
from pyrometer.inference.diagnostics.rank_bands import departure, p_value

PRIOR = torch.tensor([2.0, 0.3], dtype=torch.float64)
NOISE = torch.tensor([0.7, 0.2], dtype=torch.float64)
VARIANCE = 1 / (PRIOR**-2 + NOISE**-2)
COUNT, DRAWS, PAIRS = 1500, 60, 100


def simulate(*shape):
    latents = PRIOR * torch.randn(*shape, 2, dtype=torch.float64)
    return latents, latents + NOISE * torch.randn(*shape, 2, dtype=torch.float64)


def chance(guide, knowing=True):
    """The p-value of the ranks of COUNT truths by their distances from points that know the data, or do not."""
    pairs, pair_data = simulate(PAIRS, COUNT)
    truth, data = simulate(COUNT)
    seen = (pair_data, data) if knowing else (torch.zeros_like(pair_data), torch.zeros_like(data))
    nearest = References.of(seen[0]).nearest(seen[1])
    pit = randomised_pit(distances(torch.cat([truth.unsqueeze(0), guide(data)]), pairs, nearest)).numpy()
    return p_value(COUNT, float(departure(pit)))


def posterior(narrow):
    def draws(data):
        noise = torch.randn(DRAWS, COUNT, 2, dtype=torch.float64)
        return data * VARIANCE / NOISE**2 + narrow * VARIANCE.sqrt() * noise

    return draws


def prior(data):
    return PRIOR * torch.randn(DRAWS, *data.shape, dtype=torch.float64)


def test_the_exact_posterior_ranks_uniformly():
    chances = np.array([chance(posterior(1.0)) for _ in range(20)])
    assert chances.min() > 1e-6  # 20 true claims
    assert 0.15 < chances.mean() < 0.95  # uniform, or above by the whole counts: 0.5 +- 4.3 * 0.29 / sqrt(20)


@pytest.mark.parametrize("narrow", [0.8, 1.25])
def test_a_guide_too_narrow_or_too_wide_is_rejected(narrow):
    assert chance(posterior(narrow)) < 1e-6


def test_the_prior_is_rejected_by_points_that_know_the_data_and_by_no_others():
    assert chance(prior) < 1e-10
    assert chance(prior, knowing=False) > 1e-3


def test_the_point_is_that_of_the_pair_with_the_nearest_standardised_data():
    data, wanted = torch.randn(7, 3, 2), torch.randn(3, 2)
    data[..., 1] *= 100.0
    wanted[:, 1] *= 100.0
    spread = data.flatten(0, 1).std(0)
    expected = [min(range(7), key=lambda b: float((((data[b, c] - wanted[c]) / spread) ** 2).sum())) for c in range(3)]
    assert References.of(data).nearest(wanted).tolist() == expected


def test_the_units_of_a_latent_do_not_matter():
    pairs, nearest, latents = torch.randn(50, 3, 2), torch.tensor([4, 0, 49]), torch.randn(6, 3, 2)
    units = torch.tensor([1000.0, 0.01])
    torch.testing.assert_close(distances(latents * units, pairs * units, nearest), distances(latents, pairs, nearest))


def test_a_coordinate_that_does_not_vary_does_no_harm():
    pairs, latents = torch.randn(50, 3, 2), torch.randn(6, 3, 2)
    pairs[..., 1] = latents[..., 1] = 5.0
    found = distances(latents, pairs, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(found, distances(latents[..., :1], pairs[..., :1], torch.tensor([0, 1, 2])))
