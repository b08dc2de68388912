"""Every kind of draws that goes to ArviZ, its groups, and what ArviZ does with them unmodified, in 0.23 and 1.x."""

import json
import os
import subprocess
import sys

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import MCMC, NUTS
from pyro.infer.autoguide import AutoDiagonalNormal
from pyro.infer.reparam import LocScaleReparam

from pyrometer import EnergyView, to_arviz
from pyrometer.inference.arviz_versions import BEFORE_1, summary

Y = torch.tensor([0.3, -0.1, 1.2, 0.8], dtype=torch.float64)
SIGMAS = 4.3


def shared(y, x):
    slope = pyro.sample("slope", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
    scale = pyro.deterministic("scale", slope.abs() + 0.5)
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(slope * x, scale), obs=y)


def shared_guide(y, x):
    pyro.sample("slope", dist.Normal((y * x).sum() / (x * x).sum(), 0.4))


def local(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
        pyro.sample("y", dist.Normal(z, 0.5), obs=y)


def wide_guide(y):
    """The posterior is N(y 16 / 17, 0.485)."""
    with pyro.plate("data", len(y)):
        pyro.sample("z", dist.Normal(y * 0.9, 0.7))


def mixture(y):
    mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Bernoulli(torch.tensor(0.4, dtype=y.dtype)))
        pyro.sample("y", dist.Normal(mu + 2.0 * k, 0.5), obs=y)


X = torch.tensor([0.5, 1.0, 2.0, 1.5], dtype=torch.float64)


@pytest.fixture(scope="module")
def regression():
    return to_arviz(EnergyView(shared).bind(Y, X), shared_guide, 400, attributes={"seed": 3, "settings": {"a": [1]}})


def names(data):
    return set(data.groups()) if BEFORE_1 else {name.strip("/") for name in data.groups} - {""}


def test_every_group_is_there(regression):
    expected = {"posterior", "log_likelihood", "log_prior", "sample_stats", "posterior_predictive", "prior"}
    expected |= {"prior_predictive", "observed_data", "constant_data"}
    assert {name.strip("/") for name in names(regression)} == expected
    assert list(regression.constant_data) == ["x"]
    assert regression.constant_data.x.dims == ("data",)
    np.testing.assert_array_equal(regression.constant_data.x, X)


def test_what_the_program_computes_of_latents_stands_beside_them(regression):
    for group in (regression.posterior, regression.prior):
        np.testing.assert_allclose(group.scale, np.abs(group.slope) + 0.5)
    assert list(regression.observed_data) == ["y"]


def test_the_prior_and_its_predictions_have_the_priors_moments(regression):
    slope = regression.prior.slope.values[0]
    assert abs(slope.mean()) < SIGMAS * 2.0 / 20
    assert abs(slope.std() / 2.0 - 1) < SIGMAS / np.sqrt(2 * 400)
    residual = (regression.prior_predictive.y - regression.prior.slope * regression.constant_data.x) / (
        regression.prior.scale
    )
    assert abs(float(residual.std()) - 1) < SIGMAS / np.sqrt(2 * 1600)


def test_log_prior_and_log_likelihood_add_up_to_minus_the_energy(regression):
    total = regression.log_prior.slope + regression.log_likelihood.y.sum("data")
    np.testing.assert_allclose(total, -regression.sample_stats.energy)
    slope = torch.from_numpy(regression.posterior.slope.values[0])
    np.testing.assert_allclose(regression.log_prior.slope[0], dist.Normal(0.0, 2.0).log_prob(slope))


def test_attributes_say_versions_seed_and_settings(regression, tmp_path):
    regression.to_netcdf(str(tmp_path / "a.nc"))
    attributes = az.from_netcdf(str(tmp_path / "a.nc")).posterior.attrs
    assert attributes["seed"] == 3
    assert json.loads(attributes["settings"]) == {"a": [1]}
    assert {"created_at", "torch_version", "pyro-ppl_version", "inference_library_version"} <= set(attributes)


@pytest.mark.filterwarnings("ignore:The inplace keyword", "ignore:Passing a dict or None as alias_mapping")  # in ArviZ
def test_arviz_takes_it_unmodified(regression, tmp_path):
    regression.to_netcdf(str(tmp_path / "a.nc"))
    again = az.from_netcdf(str(tmp_path / "a.nc"))
    assert names(again) == names(regression)
    table = summary(again, var_names=["slope"], kind="stats", round_to="none")
    np.testing.assert_allclose(table["mean"], regression.posterior.slope.values.mean(), rtol=1e-6)
    loo = az.loo(again, var_name="y")
    assert np.isfinite(loo["elpd_loo" if BEFORE_1 else "elpd"])
    assert list(az.compare({"a": regression, "b": again}, var_name="y")["rank"]) == [0, 1]
    (az.plot_ppc if BEFORE_1 else az.plot_ppc_dist)(again)
    az.plot_forest(again, var_names=["slope"])
    az.plot_pair(again, var_names=["slope", "scale"])


