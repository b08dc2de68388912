"""Factor analysis against the conditional of its joint Gaussian, with numpy, and against Bayes' rule."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from pyrometer import EnergyView
from pyrometer.models import FactorAnalysis


@pytest.fixture
def model():
    model = FactorAnalysis(features=4, factors=2, noise=0.6).double()
    with torch.no_grad():
        model.mean.copy_(torch.randn(4))
        model.log_noise.add_(0.3 * torch.randn(4))
    return model


def test_the_posterior_is_the_conditional_of_the_joint_gaussian(model):
    x = torch.randn(5, 4, dtype=torch.float64)
    w, s, m = (t.detach().numpy() for t in (model.loadings, model.noise, model.mean))
    covariance = w @ w.T + np.diag(s**2)
    gain = w.T @ np.linalg.inv(covariance)
    posterior = model.posterior(x)
    np.testing.assert_allclose(posterior.mean.detach(), (x.numpy() - m) @ gain.T, rtol=1e-9)
    np.testing.assert_allclose(posterior.covariance_matrix[0].detach(), np.eye(2) - gain @ w, rtol=1e-9)


def test_the_evidence_is_scipys_density(model):
    x = torch.randn(5, 4, dtype=torch.float64)
    w, s, m = (t.detach().numpy() for t in (model.loadings, model.noise, model.mean))
    expected = multivariate_normal(m, w @ w.T + np.diag(s**2)).logpdf(x.numpy())
    np.testing.assert_allclose(model.log_evidence(x).detach(), expected, rtol=1e-9)


def test_joint_minus_posterior_is_the_evidence_at_any_factors(model):
    x, z = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    joint = -EnergyView(model).bind(x).energy_per_datum({"factors": z})
    torch.testing.assert_close(joint - model.posterior(x).log_prob(z), model.log_evidence(x))


def test_a_noise_that_is_no_scale_is_refused():
    with pytest.raises(ValueError, match=r"noise must be a positive standard deviation, got 0"):
        FactorAnalysis(3, 2, noise=0.0)
