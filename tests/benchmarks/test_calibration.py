"""The benchmark of annealing's errors measures against a closed form, and says where the errors are not right."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from pyrometer.benchmarks.calibration import Case, Measured, measure, problem, report


def measured(z, datum_z=(0.5, -0.5), spread=0.6):
    return Measured(z, list(datum_z), chains=64, temperatures=100, spread=spread, seconds=2.0)


def group(z, temperatures=None):
    return [Case(3, temperatures, seed) for seed in range(len(z))], [measured(one) for one in z]


def normal_scores(spread, count=200):
    """Quantiles of a normal distribution."""
    at = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return (spread * math.sqrt(2) * torch.erfinv(2 * at - 1)).tolist()


def test_the_exact_free_energy_is_that_of_the_marginal_gaussian():
    """Oracle: the marginal covariance W W^T + s^2 I in float64."""
    torch.manual_seed(3)
    view, exact = problem(2, size=4)
    model, data = view.program.callable, view.program.args[0].double()
    loadings = model.loadings.detach().double()
    covariance = loadings @ loadings.mT + 0.49 * torch.eye(10, dtype=torch.float64)
    expected = -MultivariateNormal(model.mean.detach().double(), covariance).log_prob(data)
    torch.testing.assert_close(exact, expected, rtol=1e-6, atol=1e-6)
    assert len(data) == 4
    assert data.std() > 0.7


def test_a_repeat_is_within_its_errors_and_can_be_repeated():
    one = measure(Case(2, 200, 5))
    assert abs(one.z) < 4.3
    assert len(one.datum_z) == 10
    assert one.temperatures == 200
    assert measure(Case(2, 200, 5)).z == one.z


def test_scores_of_a_normal_distribution_are_calibrated():
    cases, ones = group(normal_scores(1.0))
    text, calibrated = report([cases], [ones])
    assert calibrated
    assert "| 3 | default: 100 | 200 | 0.60 | 0.00 | 1.00 | 95.0 % | 0.50 | 100.0 % | 0 of 200 | 2.0 |" in text


@pytest.mark.parametrize(("spread", "complaint"), [(1.3, "standard deviation 1.30"), (0.8, "standard deviation 0.80")])
def test_errors_that_are_too_small_or_too_large_are_named(spread, complaint):
    cases, ones = group(normal_scores(spread))
    text, calibrated = report([cases], [ones])
    assert not calibrated
    assert complaint in text
    assert "the interval covers" in text


def test_withheld_intervals_are_counted_and_an_interval_that_should_be_withheld_is_named():
    cases, ones = group([math.nan, math.nan, math.nan], temperatures=20)
    text, calibrated = report([cases], [ones])
    assert calibrated
    assert "| 3 of 3 |" in text
    text, calibrated = report([cases], [[*ones[:2], measured(0.1)]])
    assert not calibrated
    assert "1 intervals were given that should not be" in text


def test_intervals_that_are_all_withheld_at_the_default_are_named():
    cases, ones = group([math.nan, math.nan])
    assert "the intervals were withheld" in report([cases], [ones])[0]
