"""The energy distance against scipy's, in one dimension, and against permutations."""

import pytest
import torch
from scipy import stats

from pyrometer.inference.diagnostics import energy_distance


def test_the_energy_distance_is_scipy_s_squared():
    """Oracle: scipy, in one dimension."""
    first, second = torch.randn(40, 1), 0.7 * torch.randn(55, 1) + 0.4
    expected = stats.energy_distance(first[:, 0].numpy(), second[:, 0].numpy()) ** 2
    assert energy_distance(first, second).value == pytest.approx(expected, rel=1e-5)


def test_the_same_distribution_is_within_its_permutations_and_another_is_not():
    same = energy_distance(torch.randn(100, 3), torch.randn(100, 3))
    assert same.permuted.shape == (200,)
    assert same.p > 2e-2
    other = energy_distance(torch.randn(100, 3), torch.randn(100, 3) + 1.0)
    assert (other.permuted < other.value).all()
    assert other.p == 1 / 201
    assert other.ratio == pytest.approx(other.value / other.permuted.mean().item())


def test_samples_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"must be \(N, D\) and \(M, D\), got \(5, 3\) and \(5, 4\)"):
        energy_distance(torch.zeros(5, 3), torch.zeros(5, 4))
    with pytest.raises(ValueError, match=r"got \(5, 8, 8\) and \(5, 8, 8\); flatten"):
        energy_distance(torch.zeros(5, 8, 8), torch.zeros(5, 8, 8))
    with pytest.raises(ValueError, match="got 0 and 5 rows and 200 permutations"):
        energy_distance(torch.zeros(0, 3), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="got 5 and 5 rows and 0 permutations"):
        energy_distance(torch.zeros(5, 3), torch.zeros(5, 3), permutations=0)
