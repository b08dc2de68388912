"""Tempered programs against log-probabilities written by hand and the energy view; tempered modules; bad input."""

import copy
import functools
import inspect
import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.nn import PyroModule, PyroSample
from torch import nn

from pyrometer import EnergyView, fit, temper
from pyrometer.guides import LinearGaussian
from pyrometer.inference.energy.structure import sample_sites
from pyrometer.models import FactorAnalysis

Y = torch.tensor([0.3, -0.1, 1.2, 2.0, 0.7])
LENGTHS = torch.tensor([5, 2, 1])
WEIGHTS = torch.tensor([0.2, 0.3, 0.5])


def normal_mean(y):
    mean = pyro.sample("mean", dist.Normal(0.4, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


def scaled_and_subsampled(y):
    mean = pyro.sample("mean", dist.Normal(0.4, 2.0))
    with pyro.plate("data", 35, subsample=torch.arange(len(y))), poutine.scale(scale=0.3):
        z = pyro.sample("z", dist.Normal(mean, 0.7))
        pyro.sample("y", dist.Normal(z, 0.5), obs=y)


def with_factors(y):
    z = pyro.sample("z", dist.LogNormal(0.4, 0.6))
    pyro.factor("well", -0.3 * (z - 2.0) ** 4)
    half = pyro.deterministic("half", z / 2)
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(half, 0.5), obs=y)


def ragged(y):
    with pyro.plate("data", len(LENGTHS)):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        for t in range(len(y)):
            with poutine.mask(mask=t < LENGTHS):
                z = pyro.sample(f"z_{t}", dist.Normal(0.9 * z, 0.6))
                pyro.sample(f"y_{t}", dist.Normal(z, 0.3), obs=y[t].expand(3))


def masked_by_distribution(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(0.3, 2.0).expand([len(y)]).mask(y > 0))
        pyro.sample("y", dist.Normal(z, 0.5).mask(y > 0), obs=y)


def partly_observed(y):
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(0.3, 2.0), obs=y, obs_mask=y > 0)


def mixture(y):
    weights = pyro.sample("weights", dist.Dirichlet(torch.tensor([1.2, 2.0, 0.8])))
    with pyro.plate("components", 3):
        locs = pyro.sample("locs", dist.MultivariateNormal(torch.zeros(2), torch.tensor([[2.0, 0.3], [0.3, 1.0]])))
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(weights))
        pyro.sample("y", dist.Normal(locs[k], 0.7).to_event(1), obs=torch.stack([y, 1 - y], -1))


class Regression(PyroModule):
    """Weights that are sample sites of a module."""

    def __init__(self):
        super().__init__()
        self.linear = PyroModule[nn.Linear](1, 1)
        self.linear.weight = PyroSample(dist.Normal(0.0, 2.0).expand([1, 1]).to_event(2))
        self.slope = nn.Parameter(torch.tensor(1.3))

    def forward(self, y):
        """The program."""
        mean = self.linear(torch.linspace(-1, 1, len(y))[:, None]).squeeze(-1) * self.slope
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


PROGRAMS = {
    program.__name__: program
    for program in (
        *(normal_mean, scaled_and_subsampled, with_factors, ragged, masked_by_distribution, partly_observed, mixture),
    )
} | {"regression": Regression(), "tempered": temper(mixture, 0.7)}


def log_joint(program: Callable, latents: dict, y: torch.Tensor = Y) -> torch.Tensor:
    """The log-density of the program, as Pyro's trace has it."""
    return poutine.trace(poutine.condition(program, data=latents)).get_trace(y).log_prob_sum().detach()


def draw(program: Callable) -> tuple[poutine.Trace, dict]:
    trace = poutine.trace(program).get_trace(Y)
    trace.compute_log_prob()
    return trace, {name: site["value"] for name, site in sample_sites(trace).items() if not site["is_observed"]}


@pytest.mark.parametrize("beta", [0.3, 4.0])
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_site_is_multiplied_by_beta(name, beta):
    trace, latents = draw(PROGRAMS[name])
    tempered = log_joint(temper(PROGRAMS[name], beta), latents)
    torch.testing.assert_close(tempered, beta * trace.log_prob_sum().detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "scaled_and_subsampled"])
