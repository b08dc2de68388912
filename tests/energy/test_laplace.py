"""Laplace's approximation: exact for normal densities, and by hand elsewhere."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView


def real(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


@pytest.mark.parametrize("base", ["lebesgue", "prior"])
@pytest.mark.parametrize("beta", [1e-6, 1e-3, 0.4, 1.0, 30.0, 1e6])
def test_it_is_exact_for_factor_analysis_at_every_temperature(linear_gaussian, beta, base):
    model = linear_gaussian(5)
    found, exact = model.view.free_energy(beta=beta, base=base, method="laplace"), model.exact(beta, base)
    torch.testing.assert_close(found.per_datum, exact["free_energy"], rtol=1e-9, atol=1e-8 / beta)
    assert found.evidence["modes"].tolist() == [1, 1, 1]
    assert found.bound == "estimate"
    assert found.standard_error.isnan()


def gamma_poisson(y):
    rate = pyro.sample("rate", dist.Gamma(real(2.5), 0.7))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Poisson(rate), obs=y)


def test_a_positive_latent_is_approximated_in_its_logarithm():
    """By hand: log f(u) = a u - b e^u + const, a = 2.5 + sum y and b = 0.7 + N, of mode log(a / b) and curvature a."""
    y = real(1.0, 4.0, 2.0)
    a, b = 2.5 + y.sum().item(), 0.7 + len(y)
    constant = 2.5 * math.log(0.7) - math.lgamma(2.5) - torch.lgamma(y + 1).sum().item()
    log_z = constant + a * math.log(a / b) - a + 0.5 * math.log(2 * math.pi / a)
    found = EnergyView(gamma_poisson).bind(y).free_energy(method="laplace")
    assert found.value.item() == pytest.approx(-log_z, abs=1e-7)
    exact = constant + math.lgamma(a) - a * math.log(b)
    assert found.value.item() == pytest.approx(-exact, abs=1.5 / (12 * a))  # Stirling's next term


def wells():
    z = pyro.sample("z", dist.Normal(real(0.0), 3.0))
    log_p = dist.Normal(real(-4.0, 4.0), real(0.3, 0.5)).log_prob(z.unsqueeze(-1)) + real(0.3, 0.7).log()
    pyro.factor("wells", log_p.logsumexp(-1) - dist.Normal(real(0.0), 3.0).log_prob(z))


def test_far_modes_add_up():
    """A mixture of two far normals is normalised: F_1 = 0."""
    found = EnergyView(wells).bind().free_energy(method="laplace")
    assert found.evidence["modes"] == 2
    assert abs(found.value) < 1e-8


def test_discrete_latents_are_summed_inside():
    """With components so far apart that every mode has one, the sum over modes is exact."""

    def program():
        k = pyro.sample("k", dist.Categorical(real(0.2, 0.8)))
        z = pyro.sample("z", dist.Normal(60.0 * k.double(), 0.8))
        pyro.sample("y", dist.Normal(0.5 * z, 0.7), obs=real(16.0))

    exact = dist.MixtureSameFamily(
        dist.Categorical(real(0.2, 0.8)), dist.Normal(real(0.0, 30.0), math.sqrt(0.16 + 0.49))
    ).log_prob(real(16.0))
    found = EnergyView(program).bind().free_energy(method="laplace")
    torch.testing.assert_close(found.value, -exact, rtol=0, atol=1e-6)


def test_without_a_stationary_maximum_there_is_no_value():
    """The density of top jumps from nothing to its maximum where top meets the largest observation."""

    def walls(y):
        top = pyro.sample("top", dist.HalfNormal(real(2.0)))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Uniform(-top, top), obs=y)

    found = EnergyView(walls).bind(real(0.5, -0.8, 0.3)).free_energy(method="laplace")
    assert found.value.isnan()
    assert not found.evidence["converged"]


def test_a_program_without_continuous_latents_is_sent_to_enumeration():
    def program():
        pyro.sample("k", dist.Categorical(real(0.2, 0.8)))

    with pytest.raises(ValueError, match="no free latent is continuous: use method='enumerate'"):
        EnergyView(program).bind().free_energy(method="laplace")
