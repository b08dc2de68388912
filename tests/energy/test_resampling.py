"""Annealing with resampling: unbiased for Z, and with errors that are the spread over repeats."""

import pyro.poutine as poutine
import pytest
import torch
from scipy.stats import chi2

from pyrometer import EnergyView
from pyrometer.inference.energy.resampling import ISLAND, _systematic
from pyrometer.models import FactorAnalysis


def made(size):
    model = FactorAnalysis(12, 6, noise=0.6).double()
    with torch.no_grad():
        x = poutine.uncondition(model)(torch.empty(size, 12, dtype=torch.float64))
    return model, EnergyView(model).bind(x), x


def test_errors_over_islands_are_the_spread_over_repeats():
    model, view, x = made(60)
    exact = -model.log_evidence(x).detach()
    found = view.free_energy(method="annealing", temperatures=60, chains=64, resample=True)
    z = (found.per_datum - exact) / found.per_datum_error
    # Eight islands give an error with seven degrees of freedom: the variance of t is 7/5.
    low, high = chi2.ppf([1e-5, 1 - 1e-5], len(z)) / len(z)
    assert low < z.square().mean() / (7 / 5) < high
    assert z.mean().abs() < 4.3 * (7 / 5 / len(z)) ** 0.5


def test_resampling_narrows_the_weights():
    _, view, _ = made(40)
    plain, resampled = (
        view.free_energy(method="annealing", temperatures=40, chains=64, resample=choice) for choice in (False, True)
    )
    # An island of eight chains has about an eighth of the variance of one, and resampling lessens it further.
    spread = {"plain": plain.evidence["prior_log_weight_sd"], "resampled": resampled.evidence["prior_log_weight_sd"]}
    assert spread["resampled"].mean() < 0.6 * spread["plain"].mean()


def test_a_chain_is_taken_as_often_as_its_weight_says():
    weights = torch.tensor([0.5, 0.25, 0.125, 0.125, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    taken = _systematic(weights.log().view(1, ISLAND, 1))[0, :, 0]
    assert torch.bincount(taken, minlength=ISLAND).tolist() == [4, 2, 1, 1, 0, 0, 0, 0]


def test_chains_must_fill_islands():
    _, view, _ = made(2)
    for chains in (16, 36):
        with pytest.raises(ValueError, match="chains must be a multiple of 8 from 32 on"):
            view.free_energy(method="annealing", chains=chains, resample=True)
