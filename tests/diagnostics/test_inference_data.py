"""What goes to ArviZ, against the energy view and against densities written by hand."""

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView, to_arviz
from pyrometer.inference.arviz_versions import BEFORE_1, summary

Y = torch.tensor([0.3, -0.1, 1.2], dtype=torch.float64)
PRIOR_SCALE, NOISE, WIDTH = 2.0, 0.5, 0.6
DRAWS = 300


def local(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=y.dtype), PRIOR_SCALE).to_event(1))
        pyro.sample("y", dist.Normal(z.sum(-1), NOISE), obs=y)


def local_guide(y):
    with pyro.plate("data", len(y)):
        pyro.sample("z", dist.Normal(y[:, None].expand(-1, 2) / 2, WIDTH).to_event(1))


def shared(y):
    mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR_SCALE))
    pyro.factor("bump", -(mu**2))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mu, NOISE), obs=y)


def shared_guide(y):
    pyro.sample("mu", dist.Normal(y.mean(), WIDTH))


@pytest.fixture
def data():
    return to_arviz(EnergyView(local).bind(Y), local_guide, draws=DRAWS)


def test_dimensions_are_chain_draw_and_plates(data):
    assert data.posterior.z.dims == ("chain", "draw", "data", "z_dim_1")
    assert data.posterior.z.shape == (1, DRAWS, 3, 2)
    assert data.log_likelihood.y.dims == ("chain", "draw", "data")
    assert data.posterior_predictive.y.dims == ("chain", "draw", "data")
    assert data.observed_data.y.dims == ("data",)
    np.testing.assert_array_equal(data.observed_data.y, Y)


def test_energies_likelihoods_and_weights_are_those_of_the_draws(data):
    z = data.posterior.z.values[0]
    likelihood = -0.5 * ((Y.numpy() - z.sum(-1)) / NOISE) ** 2 - np.log(NOISE) - 0.5 * np.log(2 * np.pi)
    prior = (-0.5 * (z / PRIOR_SCALE) ** 2 - np.log(PRIOR_SCALE) - 0.5 * np.log(2 * np.pi)).sum(-1)
    guide = (-0.5 * ((z - Y.numpy()[:, None] / 2) / WIDTH) ** 2 - np.log(WIDTH) - 0.5 * np.log(2 * np.pi)).sum(-1)
    np.testing.assert_allclose(data.log_likelihood.y[0], likelihood, rtol=1e-6)
    np.testing.assert_allclose(data.sample_stats.energy[0], -(likelihood + prior).sum(-1), rtol=1e-6)
    np.testing.assert_allclose(data.sample_stats.log_weight[0], likelihood + prior - guide, rtol=1e-6, atol=1e-6)
    assert data.sample_stats.log_weight.dims == ("chain", "draw", "data")


def test_predictions_have_the_moments_of_the_guides_marginal(data):
    predicted = data.posterior_predictive.y.values[0]
    scale = np.sqrt(2 * WIDTH**2 + NOISE**2)
    assert np.abs(predicted.mean(0) - Y.numpy()).max() < 4.3 * scale / np.sqrt(DRAWS)
    assert np.abs(predicted.std(0) / scale - 1).max() < 4.3 / np.sqrt(2 * DRAWS)


def test_a_shared_latent_has_one_weight_a_draw_and_a_factor_is_no_data():
    data = to_arviz(EnergyView(shared).bind(Y), shared_guide, draws=DRAWS)
    assert data.posterior.mu.dims == ("chain", "draw")
    assert data.sample_stats.log_weight.dims == ("chain", "draw")
    assert list(data.log_likelihood) == list(data.observed_data) == ["y"]
    mu = torch.from_numpy(data.posterior.mu.values[0])
    energy = EnergyView(shared).bind(Y).energy({"mu": mu})
    np.testing.assert_allclose(data.sample_stats.energy[0], energy, rtol=1e-6)


def test_a_subsampled_plate_has_the_chosen_data_as_coordinates():
    def model(y):
        with pyro.plate("data", 30, subsample=torch.tensor([4, 7, 20])):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR_SCALE))
            pyro.sample("y", dist.Normal(z, NOISE), obs=y)

    def guide(y):
        with pyro.plate("data", 30, subsample=torch.tensor([4, 7, 20])):
            pyro.sample("z", dist.Normal(y, WIDTH))

    data = to_arviz(EnergyView(model).bind(Y), guide, draws=100)
    assert data.posterior.data.values.tolist() == [4, 7, 20]


def test_arviz_reads_it_back_and_summarises_it(data, tmp_path):
    data.to_netcdf(str(tmp_path / "posterior.nc"))
    again = az.from_netcdf(str(tmp_path / "posterior.nc"))
    np.testing.assert_array_equal(again.posterior.z, data.posterior.z)
    table = summary(again, var_names=["z"], kind="stats", round_to="none")
    np.testing.assert_allclose(table["mean"], data.posterior.z.values[0].mean(0).ravel(), rtol=1e-6)
    assert again.posterior.attrs["inference_library"] == "pyrometer"


def test_leave_one_out_on_exact_draws_is_the_closed_form():
    def model(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR_SCALE))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mu, NOISE), obs=y)

    def posterior(y):
        precision = PRIOR_SCALE**-2 + len(y) * NOISE**-2
        return dist.Normal(y.sum() * NOISE**-2 / precision, precision**-0.5)

    def exact(y):
        pyro.sample("mu", posterior(y))

    y, expected = 0.7 + NOISE * torch.randn(20, dtype=torch.float64), 0.0
    for n in range(len(y)):
        rest = posterior(torch.cat([y[:n], y[n + 1 :]]))
        expected += dist.Normal(rest.loc, (rest.variance + NOISE**2).sqrt()).log_prob(y[n]).item()
    loo = az.loo(to_arviz(EnergyView(model).bind(y), exact, draws=8000), var_name="y")
    assert loo["elpd_loo" if BEFORE_1 else "elpd"] == pytest.approx(expected, abs=0.05)
