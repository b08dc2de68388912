"""K-means as a program, against scikit-learn, the mixture, enumeration by the energy view, and differences."""

import math
from functools import partial

import numpy as np
import pyro.poutine as poutine
import pytest
import torch
from sklearn.cluster import KMeans as Judge
from sklearn.mixture import GaussianMixture as MixtureJudge

import pyrometer
from pyrometer import EnergyView, Marginalised, Minimised
from pyrometer.models import GaussianMixture, KMeans
from pyrometer.models.kmeans import assignments, em_step

POINTS = {"component": torch.arange(4)}
CLUSTERS = torch.tensor([[-3.0, 0.4, 1.0], [2.0, 2.5, -1.0], [0.5, -3.0, 2.0], [4.0, -1.0, 0.0]], dtype=torch.float64)


@pytest.fixture
def y():
    return CLUSTERS.repeat(10, 1) + 0.6 * torch.randn(40, 3, dtype=torch.float64)


@pytest.fixture
def model(y):
    return KMeans(y[:4] + 0.3)


def rested(y, prototypes, beta, steps=2000):
    for _ in range(steps):
        prototypes = em_step(y, prototypes, beta)
    return prototypes


def test_the_programs_energy_is_the_squared_distance_and_two_constants(model, y):
    """E = |y - w_k|^2 + (D/2) log pi + log K."""
    view = EnergyView(model).bind(features=y)
    energy = view.energy_per_datum({"component": torch.arange(4)[:, None].expand(4, 40)})
    direct = (y - model.prototypes.unsqueeze(1)).square().sum(-1) + 1.5 * math.log(math.pi) + math.log(4)
    torch.testing.assert_close(energy, direct, rtol=1e-12, atol=0)
    torch.testing.assert_close(model.squared_distances(y).mT + model.constant, direct, rtol=1e-12, atol=1e-12)


def test_it_is_the_mixture_of_equal_weights_and_the_variance_one_half(model, y):
    mixture = GaussianMixture(model.prototypes.detach(), scale=math.sqrt(0.5), shared=True)
    torch.testing.assert_close(model.free_energy(y), -mixture.log_evidence(y), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model.responsibilities(y), mixture.responsibilities(y).probs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("beta", [0.3, 1.0, 7.0, math.inf])
def test_free_energies_are_those_of_the_view(model, y, beta):
    view = EnergyView(model).bind(features=y)
    found = view.zero_temperature() if beta == math.inf else view.free_energy(beta=beta)
    torch.testing.assert_close(model.free_energy(y, beta), found.per_datum, rtol=1e-10, atol=0)


def test_f_inf_is_scikit_learns_objective_of_k_means(y):
    """F_inf less the constants is scikit-learn's inertia at its own centres, to 1e-6; its labels are our minima."""
    judge = Judge(4, n_init=1, random_state=0, tol=0).fit(y.numpy())
    model = KMeans(torch.as_tensor(judge.cluster_centers_))
    lowest = EnergyView(model).bind(features=y).zero_temperature()
    assert lowest.energy.item() - 40 * model.constant == pytest.approx(judge.inertia_, rel=1e-6)
    assert model.inertia(y).item() == pytest.approx(judge.inertia_, rel=1e-6)
    assert np.array_equal(lowest.latents["component"].numpy(), judge.labels_)


def test_f_1_of_a_fitted_mixture_is_scikit_learns_score(y):
    """A mixture fitted by ``fit``; -F_1 / N is ``GaussianMixture.score`` of the same parameters, to 1e-6."""
    model = GaussianMixture(y[:4], scale=0.9)
    how = {"objective": Marginalised(POINTS), "steps": 60, "batch_size": None, "seed": 0, "progress": False}
    pyrometer.fit(model, None, {"features": y}, optimizer=partial(torch.optim.Adam, lr=0.05), compile=False, **how)
    judge = MixtureJudge(4, covariance_type="diag")
    judge.weights_, judge.means_ = model.weights.detach().numpy(), model.means.detach().numpy()
    judge.covariances_ = model.scales.detach().numpy() ** 2
    judge.precisions_cholesky_ = 1 / model.scales.detach().numpy()
    free_energy = EnergyView(model).bind(features=y).free_energy().value.item()
    assert -free_energy / 40 == pytest.approx(judge.score(y.numpy()), rel=1e-6)


def test_hard_em_is_lloyds_algorithm(model, y):
    """scikit-learn's, from the same prototypes, until it rests."""
    start = model.prototypes.detach()
    judge = Judge(4, init=start.numpy(), n_init=1, tol=0, algorithm="lloyd").fit(y.numpy())
    np.testing.assert_allclose(rested(y, start, math.inf, 50), judge.cluster_centers_, rtol=1e-9)


@pytest.mark.parametrize("beta", [0.4, 3.0, math.inf])
def test_an_em_step_never_raises_the_free_energy_and_rests_where_its_gradient_is_zero(model, y, beta):
    """The gradient of F_beta in the prototypes, by autograd."""
    values, w = [], model.prototypes.detach()
    for _ in range(5):
        values.append(KMeans(w).free_energy(y, beta).sum().item())
        w = em_step(y, w, beta)
    assert np.all(np.diff(values) <= 1e-9)
    assert values[1] < values[0] - 0.1
    at_rest = KMeans(rested(y, w, beta))
    (gradient,) = torch.autograd.grad(at_rest.free_energy(y, beta).sum(), at_rest.prototypes)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-7)


