"""Moments by weights and beside reference draws, against normal distributions, and k against ArviZ's own."""

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr

from pyrometer import EnergyView, to_arviz
from pyrometer.inference.arviz_versions import BEFORE_1
from pyrometer.inference.diagnostics.moments import reference_moments, weighted_moments

SIGMAS = 4.3
LOC, SCALE = 1.3, 0.7
GUIDE_LOC, GUIDE_SCALE = 1.0, 0.8
DRAWS = 20_000


def normal(loc, scale, shape, seed=0):
    return np.random.default_rng(seed).normal(loc, scale, size=shape)


def log_density(z, loc, scale):
    return -0.5 * ((z - loc) / scale) ** 2 - np.log(scale)


def weighted(seed=0, shape=(1, DRAWS)):
    z = normal(GUIDE_LOC, GUIDE_SCALE, shape, seed)
    dims = ("chain", "draw", "data")[: z.ndim]
    log_weight = log_density(z, LOC, SCALE) - log_density(z, GUIDE_LOC, GUIDE_SCALE)
    return weighted_moments(xr.Dataset({"z": (dims, z)}), xr.DataArray(log_weight, dims=dims))


def value(table, moment):
    return table.z.sel(moment=moment).item()


def test_weights_correct_the_guide_to_the_posteriors_moments():
    table = weighted()
    assert value(table, "guide_mean") == pytest.approx(GUIDE_LOC, abs=SIGMAS * GUIDE_SCALE / DRAWS**0.5)
    assert value(table, "guide_sd") == pytest.approx(GUIDE_SCALE, rel=SIGMAS / (2 * DRAWS) ** 0.5)
    assert value(table, "mean") == pytest.approx(LOC, abs=SIGMAS * SCALE * value(table, "shift_error"))
    assert value(table, "sd") == pytest.approx(SCALE, rel=SIGMAS * value(table, "log_ratio_error"))
    shift = (GUIDE_LOC - LOC) / SCALE
    assert value(table, "shift") == pytest.approx(shift, abs=SIGMAS * value(table, "shift_error"))
    ratio = np.log(GUIDE_SCALE / SCALE)
    assert value(table, "log_ratio") == pytest.approx(ratio, abs=SIGMAS * value(table, "log_ratio_error"))


def test_the_errors_are_the_spread_over_repeats():
    """Of 200 repeats the spread of an estimate is known to 5 %; the errors leave out that weights are smoothed."""
    tables = [weighted(seed, (1, 2000)) for seed in range(200)]
    for moment in ("shift", "log_ratio"):
        spread = np.std([value(table, moment) for table in tables], ddof=1)
        told = np.mean([value(table, f"{moment}_error") for table in tables])
        assert spread / told == pytest.approx(1.0, abs=SIGMAS * 0.05)


def test_weights_by_datum_correct_each_datum_by_its_own():
    table = weighted(3, (1, DRAWS, 2))
    for datum in range(2):
        own = table.z.sel(moment="mean").isel(data=datum).item()
        error = table.z.sel(moment="shift_error").isel(data=datum).item()
        assert own == pytest.approx(LOC, abs=SIGMAS * SCALE * error)
    assert table.pareto_k.shape == table.ess.shape == (2,)


def test_discrete_sites_have_no_moments():
    draws = xr.Dataset({"k": (("chain", "draw"), np.arange(200).reshape(1, 200) % 2)})
    table = weighted_moments(draws, xr.DataArray(np.zeros((1, 200)), dims=("chain", "draw")))
    assert "k" not in table


@pytest.mark.skipif(not BEFORE_1, reason="psislw is public in ArviZ 0.23 only")
def test_pareto_k_is_arvizs():
    def model(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mu, 0.5), obs=y)

    def guide(y):
        pyro.sample("mu", dist.Normal(y.mean() + 0.2, 0.2))

    view = EnergyView(model).bind(torch.tensor([0.3, -0.1, 1.2], dtype=torch.float64))
    data = to_arviz(view, guide, 2000)
    table = weighted_moments(data.posterior, data.sample_stats.log_weight)
    smoothed, k = az.psislw(data.sample_stats.log_weight.values[0].copy())
    assert table.pareto_k.item() == pytest.approx(float(k), rel=1e-12)
    mean = (np.exp(smoothed) * data.posterior.mu.values[0]).sum()
    assert table.mu.sel(moment="mean").item() == pytest.approx(mean, rel=1e-12)


def test_beside_independent_draws_the_errors_are_those_of_two_samples():
    z = xr.Dataset({"z": (("chain", "draw"), normal(GUIDE_LOC, GUIDE_SCALE, (1, DRAWS)))})
    reference = xr.Dataset({"z": (("chain", "draw"), normal(LOC, SCALE, (4, 5000), seed=1))})
    table = reference_moments(z, reference)
    assert value(table, "shift") == pytest.approx((GUIDE_LOC - LOC) / SCALE, abs=SIGMAS * value(table, "shift_error"))
    expected = ((GUIDE_SCALE / SCALE) ** 2 / DRAWS + 1 / 20_000) ** 0.5
    assert value(table, "shift_error") == pytest.approx(expected, rel=0.05)


def test_correlated_reference_draws_count_for_less():
    rng = np.random.default_rng(2)
    noise, chain = rng.normal(size=(2, 4000)), np.zeros((2, 4000))
    for step in range(1, 4000):
        chain[:, step] = 0.9 * chain[:, step - 1] + noise[:, step]
    z = xr.Dataset({"z": (("chain", "draw"), normal(0.0, 1.0, (1, 100_000)))})
    table = reference_moments(z, xr.Dataset({"z": (("chain", "draw"), chain)}))
    # An autoregression of 0.9 makes 19 draws worth one.
    assert value(table, "shift_error") == pytest.approx((19 / 8000) ** 0.5, rel=0.2)


def test_a_point_has_no_standard_deviation():
    z = xr.Dataset({"z": (("chain", "draw"), np.full((1, 2), 0.4))})
    table = reference_moments(z, xr.Dataset({"z": (("chain", "draw"), normal(LOC, SCALE, (4, 500)))}))
    assert value(table, "log_ratio") == -np.inf
    assert value(table, "guide_mean") == 0.4