def test_with_the_prior_as_base_latents_that_have_no_scale_are_left_alone(name):
    trace, latents = draw(PROGRAMS[name])
    by_hand = sum((1.0 if n in latents else 4.0) * site["log_prob_sum"] for n, site in sample_sites(trace).items())
    tempered = log_joint(temper(PROGRAMS[name], 4.0, base="prior"), latents)
    torch.testing.assert_close(tempered, by_hand.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_energy_view_of_a_tempered_program_has_beta_times_the_energy(name):
    draws = [draw(PROGRAMS[name])[1] for _ in range(4)]
    latents = {n: torch.stack([values[n] for values in draws]) for n in draws[0]}
    cold = EnergyView(temper(PROGRAMS[name], 2.5)).bind(Y)
    plain = EnergyView(PROGRAMS[name]).bind(Y)
    torch.testing.assert_close(cold.energy(latents), 2.5 * plain.energy(latents), rtol=1e-4, atol=1e-4)
    assert cold.plate == plain.plate


def test_a_scaled_latent_has_its_normalised_prior_as_measure_and_the_rest_as_energy():
    """35 / 5 from the subsample multiplies measure and energy; 0.3 log p = log p + (0.3 - 1) log p."""
    mean, z, beta = torch.tensor(0.8), torch.randn(5), 4.0
    log_mean, log_z = dist.Normal(0.4, 2.0).log_prob(mean), dist.Normal(mean, 0.7).log_prob(z).sum()
    log_y = dist.Normal(z, 0.5).log_prob(Y).sum()
    latents = {"mean": mean, "z": z}
    by_base = {
        "lebesgue": beta * log_mean + 7 * beta * 0.3 * (log_z + log_y),
        "prior": log_mean + 7 * (log_z + beta * (-0.7 * log_z + 0.3 * log_y)),
    }
    for base, by_hand in by_base.items():
        torch.testing.assert_close(log_joint(temper(scaled_and_subsampled, beta, base), latents), by_hand)
    whole = {base: log_joint(temper(scaled_and_subsampled, 1.0, base), latents) for base in by_base}
    torch.testing.assert_close(whole["lebesgue"], whole["prior"])


def test_the_uniform_base_subtracts_the_log_volume_of_each_latent_and_of_no_observation():
    def bounded(y):
        angle = pyro.sample("angle", dist.Uniform(0.0, 2 * math.pi))
        with pyro.plate("data", 35, subsample=torch.arange(len(y))), poutine.scale(scale=0.3):
            k = pyro.sample("k", dist.Categorical(WEIGHTS))
            pyro.sample("y", dist.Normal(angle + k, 0.5), obs=y)
            pyro.sample("half", dist.Uniform(-9.0, 9.0), obs=y / 2)

    angle, k, beta = torch.tensor(1.3), torch.tensor([0, 2, 1, 1, 2]), 4.0
    sites = WEIGHTS.log()[k] + dist.Normal(angle + k, 0.5).log_prob(Y) - math.log(18)
    by_hand = -(beta + 1) * math.log(2 * math.pi) + 7 * (beta * 0.3 * sites - math.log(3)).sum()
    tempered = log_joint(temper(bounded, beta, base="uniform"), {"angle": angle, "k": k})
    torch.testing.assert_close(tempered, by_hand)


def test_a_latent_without_a_volume_is_refused_by_the_uniform_base_alone():
    with pytest.raises(ValueError, match="site 'mean'"):
        temper(normal_mean, 2.0, base="uniform")(Y)


def test_everything_but_the_density_is_the_programs():
    for name, program in PROGRAMS.items():
        pyro.set_rng_seed(3)
        plain = poutine.trace(program).get_trace(Y)
        pyro.set_rng_seed(3)
        cold = poutine.trace(temper(program, 2.0)).get_trace(Y)
        assert list(plain.nodes) == list(cold.nodes), name
        for site, node in sample_sites(plain).items():
            other = cold.nodes[site]
            torch.testing.assert_close(node["value"], other["value"], rtol=0, atol=0)
            for fact in ("batch_shape", "event_shape", "has_rsample", "has_enumerate_support", "support"):
                assert repr(getattr(node["fn"], fact)) == repr(getattr(other["fn"], fact)), (name, site, fact)
            assert node["infer"] == other["infer"]
            assert node["is_observed"] == other["is_observed"]


# Modules.


def test_a_tempered_module_has_the_weights_of_the_module():
    model, guide = FactorAnalysis(4, 2, noise=0.6), LinearGaussian(4, 2)
    cold = temper(model, 0.5)
    assert isinstance(cold, nn.Module)
    assert {id(p) for p in cold.parameters()} == {id(p) for p in model.parameters()}
    assert {id(p) for p in Trace_ELBO()(cold, guide).parameters()} > {id(p) for p in model.parameters()}
    assert not temper(model.eval(), 0.5).training
    for program in (cold.forward, temper(model.forward, 0.5).forward):
        assert inspect.signature(program) == inspect.signature(model.forward)
    assert inspect.signature(temper(normal_mean, 0.5)) == inspect.signature(normal_mean)
    with pytest.raises(TypeError, match="'pictures'"):
        cold(pictures=torch.randn(3, 4))


def test_training_a_tempered_module_trains_the_original():
    """The loss is E_q[log q - beta log p], so one step of gradient descent moves the weights beta times as far."""
    x, start = 2 * torch.randn(30, 4), FactorAnalysis(4, 2, noise=0.6)
    guide = LinearGaussian(4, 2)

    def displacement(tempering):
        model = copy.deepcopy(start)
        descent = functools.partial(torch.optim.SGD, lr=1e-4)
        data, q = {"features": x}, copy.deepcopy(guide)
        fit(tempering(model), q, data, steps=1, batch_size=None, seed=1, progress=False, optimizer=descent)
        return model.loadings - start.loadings

    whole = displacement(lambda model: model)
    assert whole.abs().max() > 1e-4
    for part in (
        displacement(lambda model: temper(model, 0.4)),
        displacement(lambda model: temper(model.forward, 0.4)),
    ):
        torch.testing.assert_close(part, 0.4 * whole, rtol=1e-3, atol=1e-6)


def test_a_copy_of_a_tempered_module_is_independent():
    model = FactorAnalysis(4, 2, noise=0.6)
    for cold in (temper(model, 0.5), temper(model.forward, 0.5)):
        other = copy.deepcopy(cold)
        with torch.no_grad():
            other.model.mean.fill_(9.0)
        assert poutine.trace(other).get_trace(torch.zeros(1, 4)).log_prob_sum() < -100
        assert poutine.trace(cold).get_trace(torch.zeros(1, 4)).log_prob_sum() > -100


# Bad input.


@pytest.mark.parametrize("beta", [0.0, -1.0, math.inf, math.nan, torch.tensor(-2.0), torch.tensor(math.inf)])
def test_temperatures_without_a_meaning_are_refused(beta):
    with pytest.raises(ValueError, match=r"positive, finite inverse temperature.*zero_temperature"):
        temper(normal_mean, beta)


@pytest.mark.parametrize("beta", [torch.ones(1), torch.tensor(2)])
def test_a_tensor_that_is_no_temperature_is_refused(beta):
    with pytest.raises(ValueError, match="one number"):
        temper(normal_mean, beta)


def test_other_mistakes_are_refused():
    with pytest.raises(ValueError, match="'flat'"):
        temper(normal_mean, 2.0, base="flat")
    with pytest.raises(TypeError, match="'warm'"):
        temper(normal_mean, "warm")
    with pytest.raises(TypeError, match="must be a Pyro program"):
        temper(3.0, 2.0)


def test_temperatures_can_be_mapped_over():
    mean = torch.tensor(0.8)
    with pyro.validation_enabled(False):  # which reads values
        mapped = torch.vmap(lambda beta: log_joint(temper(normal_mean, beta), {"mean": mean}))(torch.tensor([0.5, 3.0]))
    whole = dist.Normal(0.4, 2.0).log_prob(mean) + dist.Normal(mean, 0.5).log_prob(Y).sum()
    torch.testing.assert_close(mapped, torch.tensor([0.5, 3.0]) * whole)