@pytest.mark.parametrize("beta", [3.0, math.inf])
def test_gradient_descent_without_a_guide_ends_where_em_ends(model, y, beta):
    """The same outer minimisation: ``fit`` on F_beta, or on F_inf, from the same prototypes."""
    expected = rested(y, model.prototypes.detach(), beta)
    cold = beta == math.inf
    how = {"steps": 150, "batch_size": None, "seed": 0, "progress": False, "compile": False}
    how |= {"objective": Minimised(POINTS)} if cold else {"objective": Marginalised(POINTS), "beta": beta}
    pyrometer.fit(model, None, {"features": y}, optimizer=partial(torch.optim.SGD, lr=0.02), **how)
    torch.testing.assert_close(model.prototypes.detach(), expected, rtol=1e-6, atol=1e-6)


def test_runs_in_front_are_runs_of_their_own(y):
    runs = y[:12].reshape(3, 4, 3)
    for beta in (2.0, math.inf):
        one_by_one = torch.stack([em_step(y, run, beta) for run in runs])
        torch.testing.assert_close(em_step(y, runs, beta), one_by_one, rtol=1e-12, atol=1e-12)
        assert assignments(y, runs, beta).shape == (3, 40, 4)


def test_a_prototype_that_nothing_is_assigned_to_stays(y):
    far = torch.cat([y[:3], torch.full((1, 3), 1e3, dtype=y.dtype)])
    for beta in (5.0, math.inf):
        assert torch.equal(em_step(y, far, beta)[3], far[3])


def test_simulated_data_lie_about_their_prototypes():
    """Uniform components, and a variance of one half in each dimension: within 4.3 standard errors."""
    model, size = KMeans(CLUSTERS), 4000
    trace = poutine.trace(poutine.uncondition(model)).get_trace(torch.empty(size, 3))
    drawn, at = trace.nodes["component"]["value"], trace.nodes["features"]["value"]
    counts = torch.bincount(drawn, minlength=4) / size
    assert (counts - 0.25).abs().max() < 4.3 * math.sqrt(0.25 * 0.75 / size)
    variance = (at - CLUSTERS[drawn]).square().mean()
    assert abs(variance.item() - 0.5) < 4.3 * 0.5 * math.sqrt(2 / (3 * size))


def test_prototypes_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"prototypes must have shape \(components, dimensions\), got \(3,\)"):
        KMeans(torch.zeros(3))
