"""Discrete latents from their exact conditional, against enumeration by hand."""

import itertools

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView
from pyrometer.inference.diagnostics.discrete_draws import draw_discrete

DRAWS = 4000
SIGMAS = 4.3
Y = torch.tensor([0.3, -1.1, 1.9], dtype=torch.float64)
WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
TWO = torch.tensor(2.0, dtype=torch.float64)
STAY = torch.tensor([[0.8, 0.2], [0.3, 0.7]], dtype=torch.float64)


def mixture(y):
    mu = pyro.sample("mu", dist.Normal(torch.zeros(3, dtype=y.dtype), 2.0).to_event(1))
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(WEIGHTS))
        pyro.sample("y", dist.Normal(mu[..., k] if mu.dim() == 1 else mu.gather(-1, k), 0.7), obs=y)


def looping_mixture(y):
    """As `mixture`, but reads numbers, so that nothing broadcasts."""
    mu = pyro.sample("mu", dist.Normal(torch.zeros(3, dtype=y.dtype), 2.0).to_event(1))
    assert mu.shape == (3,)
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(WEIGHTS))
        pyro.sample("y", dist.Normal(mu[k], 0.7), obs=y)


def chain(y):
    k = 0
    for t in pyro.markov(range(3)):
        k = pyro.sample(f"k_{t}", dist.Categorical(STAY[k]))
        pyro.sample(f"y_{t}", dist.Normal(TWO * k, 0.9), obs=y[t])


def test_a_mixtures_components_have_their_conditional_probabilities():
    mu = torch.tensor([-1.0, 0.4, 1.6], dtype=torch.float64)
    joint = WEIGHTS.log() + dist.Normal(mu, 0.7).log_prob(Y[:, None])
    expected = joint.softmax(-1)
    view = EnergyView(looping_mixture).bind(Y)
    assert not view.program.broadcasts
    k = draw_discrete(view.program, {"mu": mu.expand(DRAWS, 3)}, DRAWS)["k"]
    assert k.shape == (DRAWS, 3)
    found = torch.nn.functional.one_hot(k, 3).double().mean(0)
    error = (expected * (1 - expected) / DRAWS).sqrt()
    assert ((found - expected).abs() < SIGMAS * error).all()


def test_each_draw_has_the_conditional_of_its_own_latents_along_a_plate():
    """Two far apart values of the mean in turn: their components must not be mixed up."""

    def model(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
        with pyro.plate("data", len(y)):
            k = pyro.sample("k", dist.Bernoulli(torch.tensor(0.3, dtype=y.dtype)))
            pyro.sample("y", dist.Normal(mu + 1.5 * k, 0.7), obs=y)

    view = EnergyView(model).bind(Y)
    assert view.program.broadcasts
    mu = torch.tensor([-1.2, 0.9], dtype=torch.float64).repeat(DRAWS // 2)
    k = draw_discrete(view.program, {"mu": mu}, DRAWS)["k"]
    for start, value in enumerate((-1.2, 0.9)):
        one, zero = (p * dist.Normal(value + shift, 0.7).log_prob(Y).exp() for p, shift in ((0.3, 1.5), (0.7, 0.0)))
        expected = one / (one + zero)
        error = (expected * (1 - expected) / (DRAWS / 2)).sqrt()
        assert ((k[start::2].double().mean(0) - expected).abs() < SIGMAS * error).all()


def test_a_chain_is_drawn_jointly():
    view = EnergyView(chain).bind(Y)
    drawn = draw_discrete(view.program, {}, DRAWS)
    found = np.stack([drawn[f"k_{t}"].numpy() for t in range(3)], -1)
    log_joint = {}
    for states in itertools.product(range(2), repeat=3):
        before = (0, *states[:-1])
        log_joint[states] = sum(
            (STAY[a, b].log() + dist.Normal(2.0 * b, 0.9).log_prob(y)).item()
            for a, b, y in zip(before, states, Y, strict=True)
        )
    total = np.logaddexp.reduce(list(log_joint.values()))
    for states, value in log_joint.items():
        expected = np.exp(value - total)
        frequency = (found == states).all(-1).mean()
        assert abs(frequency - expected) < SIGMAS * np.sqrt(expected * (1 - expected) / DRAWS) + 1e-12


def test_a_scaled_program_is_refused():
    scaled = pyro.poutine.scale(looping_mixture, 0.5)
    view = EnergyView(scaled).bind(Y)
    with pytest.raises(ValueError, match=r"poutine\.scale"):
        draw_discrete(view.program, {"mu": torch.zeros(5, 3, dtype=torch.float64)}, 5)


def test_shared_discrete_latents_of_subsampled_data_are_refused():
    def model(y):
        k = pyro.sample("k", dist.Bernoulli(0.3))
        with pyro.plate("data", 30, subsample=torch.tensor([4, 7, 20])):
            pyro.sample("y", dist.Normal(k, 0.5), obs=y)

    with pytest.raises(ValueError, match="subsampled"):
        draw_discrete(EnergyView(model).bind(Y.float()).program, {}, 5)