def test_nuts_gives_chains_divergences_and_discrete_latents():
    pyro.set_rng_seed(5)
    kernel = NUTS(pyro.infer.config_enumerate(mixture), max_plate_nesting=1)
    mcmc = MCMC(kernel, num_samples=150, warmup_steps=100, num_chains=1, disable_progbar=True)
    mcmc.run(Y)
    data = to_arviz(EnergyView(mixture).bind(Y), mcmc)
    assert dict(data.posterior.sizes) == {"chain": 1, "draw": 150, "data": 4}
    np.testing.assert_array_equal(data.posterior.mu[0], mcmc.get_samples()["mu"])
    assert set(np.unique(data.posterior.k)) <= {0.0, 1.0}
    assert data.sample_stats.diverging.dtype == bool
    assert "log_weight" not in data.sample_stats
    latents = {name: torch.from_numpy(data.posterior[name].values[0]) for name in ("mu", "k")}
    np.testing.assert_allclose(data.sample_stats.energy[0], EnergyView(mixture).bind(Y).energy(latents))


def test_the_draws_of_several_chains_stay_apart():
    """A stand-in for two chains that were run elsewhere: what is asked of MCMC is samples and diagnostics."""
    mcmc = MCMC(NUTS(local), num_samples=4, num_chains=1)
    mcmc._samples = {"z": torch.arange(32, dtype=torch.float64).reshape(2, 4, 4)}
    mcmc._diagnostics, mcmc.num_chains = [{"divergences": [1]}, {"divergences": [2]}], 2
    data = to_arviz(EnergyView(local).bind(Y), mcmc)
    np.testing.assert_array_equal(data.posterior.z, mcmc._samples["z"])
    assert data.sample_stats.diverging.values.tolist() == [[False, True, False, False], [False, False, True, False]]


def test_an_mcmc_result_without_a_latent_or_of_other_data_is_refused():
    mcmc = MCMC(NUTS(local), num_samples=3)
    mcmc._samples = {"other": torch.zeros(1, 3)}
    with pytest.raises(ValueError, match=r"no draws of \['z'\]"):
        to_arviz(EnergyView(local).bind(Y), mcmc)
    mcmc._samples = {"z": torch.zeros(1, 3, 7)}
    with pytest.raises(ValueError, match=r"shape \(7,\).*\(4,\)"):
        to_arviz(EnergyView(local).bind(Y), mcmc)
    with pytest.raises(ValueError, match="MCMC has not"):
        to_arviz(EnergyView(local).bind(Y), mcmc, resample=True)


def test_resampled_draws_have_the_posteriors_moments_datum_by_datum():
    data = to_arviz(EnergyView(local).bind(Y), wide_guide, 8000, resample=True)
    z = data.posterior.z.values[0]
    scale = (0.25 + 4.0) ** -0.5
    # Of 8000 draws with weights some two thirds are worth as much as independent ones.
    assert np.abs(z.mean(0) - Y.numpy() * 16 / 17).max() < SIGMAS * scale / np.sqrt(4000)
    assert np.abs(z.std(0) / scale - 1).max() < SIGMAS / np.sqrt(2 * 4000)
    likelihood = dist.Normal(torch.from_numpy(z), 0.5).log_prob(Y).numpy()
    np.testing.assert_allclose(data.log_likelihood.y[0], likelihood)
    assert "energy" not in data.sample_stats
    assert data.posterior.attrs["pareto_k"] < 0.5


def test_resampled_draws_of_a_shared_latent_keep_their_energies():
    data = to_arviz(EnergyView(shared).bind(Y, X), shared_guide, 500, resample=True)
    slope = torch.from_numpy(data.posterior.slope.values[0])
    np.testing.assert_allclose(data.sample_stats.energy[0], EnergyView(shared).bind(Y, X).energy({"slope": slope}))


def test_resampling_a_poor_guide_warns():
    def narrow(y):
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(y * 0.9, 0.05))

    with pytest.warns(UserWarning, match="Pareto k is up to"):
        to_arviz(EnergyView(local).bind(Y), narrow, 1000, resample=True)


def test_only_the_data_asked_for_are_kept():
    size = 30_000
    y = torch.linspace(-2.0, 2.0, size)
    view = EnergyView(local).bind(y)
    data = to_arviz(view, wide_guide, 400, data=[5, 29_999])
    assert dict(data.posterior.sizes) == {"chain": 1, "draw": 400, "data": 2}
    assert data.posterior.data.values.tolist() == [5, 29_999]
    np.testing.assert_array_equal(data.observed_data.y, y[[5, 29_999]])
    z = torch.from_numpy(data.posterior.z.values[0])
    np.testing.assert_allclose(
        data.log_likelihood.y[0], dist.Normal(z, 0.5).log_prob(y[[5, 29_999]]), rtol=1e-5, atol=1e-6
    )


