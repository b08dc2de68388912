"""Hidden Markov chains against a forward algorithm and a Viterbi written by hand, and against brute force."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import config_enumerate, infer_discrete

from pyrometer import EnergyView
from pyrometer.inference.energy.enumeration import discrete_minimiser, enumerated_ladder

STEPS, STATES = 6, 3


def chain(y, start, transition, emission):
    state = pyro.sample("state_0", dist.Categorical(start))
    pyro.sample("y_0", emission(state), obs=y[0])
    for t in pyro.markov(range(1, len(y))):
        state = pyro.sample(f"state_{t}", dist.Categorical(transition[state]))
        pyro.sample(f"y_{t}", emission(state), obs=y[t])


def forward(log_start, log_transition, log_emission):
    """log p(y): sums over the state of each step, (T, K) emissions, one step after another."""
    alpha = log_start + log_emission[0]
    for row in log_emission[1:]:
        alpha = (alpha[:, None] + log_transition).logsumexp(0) + row
    return alpha.logsumexp(0)


def viterbi(log_start, log_transition, log_emission):
    """The best path and its log-probability."""
    score, back = log_start + log_emission[0], []
    for row in log_emission[1:]:
        score, came_from = (score[:, None] + log_transition).max(0)
        score, back = score + row, [*back, came_from]
    path = [score.argmax()]
    for came_from in reversed(back):
        path.append(came_from[path[-1]])
    return score.max(), torch.stack(path[::-1])


def path_energies(log_start, log_transition, log_emission):
    """The energies of all paths, (K^T,)."""
    paths = torch.tensor(list(itertools.product(range(STATES), repeat=len(log_emission))))
    log_p = log_start[paths[:, 0]] + log_transition[paths[:, :-1], paths[:, 1:]].sum(-1)
    return -(log_p + log_emission[torch.arange(len(log_emission)), paths].sum(-1))


@pytest.fixture(params=["categorical", "gaussian", "far"])
def case(request):
    """A chain, its arguments and its log-probabilities; in "far" energies differ by ten thousand nats."""
    log_start, log_transition = torch.randn(3).double().log_softmax(-1), torch.randn(3, 3).double().log_softmax(-1)
    if request.param == "categorical":
        table = torch.randn(3, 4).double().log_softmax(-1)
        y = torch.randint(4, (STEPS,))
        log_emission = table[:, y].T
        emission = lambda state: dist.Categorical(logits=table[state])  # noqa: E731
    else:
        means = torch.tensor([-2.0, 0.5, 3.0]).double() * (30.0 if request.param == "far" else 1.0)
        y = 2 * torch.randn(STEPS).double()
        log_emission = dist.Normal(means, 0.7).log_prob(y[:, None])
        emission = lambda state: dist.Normal(means[state], 0.7)  # noqa: E731
    return (y, log_start.exp(), log_transition.exp(), emission), (log_start, log_transition, log_emission)


def test_at_temperature_one_it_is_the_forward_algorithm(case):
    arguments, logs = case
    exact = EnergyView(chain).bind(*arguments).free_energy()
    torch.testing.assert_close(exact.value, -forward(*logs))


def test_the_minimiser_is_viterbis_path(case):
    arguments, logs = case
    view = EnergyView(chain).bind(*arguments)
    energy, states = discrete_minimiser(view.program, {})
    log_p, path = viterbi(*logs)
    torch.testing.assert_close(energy.common, -log_p)
    assert torch.equal(torch.stack([states[f"state_{t}"] for t in range(STEPS)]), path)
    torch.testing.assert_close(view.energy(states), -log_p)


def test_every_other_temperature_is_brute_force(case):
    arguments, logs = case
    betas = torch.tensor([1e-6, 1e-3, 0.3, 1.0, 7.0, 1e3, 1e6], dtype=torch.float64)
    table = enumerated_ladder(EnergyView(chain).bind(*arguments).program, betas, "lebesgue")
    energies = path_energies(*logs)
    for i, beta in enumerate(betas):
        expected = -torch.logsumexp(-beta * energies, 0) / beta
        torch.testing.assert_close(table["free_energy"][i], expected, rtol=1e-9, atol=1e-9 / beta.item())
        probabilities = (-beta * energies).softmax(0)
        mean = probabilities @ energies
        torch.testing.assert_close(table["mean_energy"][i], mean, rtol=1e-9, atol=1e-9)
        capacity = beta**2 * (probabilities @ (energies - mean).square())
        torch.testing.assert_close(table["heat_capacity"][i], capacity, rtol=1e-6, atol=1e-9)


def test_infer_discrete_finds_the_same_path(case):
    arguments, _ = case
    decoded = infer_discrete(config_enumerate(chain), first_available_dim=-1, temperature=0)
    traced = pyro.poutine.trace(decoded).get_trace(*arguments)
    _, states = discrete_minimiser(EnergyView(chain).bind(*arguments).program, {})
    for name, value in states.items():
        assert torch.equal(traced.nodes[name]["value"], value), name


def test_a_long_chain_stays_exact():
    """300 steps, beyond the 64 dimensions of a tensor and the range of exp."""
    y, start, transition = 3 * torch.randn(300).double(), torch.tensor([0.2, 0.8]).double(), torch.eye(2).double()
    transition = 0.9 * transition + 0.05
    emission = lambda state: dist.Normal(4.0 * state.double(), 0.7)  # noqa: E731
    exact = EnergyView(chain).bind(y, start, transition, emission).free_energy()
    log_emission = dist.Normal(torch.tensor([0.0, 4.0]).double(), 0.7).log_prob(y[:, None])
    torch.testing.assert_close(exact.value, -forward(start.log(), transition.log(), log_emission))


def test_states_that_tie_have_the_entropy_of_their_number_at_every_large_beta():
    """H is log 2 and c is 0 at beta = 1e6, where beta E is 1e10 nats; log 3 where all states are alike."""

    def tied():
        pyro.factor("height", torch.tensor(-1e4).double())
        pyro.sample("k", dist.Categorical(torch.tensor([0.4, 0.4, 0.2]).double()))

    betas = torch.tensor([1e-9, 1e6], dtype=torch.float64)
    table = enumerated_ladder(EnergyView(tied).bind().program, betas, "lebesgue")
    assert abs(table["entropy"][0].item() - math.log(3)) < 1e-9
    assert abs(table["entropy"][1].item() - math.log(2)) < 1e-9
    assert table["heat_capacity"].abs().max().item() < 1e-9  # in spite of beta squared
