"""The mixture against scikit-learn's, given the same parameters."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture as Judge

from pyrometer.models import GaussianMixture


def mixture(shared):
    model = GaussianMixture(torch.randn(3, 2, dtype=torch.float64), scale=0.7, shared=shared)
    with torch.no_grad():
        model.logits.copy_(torch.randn(3))
        model.log_scale.add_(0.3 * torch.randn_like(model.log_scale))
    return model


def judge(model):
    """scikit-learn's mixture with the parameters of ours."""
    other = Judge(3, covariance_type="diag")
    other.weights_ = model.weights.detach().numpy()
    other.means_ = model.means.detach().numpy()
    other.covariances_ = model.scales.detach().numpy() ** 2
    other.precisions_cholesky_ = 1 / model.scales.detach().numpy()
    return other


@pytest.mark.parametrize("shared", [True, False])
def test_evidence_and_responsibilities_equal_scikit_learns(shared):
    model = mixture(shared)
    x = 2 * torch.randn(10, 2, dtype=torch.float64)
    np.testing.assert_allclose(model.log_evidence(x).detach(), judge(model).score_samples(x.numpy()), rtol=1e-9)
    np.testing.assert_allclose(
        model.responsibilities(x).probs.detach(), judge(model).predict_proba(x.numpy()), rtol=1e-9, atol=1e-12
    )


def test_shared_scales_are_one_parameter_a_dimension():
    assert mixture(shared=True).log_scale.shape == (1, 2)
    assert mixture(shared=True).scales.unique(dim=0).shape == (1, 2)
    assert mixture(shared=False).log_scale.shape == (3, 2)


def test_bad_means_and_scales_are_refused():
    with pytest.raises(ValueError, match=r"means must have shape.*got \(3,\)"):
        GaussianMixture(torch.zeros(3))
    with pytest.raises(ValueError, match="scale must be a positive standard deviation, got -2"):
        GaussianMixture(torch.zeros(3, 2), scale=-2)
