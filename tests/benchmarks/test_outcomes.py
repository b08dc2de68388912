"""The energy distance of the benchmark against scipy's, and its null distribution."""

import pytest
import torch
from scipy import stats

from benchmarks.outcomes import energy_distance


def test_the_energy_distance_is_scipy_s_squared():
    """Oracle: scipy, in one dimension."""
    first, second = torch.randn(40, 1), 0.7 * torch.randn(55, 1) + 0.4
    expected = stats.energy_distance(first[:, 0].numpy(), second[:, 0].numpy()) ** 2
    assert energy_distance(first, second)[0] == pytest.approx(expected, rel=1e-5)


def test_the_same_distribution_is_within_its_permutations_and_another_is_not():
    same, null = energy_distance(torch.randn(100, 3), torch.randn(100, 3), 200)
    assert len(null) == 200
    assert (null >= same).double().mean() > 2e-2
    other, null = energy_distance(torch.randn(100, 3), torch.randn(100, 3) + 1.0, 200)
    assert (null < other).all()
