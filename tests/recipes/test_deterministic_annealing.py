"""Deterministic annealing against the energy view, the theory of its first split, and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans as Judge

from pyrometer import EnergyView
from pyrometer.data import spiral
from pyrometer.models import KMeans
from pyrometer.models.kmeans import em_step
from pyrometer.recipes.deterministic_annealing import anneal, cooling, critical_beta, distinct, lloyd


def blobs():
    centres = torch.tensor([[-4.0, 0.0], [-2.5, 0.3], [3.0, 1.0], [3.5, -2.0]], dtype=torch.float64)
    return centres.repeat(30, 1) + 0.4 * torch.randn(120, 2, dtype=torch.float64)


def growth(y, beta, steps=300):
    """By how much a step of EM multiplies a small distance between two prototypes at the mean of the data."""
    part = 1e-9 * torch.tensor([[1.0, 0.7], [-1.0, -0.7]], dtype=y.dtype)
    w = y.mean(0) + part
    for _ in range(steps):
        before, w = w, em_step(y, w, beta)
    return ((w[0] - w[1]).norm() / (before[0] - before[1]).norm()).item()


@pytest.mark.parametrize("data", ["spiral", "blobs"])
def test_the_first_split_comes_at_the_critical_temperature(data):
    """A perturbation of prototypes at the mean dies at 0.98 beta_c and grows at 1.02, as beta / beta_c predicts."""
    y = spiral(300).double() if data == "spiral" else blobs()
    beta = 0.5 / np.linalg.eigvalsh(np.cov(y.T.numpy(), bias=True))[-1]
    assert critical_beta(y) == pytest.approx(beta, rel=1e-12)
    assert growth(y, 0.98 * beta) == pytest.approx(0.98, abs=0.002)
    assert growth(y, 1.02 * beta) == pytest.approx(1.02, abs=0.002)


def test_a_fine_schedule_splits_within_two_per_cent():
    y = blobs()
    betas = [critical_beta(y) * factor for factor in np.linspace(0.96, 1.04, 33)]
    found = anneal(y, 2, betas, steps=400).trajectory
    apart = found.prototypes.diff("component").values.squeeze()
    width = np.linalg.norm(apart, axis=-1) * np.sqrt(found.beta.values)
    first = found.beta.values[np.argmax(width > 0.05)]
    assert width[0] < 0.01
    assert first / critical_beta(y) == pytest.approx(1.0, abs=0.02)


def test_its_energies_are_those_of_the_view_at_the_same_prototypes():
    y = blobs()
    found = anneal(y, 4, seeds=[3, 5]).trajectory
    for at in (0, 6, 12, 20):
        rung = found.isel(beta=at, seed=1)
        view = EnergyView(KMeans(torch.as_tensor(rung.prototypes.values))).bind(features=y)
        ladder = view.ladder([float(rung.beta)]).isel(beta=0)
        for name in ("free_energy", "mean_energy", "heat_capacity"):
            assert rung[name].item() == pytest.approx(ladder[name].item(), rel=1e-8, abs=1e-9), name


def test_prototypes_start_at_the_mean_and_part_into_all_of_them():
    y = blobs()
    found = anneal(y, 4, steps=200, seeds=range(3))
    clusters = found.trajectory.clusters
    assert (clusters.isel(beta=0) == 1).all()
    assert (clusters.isel(beta=-1) == 4).all()
    assert (clusters.diff("beta") >= 0).all()
    start = found.trajectory.prototypes.isel(beta=0).values
    np.testing.assert_allclose(start, np.broadcast_to(y.mean(0).numpy(), start.shape), atol=0.02)


def test_it_reaches_what_scikit_learn_reaches_with_many_restarts():
    y = blobs()
    best = Judge(4, n_init=20, random_state=0, tol=0).fit(y.numpy()).inertia_
    found = anneal(y, 4, seeds=range(5))
    np.testing.assert_allclose(found.inertia, best, rtol=1e-9)
    again = [KMeans(prototypes).inertia(y).item() for prototypes in found.prototypes]
    np.testing.assert_allclose(again, best, rtol=1e-9)


def test_a_seed_gives_the_same_run_alone_and_in_company():
    y = spiral(100)
    together, alone = anneal(y, 5, perturbation=1.0, seeds=[1, 2]), anneal(y, 5, perturbation=1.0, seeds=[2])
    torch.testing.assert_close(together.prototypes[1], alone.prototypes[0], rtol=1e-6, atol=1e-6)
    assert not torch.allclose(together.prototypes[0], alone.prototypes[0], atol=1e-3)


def test_lloyds_algorithm_rests_at_its_end():
    y = blobs()
    ended = lloyd(y, y[:8].reshape(2, 4, 2))
    assert torch.equal(em_step(y, ended), ended)
    assert not torch.equal(lloyd(y, y[:4], most=1), lloyd(y, y[:4]))


def test_prototypes_on_each_other_count_once():
    w = torch.tensor([[0.0, 0.0], [0.001, 0.0], [3.0, 0.0], [0.0, 0.0]])
    assert distinct(w, 1.0).item() == 2
    assert distinct(w, 1e6).item() == 3


def test_cooling_is_geometric_about_the_critical_temperature():
    y = blobs()
    betas = np.array(cooling(y, rate=1.3, start=0.5, stop=50.0))
    np.testing.assert_allclose(betas[1:] / betas[:-1], 1.3)
    assert betas[0] == pytest.approx(0.5 * critical_beta(y))
    assert 50 * critical_beta(y) <= betas[-1] < 65 * critical_beta(y)


@pytest.mark.parametrize("betas", [[], [0.0, 1.0], [2.0, 1.0], [1.0, math.inf]])
def test_temperatures_that_do_not_fall_are_refused(betas):
    with pytest.raises(ValueError, match="betas must be positive, finite and rising"):
        anneal(blobs(), 2, betas)


def test_numbers_that_are_not_positive_are_refused():
    with pytest.raises(ValueError, match="must be positive, got 0, 10 and 0.001"):
        anneal(blobs(), 0)
