"""The benchmarks of K-means and of the Bayesian mixture count right, and say when it is not enough."""

import numpy as np
import pyro
import pytest
import torch

from pyrometer.benchmarks.kmeans import FITTED, PLAIN, SCIKIT, Case, Reached, report, split_at
from pyrometer.benchmarks.mixture_posterior import Found, mixture, named, ordered
from pyrometer.benchmarks.mixture_posterior import report as report_posterior
from pyrometer.benchmarks.posteriors import low_dim_gauss_mix
from pyrometer.recipes.deterministic_annealing import critical_beta


def reached(annealed, fitted=10.0, split=1.001):
    single = {PLAIN: np.array([10.0, 12.0, 10.005]), "annealed, gentle": annealed, "annealed, wide": annealed}
    return Reached(Case("spiral", torch.zeros(3, 2), 4), single, {SCIKIT: 10.004, FITTED: fitted}, split)


def test_seeds_that_reach_the_least_inertia_are_counted():
    text, good = report([reached(np.array([10.0, 10.0, 11.0]))], seeds=3)
    assert good
    assert f"| spiral | {PLAIN} | 1 of 3 | 2 of 3 | 1.0005 | 1.2000 |" in text
    assert "| spiral | annealed, wide | 2 of 3 | 2 of 3 | 1.0000 | 1.1000 |" in text
    assert "1.0010 on spiral" in text


@pytest.mark.parametrize("worse", [{"annealed": np.array([10.0, 11.0, 11.0])}, {"fitted": 10.1}, {"split": 1.03}])
def test_what_is_not_enough_is_said(worse):
    assert not report([reached(**{"annealed": np.array([10.0, 10.0, 11.0]), **worse})], seeds=3)[1]


def test_the_first_split_is_measured_where_theory_has_it():
    y = torch.randn(60, 3) * torch.tensor([3.0, 1.0, 0.5])
    assert split_at(y, steps=200) / critical_beta(y) == pytest.approx(1.0, abs=0.005)


def test_a_mean_of_nuts_beyond_a_tenth_of_a_deviation_is_not_enough():
    reference = np.random.default_rng(0).normal(size=(2, 500, 5)) * 2.0
    mean, sd = reference.mean((0, 1)), reference.std((0, 1))
    for off, good in ((0.09, True), (-0.11, False)):
        found = Found("NUTS", mean + off * sd, sd, 0.02 * sd, float("nan"))
        text, right = report_posterior(reference, [found])
        assert right is good
        assert f"| {off:+.3f} ± 0.020 |" in text


def test_the_programs_density_is_that_of_the_ordered_reference():
    """The two differ by a constant over ordered points, so that their posteriors are one."""
    y = torch.randn(7)
    differences = []
    for _ in range(3):
        first, gap = torch.randn(()), torch.rand(()) + 0.2
        sigma, theta = torch.rand(2) + 0.4, torch.rand(()) * 0.8 + 0.1
        of_reference = {"first": first, "gap": gap, "sigma": sigma, "theta": theta}
        means = torch.stack([first, first + gap]).unsqueeze(-1)
        own = {"weights": torch.stack([theta, 1 - theta]), "means": means, "scales": sigma.unsqueeze(-1)}
        theirs = pyro.poutine.trace(pyro.condition(low_dim_gauss_mix, of_reference)).get_trace(y).log_prob_sum()
        model = mixture()
        prior = pyro.poutine.trace(pyro.poutine.block(pyro.condition(model, own), hide=["component", "features"]))
        ours = prior.get_trace(y.unsqueeze(-1)).log_prob_sum() + model.log_likelihood(y.unsqueeze(-1), **own).sum()
        differences.append((ours - theirs).item())
    assert max(differences) - min(differences) < 1e-4


def test_components_are_named_by_the_order_of_their_means():
    draws = {
        "means": torch.tensor([[[[2.0], [-1.0]]]]),
        "scales": torch.tensor([[[[0.3], [0.7]]]]),
        "weights": torch.tensor([[[0.2, 0.8]]]),
    }
    np.testing.assert_allclose(named(ordered(draws)), [[[-1.0, 2.0, 0.7, 0.3, 0.8]]], rtol=1e-6)
