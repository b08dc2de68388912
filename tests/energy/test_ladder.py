"""The ladder of temperatures: thermodynamic identities, limits, and closed forms."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView

QUANTITIES = ["free_energy", "mean_energy", "entropy", "heat_capacity"]
BETAS = [0.03, 0.3, 1.0, 2.5, 10.0]


def real(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


Y = real(0.3, -1.2, 2.1)


def mixture(y):
    means = real(-2.0, 0.0, 3.0)
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(real(0.2, 0.3, 0.5)))
        pyro.sample("y", dist.Normal(means[k], 0.7), obs=y)


def skewed(y):
    pyro.sample("outside", dist.Normal(real(0.4), 0.7), obs=real(1.0))
    with pyro.plate("data", len(y)):
        rate = pyro.sample("rate", dist.Gamma(real(2.5), 0.7))
        pyro.sample("y", dist.Normal(rate.log(), 0.7), obs=y)


def bounded(y):
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(real(0.25, 0.75)))
        angle = pyro.sample("angle", dist.Uniform(real(0.0), 3.0))
        pyro.sample("y", dist.Normal(2 * angle.cos() + k, 0.7), obs=y)


PROGRAMS = {"enumerate": mixture, "quadrature": skewed, "mixed": bounded}


def values(table, name):
    return table[name].values


@pytest.mark.parametrize("base", ["lebesgue", "prior"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_free_energy_is_energy_minus_temperature_times_entropy(name, base):
    table = EnergyView(PROGRAMS[name]).bind(Y).ladder(BETAS, base=base)
    for ending in ("", "_per_datum"):  # the total has what lies outside the plate too
        f, u, h = (values(table, f"{quantity}{ending}").T for quantity in QUANTITIES[:3])
        np.testing.assert_allclose(f, u - h / BETAS, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("base", ["lebesgue", "prior"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_mean_energy_and_heat_capacity_are_derivatives_in_beta(name, base):
    """Central differences of the fourth order, h = 1e-3 beta: the error is far below 1e-7."""
    view = EnergyView(PROGRAMS[name]).bind(Y)
    for beta in (0.5, 2.0):
        h = 1e-3 * beta
        betas = [beta + shift * h for shift in (-2, -1, 0, 1, 2)]
        table = view.ladder(betas, base=base)
        weights = np.array([1, -8, 0, 8, -1]) / (12 * h)
        slope = weights @ (np.array(betas) * values(table, "free_energy"))
        bend = weights @ values(table, "mean_energy")
        assert slope == pytest.approx(values(table, "mean_energy")[2], rel=1e-7, abs=1e-6)
        assert -(beta**2) * bend == pytest.approx(values(table, "heat_capacity")[2], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", PROGRAMS)
def test_with_a_normalised_measure_it_falls_from_the_mean_energy_to_the_minimum(name):
    """Towards beta = 0 it meets the prior's mean energy, to first order; towards inf the least energy of the data."""
    program, base = PROGRAMS[name], "uniform" if name == "mixed" else "prior"
    table = EnergyView(program).bind(Y).ladder([1e-4, *BETAS, 1e2, 1e4], base=base)
    f, betas = values(table, "free_energy"), table.beta.values
    assert (np.diff(f) < 0).all()
    u, c = values(table, "mean_energy")[0], values(table, "heat_capacity")[0]
    assert f[0] == pytest.approx(u + 0.5 * c / betas[0], abs=1e-3 * abs(u))
    # Where beta is large F_beta = F_inf + (a log beta + b) / beta.
    lowest = {"enumerate": data_minimum(mixture), "quadrature": 0.0, "mixed": None}[name]
    lowest = values(table, "zero_temperature") if lowest is None else lowest
    if name == "quadrature":
        lowest = 4 * (math.log(0.7) + 0.5 * math.log(2 * math.pi)) + 0.5 * (0.6 / 0.7) ** 2  # some rate reaches every y
    assert 0 < f[-1] - lowest < 3 * 10 * math.log(betas[-1]) / betas[-1]


def data_minimum(program):
    view = EnergyView(program).bind(Y)
    terms = [view.terms({"k": torch.full((3,), k)})["y"] for k in range(3)]
    return torch.stack(terms).amin(0).sum().item()


def test_with_counting_it_rises_to_the_minimum():
    table = EnergyView(mixture).bind(Y).ladder([1e-3, *BETAS, 1e3])
    f, lowest = values(table, "free_energy"), values(table, "zero_temperature")
    assert (np.diff(f) > 0).all()
    assert 0 <= lowest - f[-1] < 3 * math.log(3) / 1e3


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_coldest_rung_is_within_a_few_temperatures_of_the_minimum(name):
    table = EnergyView(PROGRAMS[name]).bind(Y).ladder([1e3])
    gap = values(table, "free_energy")[0] - values(table, "zero_temperature")
    assert abs(gap) < 3 * 10 * math.log(1e3) / 1e3


