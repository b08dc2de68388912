"""The Bayesian mixture against densities written by hand."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Categorical, Dirichlet, LogNormal, Normal

from pyrometer import EnergyView
from pyrometer.models import BayesianMixture
from pyrometer.models.bayesian_mixture import inverse_gamma_scale

SPREAD, CONCENTRATION = 1.7, 2.5


@pytest.fixture
def latents():
    weights = Dirichlet(torch.ones(3)).sample()
    return {"weights": weights, "means": torch.randn(3, 2), "scales": torch.rand(3, 2) + 0.3}


def test_the_energy_is_that_of_the_densities(latents):
    model, x = BayesianMixture(3, 2, spread=SPREAD, concentration=CONCENTRATION), torch.randn(6, 2)
    component = torch.tensor([0, 1, 2, 2, 1, 0])
    prior = Dirichlet(torch.full((3,), CONCENTRATION)).log_prob(latents["weights"])
    prior += (
        Normal(0.0, SPREAD).log_prob(latents["means"]).sum() + LogNormal(0.0, 1.0).log_prob(latents["scales"]).sum()
    )
    local = Categorical(latents["weights"]).log_prob(component).sum()
    local += Normal(latents["means"][component], latents["scales"][component]).log_prob(x).sum()
    energy = EnergyView(model).bind(features=x).energy({**latents, "component": component})
    torch.testing.assert_close(energy, -(prior + local))


def test_the_likelihood_sums_the_components(latents):
    model, x = BayesianMixture(3, 2), torch.randn(6, 2)
    view = EnergyView(model).bind(features=x)
    summed = view.free_energy(method="enumerate", given=latents)
    torch.testing.assert_close(summed.per_datum.float(), -model.log_likelihood(x, **latents))


def test_a_prior_of_the_variances_is_scipys_inverse_gamma(latents):
    """p(sigma) = 2 sigma InverseGamma(sigma^2), by SciPy."""
    sigma = latents["scales"].double()
    expected = stats.invgamma(3.0, scale=2.0).logpdf(sigma.square().numpy()) + np.log(2 * sigma.numpy())
    np.testing.assert_allclose(inverse_gamma_scale(3.0, 2.0).log_prob(sigma), expected, rtol=1e-6, atol=1e-6)
    x, component = torch.randn(6, 2), torch.tensor([0, 1, 2, 2, 1, 0])
    energies = [
        EnergyView(BayesianMixture(3, 2, scale_prior=prior)).bind(features=x).terms({**latents, "component": component})
        for prior in (None, inverse_gamma_scale(3.0, 2.0))
    ]
    assert energies[1]["scales"].item() == pytest.approx(-expected.sum(), rel=1e-5)
    assert energies[0]["scales"].item() == pytest.approx(-LogNormal(0.0, 1.0).log_prob(latents["scales"]).sum().item())
    assert energies[0]["features"].tolist() == energies[1]["features"].tolist()


def test_draws_of_its_latents_broadcast():
    assert EnergyView(BayesianMixture(3, 2)).bind(features=torch.randn(6, 2)).program.broadcasts


def test_scales_that_are_none_are_refused():
    with pytest.raises(ValueError, match="must be positive, got 0.0 and 2.0"):
        BayesianMixture(3, 2, spread=0.0)
