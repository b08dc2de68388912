"""The mixture-density network against scikit-learn's mixture with the parameters that it has at each x."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture as Judge

from pyrometer import EnergyView, Marginalised
from pyrometer.models import MixtureDensity


def test_its_density_is_the_mixture_s_at_each_x():
    """Oracle: scikit-learn."""
    model, x, y = MixtureDensity(3, hidden=5).double(), torch.rand(4).double(), torch.randn(4, 2).double()
    logits, means, scales = (value.detach().numpy() for value in model.parameters_at(x))
    found = model.log_evidence(x, y).detach().numpy()
    for n in range(4):
        judge = Judge(3, covariance_type="spherical")
        judge.weights_ = np.exp(logits[n]) / np.exp(logits[n]).sum()
        judge.means_, judge.covariances_ = means[n], scales[n] ** 2
        judge.precisions_cholesky_ = 1 / scales[n]
        assert found[n] == pytest.approx(judge.score_samples(y[n : n + 1].numpy())[0], rel=1e-9)


def test_its_free_energy_is_minus_its_log_evidence_and_marginalised_trains_on_it():
    model, x, y = MixtureDensity(3, hidden=5).double(), torch.rand(4).double(), torch.randn(4, 2).double()
    found = EnergyView(model).bind(x=x, point=y).free_energy()
    torch.testing.assert_close(found.per_datum, -model.log_evidence(x, y).detach())
    objective = Marginalised({"component": torch.arange(3)})
    expected = -model.log_evidence(x, y).sum() + 4 * np.log(3)  # its measure is the mean over components
    torch.testing.assert_close(objective(model, None, x=x, point=y), expected, rtol=1e-9, atol=1e-9)


def test_it_simulates_and_refuses_no_components():
    assert MixtureDensity(2)(x=torch.rand(7)).shape == (7, 2)
    assert MixtureDensity(2)().shape == (1, 2)
    with pytest.raises(ValueError, match="components must be at least 1, got 0"):
        MixtureDensity(0)
