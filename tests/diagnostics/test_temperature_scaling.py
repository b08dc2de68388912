"""The temperature of energies: against known truths, SciPy, scikit-learn and the free energies of a Pyro program."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from pyrometer import EnergyView
from pyrometer.inference.diagnostics import gibbs_probabilities, reliability, temperature_scaling

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim
TRUE = 2.5


def simulated(size, labels=5, beta=TRUE, scale=1.3):
    """Energies, with labels drawn from their Gibbs distribution at ``beta``."""
    energies = scale * torch.randn(size, labels, dtype=torch.float64) + 3 * torch.randn(size, 1, dtype=torch.float64)
    return energies, dist.Categorical(logits=-beta * energies).sample()


def test_the_true_temperature_is_recovered_within_its_standard_error():
    found = temperature_scaling(*simulated(20_000))
    assert abs(found.beta - TRUE) < SIGMAS * found.standard_error
    assert found.standard_error < 0.03
    assert abs(1.0 - found.beta) > SIGMAS * found.standard_error  # 1 would be noticed


def test_the_standard_error_is_that_of_repeats():
    errors = []
    for _ in range(200):
        found = temperature_scaling(*simulated(400))
        errors.append((found.beta - TRUE) / found.standard_error)
    assert np.var(errors) == pytest.approx(1.0, abs=SIGMAS * math.sqrt(2 / 199))


@pytest.mark.parametrize("factor", [1e-4, 0.7, 50.0])
def test_scipy_finds_the_same_minimum(factor):
    energies, labels = simulated(300)
    found = temperature_scaling(factor * energies, labels)

    def loss(log_beta):
        return -log_softmax(-math.exp(log_beta) * factor * energies.numpy(), -1)[np.arange(300), labels].mean()

    judge = minimize_scalar(loss, bracket=(-2 - math.log(factor), 2 - math.log(factor)), tol=1e-12)
    assert found.beta == pytest.approx(math.exp(judge.x), rel=1e-6)
    assert found.calibrated == pytest.approx(judge.fun, rel=1e-12)
    assert found.uncalibrated == pytest.approx(loss(0.0), rel=1e-12)


def test_scikit_learns_logistic_regression_of_one_weight_is_the_case_of_two_labels():
    energies, labels = simulated(500, labels=2)
    judge = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10)
    judge.fit((energies[:, :1] - energies[:, 1:]).numpy(), labels.numpy())
    assert temperature_scaling(energies, labels).beta == pytest.approx(judge.coef_.item(), rel=1e-5)


def test_a_unit_of_energy_and_an_offset_by_datum_change_nothing_but_the_unit():
    energies, labels = simulated(300)
    found = temperature_scaling(energies, labels)
    other = temperature_scaling(1000 * energies + 1e4 * torch.randn(300, 1), labels)
    assert other.beta == pytest.approx(found.beta / 1000, rel=1e-8)
    assert other.standard_error == pytest.approx(found.standard_error / 1000, rel=1e-8)
    assert other.calibrated == pytest.approx(found.calibrated, rel=1e-8)


def test_the_loss_is_beta_times_energy_minus_free_energy_of_a_pyro_program():
    energies, labels = simulated(40)

    def classifier(table):
        with pyro.plate("data", len(table)):
            label = pyro.sample("label", dist.Categorical(logits=table.new_zeros(5)))
            pyro.factor("energy", -table[torch.arange(len(table)), label])

    found = temperature_scaling(energies, labels)
    view = EnergyView(classifier).bind(energies)
    own = view.energy_per_datum({"label": labels})
    free = view.free_energy(beta=found.beta, method="enumerate").per_datum
    assert (found.beta * (own - free)).mean().item() == pytest.approx(found.calibrated, rel=1e-9)


def test_scaling_takes_the_calibration_error_to_its_null_level_on_other_data():
    wrong = simulated(4000)
    energies, labels = simulated(4000)
    before = reliability(gibbs_probabilities(energies), labels)
    after = reliability(gibbs_probabilities(energies, temperature_scaling(*wrong).beta), labels)
    assert before.ece > 5 * before.ece_if_calibrated
    assert after.ece < 2 * after.ece_if_calibrated  # of ten bins: the mean is 1, its standard deviation 0.24
    assert after.accuracy == before.accuracy


def test_what_has_no_temperature_is_refused():
    energies, labels = simulated(200)
    with pytest.raises(ValueError, match="no positive beta is best"):
        temperature_scaling(-energies, labels)
    with pytest.raises(ValueError, match="no positive beta is best"):
        temperature_scaling(torch.ones(5, 3), torch.tensor([0, 1, 2, 0, 1]))
    with pytest.raises(ValueError, match="each of the 200 labels has the lowest"):
        temperature_scaling(energies, energies.argmin(-1))
    with pytest.raises(ValueError, match=r"got \(5, 200\) and \(200,\).*transposed"):
        temperature_scaling(energies.T, labels)
    with pytest.raises(ValueError, match="must be finite, got 1 that are not"):
        temperature_scaling(torch.tensor([[0.0, math.inf], [1.0, 0.5]]), torch.tensor([0, 1]))
