"""Bad input is refused at the start, by name and with what was expected; nothing is answered with a silent number."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView, compare

Y = torch.tensor([0.3, -0.1])


def model(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
        pyro.sample("y", dist.Normal(z.sum(-1), 0.5), obs=y)


def guide_of(shape, name="z"):
    def guide(y):
        with pyro.plate("data", len(y)):
            pyro.sample(name, dist.Normal(0.0, 1.5).expand(shape).to_event(len(shape)))

    return guide


@pytest.fixture
def view():
    return EnergyView(model).bind(Y)


@pytest.mark.parametrize("beta", [-1.0, 0.0, math.nan, math.inf])
@pytest.mark.parametrize("method", ["auto", "annealing", "laplace", "bidirectional"])
def test_a_temperature_must_be_positive_and_finite(view, beta, method):
    with pytest.raises(ValueError, match="beta must be a positive, finite inverse temperature"):
        view.free_energy(beta=beta, method=method)


@pytest.mark.parametrize("method", ["annealing", "quadrature", "laplace"])
def test_an_observation_outside_its_support_is_named(method):
    def positive(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
            pyro.sample("y", dist.Gamma(2.0, z.sum(-1).exp()), obs=y)

    with pytest.raises(ValueError, match="finite at none"):
        EnergyView(positive).bind(torch.tensor([2.0, -1.0])).free_energy(method=method)
    with pytest.raises(ValueError, match=r"of the data \[1\]: an observation may lie outside"):
        EnergyView(positive).bind(torch.tensor([2.0, -1.0])).free_energy(method="annealing")


@pytest.mark.parametrize("method", ["annealing", "importance"])
def test_a_guide_for_another_model_is_refused(view, method):
    with pytest.raises(ValueError, match=r"guide does not sample \['z'\]; its sites are \['w'\]"):
        view.free_energy(method=method, guide=guide_of([3], "w"))
    with pytest.raises(ValueError, match=r"shape \(\d+, 2, 2\).*\(2, 3\)"):
        view.free_energy(method=method, guide=guide_of([2]))
    with pytest.raises(ValueError, match=r"shape \(\d+, 2, 2\).*\(2, 3\)"):
        view.zero_temperature(guide=guide_of([2]))
    with pytest.raises(ValueError, match=r"guide does not sample \['z'\]"):
        compare(view, guide_of([3], "w"))


def test_starting_points_must_fit_the_latents(view):
    with pytest.raises(ValueError, match=r"points lack \['z'\]"):
        view.zero_temperature(points={"w": torch.zeros(4, 2, 3)})
    with pytest.raises(ValueError, match=r"shape \(4, 2, 2\)"):
        view.zero_temperature(points={"z": torch.zeros(4, 2, 2)})


def test_programs_that_are_not_reproducible_are_refused():
    def noisy(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
            pyro.sample("y", dist.Normal(z.sum(-1) + torch.randn(()), 0.5), obs=y)

    view = EnergyView(noisy).bind(Y)
    for measure in (
        lambda: view.energy({"z": torch.zeros(2, 3)}),
        lambda: view.energy({"z": torch.randn(4, 2, 3)}),
        lambda: view.free_energy(method="annealing"),
        lambda: view.zero_temperature(),
    ):
        with pytest.raises(ValueError, match="not reproducible"):
            measure()


def test_a_random_number_of_sites_is_refused():
    def varying(y):
        for index in range(1 + int(torch.randint(8, ()))):
            pyro.sample(f"z_{index}", dist.Normal(0.0, 2.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(0.0, 0.5), obs=y)

    with pytest.raises(ValueError, match="in some runs of the program only"):
        EnergyView(varying).bind(Y).free_energy(method="annealing")


def test_a_program_without_a_data_plate_has_totals_only():
    def plain(y):
        z = pyro.sample("z", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
        pyro.sample("y", dist.Normal(z.sum(), 0.5).expand([2]).to_event(1), obs=y)

    view = EnergyView(plain).bind(Y)
    found = view.free_energy(method="annealing", temperatures=100)
    assert found.per_datum is None
    covariance = 12.0 * torch.ones(2, 2) + 0.25 * torch.eye(2)
    exact = -dist.MultivariateNormal(torch.zeros(2), covariance).log_prob(Y)
    assert (found.value - exact).abs() < 4.3 * found.standard_error
    with pytest.raises(ValueError, match="no data plate"):
        view.energy_per_datum({"z": torch.zeros(3)})