def test_a_guide_of_more_draws_than_a_part_holds_gives_them_all(monkeypatch):
    from pyrometer.inference.diagnostics import posterior_draws

    monkeypatch.setattr(posterior_draws, "ELEMENTS", 8 * 10)  # parts of 10 draws; one is left over
    data = to_arviz(EnergyView(local).bind(Y), wide_guide, 31)
    assert dict(data.posterior.sizes) == {"chain": 1, "draw": 31, "data": 4}
    assert data.posterior.draw.values.tolist() == list(range(31))
    assert len(np.unique(data.posterior.z)) == 31 * 4


def test_autoguides_and_reparam_go_to_arviz():
    model = poutine.reparam(local, {"z": LocScaleReparam(0.0)})
    guide = AutoDiagonalNormal(model)
    guide(Y)
    data = to_arviz(EnergyView(model).bind(Y), guide, 50)
    assert set(data.posterior) == {"z_decentered", "z"}
    np.testing.assert_allclose(data.posterior.z, 2.0 * data.posterior.z_decentered, rtol=1e-5)
    assert list(data.log_likelihood) == ["y"]


def test_bad_input_is_refused_with_the_remedy():
    view = EnergyView(local).bind(Y)
    with pytest.raises(ValueError, match=r"the guide does not sample \['z'\]"):
        to_arviz(view, lambda y: y, 100)
    with pytest.raises(ValueError, match="elements 0 to 3"):
        to_arviz(view, wide_guide, 100, data=[4])
    with pytest.raises(ValueError, match="at least 100 to resample, got 50"):
        to_arviz(view, wide_guide, 50, resample=True)

    def unobserved(y):
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))

    with pytest.raises(ValueError, match="observes nothing"):
        to_arviz(EnergyView(unobserved).bind(Y), wide_guide, 100)


def test_what_cannot_be_drawn_is_left_out_with_the_reason():
    class DensityAlone(dist.Normal):
        def sample(self, sample_shape=()):
            raise NotImplementedError("a density alone")

        rsample = sample

        def expand(self, batch_shape, _instance=None):
            return DensityAlone(self.loc.expand(batch_shape), self.scale.expand(batch_shape))

    def model(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
            pyro.deterministic("twice", 2 * z)
            pyro.sample("y", DensityAlone(z, 0.5), obs=y)

    data = to_arviz(EnergyView(model).bind(Y), wide_guide, 20)
    assert not {"posterior_predictive", "prior", "prior_predictive"} & names(data)
    assert "a density alone" in data.posterior.attrs["no_predictions"]
    assert "a density alone" in data.posterior.attrs["no_prior"]
    assert data.posterior.twice.dims == ("chain", "draw", "data")
    np.testing.assert_allclose(data.posterior.twice, 2 * data.posterior.z)


@pytest.mark.parametrize("width", [(), (4,), (3, 2)])
def test_what_is_computed_inside_a_plate_lies_along_it(width):
    def model(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
            pyro.deterministic("wide", z.reshape(*z.shape, *[1] * len(width)) + torch.zeros(width, dtype=y.dtype))
            pyro.sample("y", dist.Normal(z, 0.5), obs=y)

    data = to_arviz(EnergyView(model).bind(Y), wide_guide, 20)
    assert data.posterior.wide.dims[:3] == ("chain", "draw", "data")
    assert data.posterior.wide.shape == (1, 20, 4, *width)
    np.testing.assert_allclose(data.posterior.wide[(..., *[0] * len(width))], data.posterior.z)


MEMORY = """
import resource, sys
import pyro, torch, pyro.distributions as dist
from pyrometer import EnergyView, to_arviz
torch.set_num_threads(1)
size, width = 60_000, 20

def model(y):
    with pyro.plate("data", size):
        z = pyro.sample("z", dist.Normal(torch.zeros(width), 2.0).to_event(1))
        pyro.sample("y", dist.Normal(z, 0.5).to_event(1), obs=y)

def guide(y):
    with pyro.plate("data", size):
        pyro.sample("z", dist.Normal(y * 0.9, 0.6).to_event(1))

view = EnergyView(model).bind(torch.randn(size, width))
to_arviz(view, guide, 2, data=[0])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = to_arviz(view, guide, int(sys.argv[1]), data=range(7))
assert dict(data.posterior.sizes) == {"chain": 1, "draw": int(sys.argv[1]), "data": 7, "z_dim_1": width}
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_of_60_000_data_no_more_is_held_than_was_asked_for():
    """All of 16 draws would be 16 x 60,000 x 20 numbers: 77 MB for the latents, and as much for all predictions."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}  # what glibc keeps for itself is not held by us
    command = [sys.executable, "-c", MEMORY, "16"]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert float(found.stdout) < 60.0