@pytest.mark.parametrize("name", PROGRAMS)
def test_at_temperature_one_volume_and_prior_agree(name):
    view = EnergyView(PROGRAMS[name]).bind(Y)
    lebesgue, prior = (values(view.ladder([0.5, 1.0], base=base), "free_energy") for base in ("lebesgue", "prior"))
    assert lebesgue[1] == pytest.approx(prior[1], rel=1e-9)
    assert abs(lebesgue[0] - prior[0]) > 0.01


@pytest.mark.parametrize("base", ["lebesgue", "prior"])
def test_annealed_ladders_have_the_closed_form_within_their_errors(linear_gaussian, base):
    """80 data: their z-scores have the standard deviation 1, within the 99.99 % band of 80 normal ones and 0.05 more.

    That of a datum's heat capacity is withheld with fewer than the default 64 chains.
    """
    model, betas = linear_gaussian(3, data=80), [0.3, 1.0, 4.0]
    table = model.view.ladder(betas, base=base, method="annealing")
    exact = [model.exact(beta, base) for beta in betas]
    for name in QUANTITIES:
        expected = torch.stack([row[name] for row in exact]).numpy()
        z = (values(table, f"{name}_per_datum") - expected) / values(table, f"{name}_error_per_datum")
        for row in z:
            assert 0.65 < row.std() < 1.35, (name, row.std())
        total = (values(table, name) - expected.sum(-1)) / values(table, f"{name}_error")
        assert (abs(total) < 4.3).all(), (name, total)
    few = model.view.ladder([1.0], base=base, method="annealing", chains=16)
    assert few.heat_capacity_error_per_datum.isnull().all()
    assert few.mean_energy_error_per_datum.notnull().all()


def test_an_annealed_ladder_keeps_its_identities_within_errors(linear_gaussian):
    model, betas = linear_gaussian(2, data=20), [1.9, 2.0, 2.1]
    table = model.view.ladder(betas, method="annealing")
    f, u, h = (values(table, name) for name in QUANTITIES[:3])
    slope = (betas[2] * f[2] - betas[0] * f[0]) / (betas[2] - betas[0])
    assert abs(slope - u[1]) < 4.3 * math.hypot(*(values(table, "free_energy_error")[[0, 2]] * 2.1 / 0.2))
    error = values(table, "mean_energy_error") + (values(table, "entropy_error") / betas)
    assert (abs(f - u + h / betas) < 4.3 * error).all()


def test_mixed_programs_are_annealed_to_the_numbers_of_quadrature():
    view = EnergyView(bounded).bind(Y)
    annealed, exact = (view.ladder([0.5, 2.0], method=method) for method in ("annealing", "quadrature"))
    for name in QUANTITIES:
        z = (values(annealed, name) - values(exact, name)) / values(annealed, f"{name}_error")
        assert (abs(z) < 4.3).all(), (name, z)


def test_the_table_says_what_its_numbers_are(linear_gaussian):
    table = linear_gaussian(2).view.ladder([2.0, 0.5])
    assert table.beta.values.tolist() == [0.5, 2.0]
    assert table.attrs == {"method": "quadrature", "base": "lebesgue", "bound": "estimate"}
    assert table.free_energy.dims == ("beta",)
    assert table.entropy_per_datum.dims == ("beta", "data")
    assert table.zero_temperature_per_datum.dims == ("data",)
    for name in QUANTITIES:
        units = "1" if name == "heat_capacity" else "nats"
        for column in (name, f"{name}_error", f"{name}_per_datum", f"{name}_error_per_datum"):
            assert table[column].attrs["units"] == units
    exact = EnergyView(mixture).bind(Y).ladder([1.0])
    assert exact.attrs["bound"] == "exact"
    assert (exact.free_energy_error == 0).all()


def test_totals_alone_where_data_share_a_latent():
    def shared(y):
        mean = pyro.sample("mean", dist.Normal(real(0.5), 2.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mean, 0.7), obs=y)

    table = EnergyView(shared).bind(Y).ladder([1.0])
    covariance = 4 * torch.ones(3, 3).double() + 0.49 * torch.eye(3).double()
    exact = -dist.MultivariateNormal(torch.full((3,), 0.5).double(), covariance).log_prob(Y)
    assert table.free_energy.item() == pytest.approx(exact.item(), rel=1e-9)
    assert not [name for name in table if "per_datum" in str(name)]


@pytest.mark.parametrize("betas", [[], [0.0], [1.0, -2.0], [math.inf], [math.nan]])
def test_what_is_no_temperature_is_refused(betas):
    with pytest.raises(ValueError, match="betas must be positive, finite inverse temperatures, got"):
        EnergyView(mixture).bind(Y).ladder(betas)


def test_methods_that_give_no_ladder_are_refused():
    with pytest.raises(ValueError, match="one of enumerate, quadrature, annealing for a ladder, got 'laplace'"):
        EnergyView(mixture).bind(Y).ladder([1.0], method="laplace")
