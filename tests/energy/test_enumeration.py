"""Exact sums against brute force over every assignment: plain Pyro traces, float64 and itertools."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch

from pyrometer import EnergyView
from pyrometer.inference.energy.enumeration import enumerated_ladder

BETAS = [1e-6, 0.3, 1.0, 4.0, 1e6]
BASES = ["lebesgue", "prior", "uniform"]
Y = torch.tensor([0.1, 2.0, -4.0], dtype=torch.float64)


def assignments(sizes):
    """Every assignment of discrete latents, {site: (shape, values)}."""
    cells = [range(values) for shape, values in sizes.values() for _ in range(math.prod(shape))]
    for numbers in itertools.product(*cells):
        left = list(numbers)
        yield {
            name: torch.tensor([left.pop(0) for _ in range(math.prod(shape))]).reshape(shape)
            for name, (shape, _) in sizes.items()
        }


def weight(site, values, beta, base):
    """The definition: log of the factor that a site adds to the sum; ``values`` is None for data."""
    log_prob = site["fn"].log_prob(site["value"])
    tempered = beta * site["scale"] * log_prob
    if values is None:
        on, off = tempered, torch.zeros(())
    else:
        on = {
            "lebesgue": tempered,
            "prior": log_prob + tempered - beta * log_prob,
            "uniform": tempered - math.log(values),
        }[base]
        off = log_prob
    return (on if site["mask"] is None else torch.where(torch.as_tensor(site["mask"]), on, off)).sum()


def brute_force(program, sizes, beta, base, given=()):
    """-(1/beta) log of the sum over all assignments of the product of the factors."""
    totals = []
    for latents in assignments(sizes):
        trace = poutine.trace(poutine.condition(program, {**latents, **dict(given)})).get_trace(Y)
        sites = [s for n, s in trace.nodes.items() if s["type"] == "sample" and hasattr(s["fn"], "support")]
        totals.append(sum(weight(s, sizes.get(s["name"], (None, None))[1], beta, base) for s in sites))
    return -torch.logsumexp(torch.stack(totals), 0) / beta


def probabilities(*values):
    return dist.Categorical(torch.tensor(values, dtype=torch.float64))


def mixture(y):
    means = torch.tensor([-2.0, 0.0, 3.0]).double()
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", probabilities(0.2, 0.3, 0.5))
        pyro.sample("y", dist.Normal(means[k], 0.7), obs=y)


def chain(y):
    weights = torch.tensor([[0.7, 0.3], [0.4, 0.6]]).double()
    state = torch.tensor(0)
    for t in pyro.markov(range(len(y))):
        state = pyro.sample(f"state_{t}", dist.Categorical(weights[state]))
        pyro.sample(f"y_{t}", dist.Normal(2.0 * state.double(), 0.7), obs=y[t])


def shared_and_local(y):
    side = pyro.sample("side", probabilities(0.7, 0.3))
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", probabilities(0.2, 0.8))
        pyro.sample("y", dist.Normal(side + 2.0 * k.double(), 0.7), obs=y)


def shared_beside_local(y):
    pyro.sample("side", probabilities(0.7, 0.3))
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", probabilities(0.2, 0.8))
        pyro.sample("y", dist.Normal(2.0 * k.double(), 0.7), obs=y)


def unobserved_rows(y):
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(0.5 * torch.ones(()).double(), 0.7), obs=y)
        with pyro.plate("rows", 2):
            pyro.sample("k", probabilities(0.2, 0.8))


def scaled_and_ragged(y):
    weights = torch.tensor([[0.9, 0.1], [0.4, 0.6]]).double()
    side = pyro.sample("side", probabilities(0.7, 0.3))
    with pyro.plate("data", len(y)), poutine.scale(scale=0.25):
        state = side
        for t in pyro.markov(range(2)):
            with poutine.mask(mask=torch.tensor([2, 1, 0]) > t):
                state = pyro.sample(f"state_{t}", dist.Categorical(weights[state]))
                pyro.sample(f"y_{t}", dist.Normal(2.0 * state.double(), 0.7), obs=y - t)


def nested(y):
    weights = torch.tensor([[0.2, 0.8], [0.6, 0.4]]).double()
    with pyro.plate("data", len(y)):
        topic = pyro.sample("topic", probabilities(0.3, 0.7))
        with pyro.plate("words", 2):
            word = pyro.sample("word", dist.Categorical(weights[topic]))
            pyro.sample("y", dist.Normal(word + 0.5 * topic.double(), 0.7), obs=torch.stack([y, 1 - y]))


def one_datum(y):
    side = pyro.sample("side", probabilities(0.7, 0.3))
    with pyro.plate("data", 1):
        k = pyro.sample("k", probabilities(1.0))  # a single value, in a plate of size 1
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.Normal((k + side).double(), 0.7), obs=y[:, None])


def sequential(y):
    for n in pyro.plate("data", len(y)):
        k = pyro.sample(f"k_{n}", probabilities(0.2, 0.8))
        pyro.sample(f"y_{n}", dist.Normal(2.0 * k.double(), 0.7), obs=y[n])


def coupled_sequence(y):
    side = pyro.sample("side", probabilities(0.7, 0.3))
    for n in pyro.plate("data", len(y)):
        k = pyro.sample(f"k_{n}", probabilities(0.2, 0.8))
        pyro.sample(f"y_{n}", dist.Normal(side + 2.0 * k.double(), 0.7), obs=y[n])


def undeclared(y):
    k = pyro.sample("k", probabilities(0.2, 0.8))
    pyro.sample("y", dist.Normal(2.0 * k.double(), 0.7 * torch.ones(3).double()), obs=y)


TWO = ((), 2)
PROGRAMS = {
    "mixture": (mixture, {"k": ((3,), 3)}),
    "chain": (chain, {f"state_{t}": TWO for t in range(3)}),
    "shared": (shared_and_local, {"side": TWO, "k": ((3,), 2)}),
    "shared_beside_local": (shared_beside_local, {"side": TWO, "k": ((3,), 2)}),
    "unobserved_rows": (unobserved_rows, {"k": ((2, 3), 2)}),
    "scaled_and_ragged": (scaled_and_ragged, {"side": TWO, "state_0": ((3,), 2), "state_1": ((3,), 2)}),
    "nested": (nested, {"topic": ((3,), 2), "word": ((2, 3), 2)}),
    "one_datum": (one_datum, {"side": TWO, "k": ((1,), 1)}),
    "sequential": (sequential, {f"k_{n}": TWO for n in range(3)}),
    "coupled_sequence": (coupled_sequence, {"side": TWO, **{f"k_{n}": TWO for n in range(3)}}),
    "undeclared": (undeclared, {"k": TWO}),
}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_sum_equals_brute_force_at_every_temperature(name, base):
    program, sizes = PROGRAMS[name]
    view = EnergyView(program).bind(Y)
    ladder = enumerated_ladder(view.program, torch.tensor(BETAS, dtype=torch.float64), base)["free_energy"]
    for beta, rung in zip(BETAS, ladder, strict=True):
        exact, expected = view.free_energy(beta=beta, base=base), brute_force(program, sizes, beta, base)
        torch.testing.assert_close(exact.value, expected, rtol=1e-9, atol=1e-9 / beta)
        torch.testing.assert_close(rung, expected, rtol=1e-9, atol=1e-9 / beta)
        assert (exact.bound, exact.method, exact.standard_error.item()) == ("exact", "enumerate", 0.0)


@pytest.mark.parametrize("name", ["mixture", "nested", "sequential"])
def test_per_datum_energies_are_those_of_each_datum_alone(name):
    """Oracle: the same program bound to one datum."""
    program, _ = PROGRAMS[name]
    exact = EnergyView(program).bind(Y).free_energy(beta=3.0)
    alone = [EnergyView(program).bind(Y[n : n + 1]).free_energy(beta=3.0).value for n in range(3)]
    torch.testing.assert_close(exact.per_datum, torch.stack(alone))
    torch.testing.assert_close(exact.per_datum.sum(), exact.value)


@pytest.mark.parametrize("name", ["shared", "shared_beside_local", "coupled_sequence", "one_datum"])
def test_there_is_no_per_datum_energy_where_data_share_a_latent(name):
    assert EnergyView(PROGRAMS[name][0]).bind(Y).free_energy().per_datum is None


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("beta", [0.3, 1.0, 4.0])
def test_given_latents_count_as_data_with_every_base(beta, base):
    given = {"side": torch.tensor(1)}
    exact = EnergyView(shared_and_local).bind(Y).free_energy(beta=beta, base=base, given=given)
    torch.testing.assert_close(exact.value, brute_force(shared_and_local, {"k": ((3,), 2)}, beta, base, given))
    assert exact.per_datum.shape == (3,)
    torch.testing.assert_close(exact.common, -torch.tensor(0.3).double().log())


@pytest.mark.parametrize("name", ["shared", "scaled_and_ragged", "nested"])
def test_at_temperature_one_counting_and_the_prior_are_the_same_measure(name):
    view = EnergyView(PROGRAMS[name][0]).bind(Y)
    given = {"side": torch.tensor(1)} if "side" in view.structure.latents else {}
    for held in ({}, given):
        counting, prior = (view.free_energy(base=base, given=held).value for base in ("lebesgue", "prior"))
        torch.testing.assert_close(counting, prior)
