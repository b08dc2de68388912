"""The exact minimiser over discrete latents, against every assignment scored by the view."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import config_enumerate, infer_discrete

from pyrometer import EnergyView
from pyrometer.inference.energy.enumeration import discrete_minimiser, enumerated_trace, log_partition

Y = torch.tensor([0.3, -1.1, 4.0], dtype=torch.float64)


def topics(y):
    weights = torch.rand(2, 3, generator=torch.Generator().manual_seed(1)).double() + 0.1
    side = pyro.sample("side", dist.Bernoulli(torch.tensor(0.3).double()))
    with pyro.plate("data", len(y)):
        topic = pyro.sample(
            "topic", dist.Categorical(torch.stack([torch.tensor([0.3, 0.7]), torch.ones(2)]).double()[side.long()])
        )
        with pyro.plate("words", 2):
            word = pyro.sample("word", dist.OneHotCategorical(weights[topic]))
            mean = (word * torch.tensor([-1.0, 0.5, 2.0]).double()).sum(-1)
            pyro.sample("y", dist.Normal(mean + side, 0.7), obs=torch.stack([y, 0.5 - y]))


def nested(y):
    weights = torch.tensor([[0.2, 0.8], [0.6, 0.4]]).double()
    with pyro.plate("data", len(y)):
        topic = pyro.sample("topic", dist.Categorical(torch.tensor([0.3, 0.7]).double()))
        with pyro.plate("words", 2):
            word = pyro.sample("word", dist.Categorical(weights[topic]))
            pyro.sample("y", dist.Normal(word + 0.5 * topic.double(), 0.7), obs=torch.stack([y, 0.5 - y]))


def scaled(y):
    with pyro.plate("data", len(y)), poutine.scale(scale=torch.tensor([0.2, 1.0, 3.0]).double()):
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.01, 0.09, 0.9]).double()))
        pyro.sample("y", dist.Normal(k.double() - 1.0, 0.7), obs=y)


def sequential(y):
    side = pyro.sample("side", dist.Categorical(torch.tensor([0.3, 0.7]).double()))
    for n in pyro.plate("data", len(y)):
        k = pyro.sample(f"k_{n}", dist.Categorical(torch.tensor([0.2, 0.8]).double()))
        pyro.sample(f"y_{n}", dist.Normal(k.double() + side.double(), 0.7), obs=y[n])


def one_hot(size):
    return list(torch.eye(size).double())


SUPPORTS = {
    "side": [0.0, 1.0],
    "topic": [0, 1],
    "word": one_hot(3),
    "k": [0, 1, 2],
    **{f"k_{n}": [0, 1] for n in range(3)},
}


def all_energies(view):
    """The energy of every assignment, and the assignments: brute force."""
    sites = view.structure.sites
    cells = [(n, i) for n in view.structure.latents for i in range(sites[n].shape[: sites[n].batch].numel())]
    rows = list(itertools.product(*[range(len(SUPPORTS[n])) for n, _ in cells]))
    latents = {}
    for name in view.structure.latents:
        site, support = sites[name], torch.stack([torch.as_tensor(v) for v in SUPPORTS[name]])
        columns = [j for j, (n, _) in enumerate(cells) if n == name]
        latents[name] = support[torch.tensor(rows)[:, columns]].reshape(len(rows), *site.shape)
    if "side" in latents and view.program.callable is sequential:
        latents["side"] = latents["side"].long()
    return view.energy(latents), latents


@pytest.mark.parametrize("program", [topics, scaled, sequential])
def test_no_assignment_has_less_energy_and_the_minimiser_has_that(program):
    view = EnergyView(program).bind(Y[:2] if program is topics else Y)
    energies, latents = all_energies(view)
    (per_datum, common), best = discrete_minimiser(view.program, {})
    total = common if per_datum is None else common + per_datum.sum()
    torch.testing.assert_close(total, energies.min())
    torch.testing.assert_close(view.energy(best), energies.min())
    for name, value in best.items():
        assert value.shape == view.structure.sites[name].shape
        torch.testing.assert_close(value, latents[name][energies.argmin()], check_dtype=False)
    trace = enumerated_trace(view.program, {})
    per_datum, common = log_partition(trace, view.structure, 1.0, "prior", maximum=True)
    torch.testing.assert_close(-(common if per_datum is None else common + per_datum.sum()), energies.min())


@pytest.mark.parametrize("program", [nested, sequential])
def test_infer_discrete_agrees(program):
    """Pyro's own max-product; it leaves scales out, so only programs without any."""
    view = EnergyView(program).bind(Y)
    decoded = infer_discrete(config_enumerate(program), first_available_dim=-3, temperature=0)
    traced = poutine.trace(decoded).get_trace(Y)
    _, best = discrete_minimiser(view.program, {})
    for name, value in best.items():
        torch.testing.assert_close(traced.nodes[name]["value"].reshape(value.shape), value, check_dtype=False)


def test_energies_come_by_datum_where_data_share_no_latent():
    view = EnergyView(scaled).bind(Y)
    (per_datum, common), best = discrete_minimiser(view.program, {})
    torch.testing.assert_close(per_datum, view.energy_per_datum(best))
    assert common == 0.0


def test_continuous_latents_are_held_by_their_coordinates():
    """Oracle: the same value, given; the log-normal's coordinate is the logarithm. No Jacobian enters an energy."""

    def model(y):
        s = pyro.sample("s", dist.LogNormal(torch.tensor(0.0).double(), 0.5))
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.7]).double()))
        pyro.sample("y", dist.Normal(s * k, 0.7), obs=y[2])

    view, u = EnergyView(model).bind(Y), torch.tensor(0.4).double()
    by_coordinate, by_value = (
        discrete_minimiser(view.program, {}, {"s": u}),
        discrete_minimiser(view.program, {"s": u.exp()}),
    )
    torch.testing.assert_close(by_coordinate, by_value)
    torch.testing.assert_close(by_value[0].common, view.energy({"s": u.exp(), **by_value[1]}))


def test_of_several_minimisers_one_is_taken_in_every_element():
    """A tie between assignments: the values together must have the least energy, not each by itself."""

    def model():
        a = pyro.sample("a", dist.Categorical(torch.ones(2).double()))
        b = pyro.sample("b", dist.Categorical(torch.ones(2).double()))
        pyro.factor("differ", -50.0 * (a == b).double())

    view = EnergyView(model).bind()
    (_, common), best = discrete_minimiser(view.program, {})
    assert best["a"] != best["b"]
    torch.testing.assert_close(common, torch.tensor(2 * math.log(2)).double())


def test_a_masked_latent_stays_inside_its_priors_support():
    def model(y):
        with poutine.mask(mask=torch.tensor(False)):
            k = pyro.sample("k", dist.Categorical(logits=torch.tensor([-math.inf, 0.0, 0.0]).double()))
        pyro.sample("y", dist.Normal(k.double(), 0.7), obs=0 * y[0])

    (_, common), best = discrete_minimiser(EnergyView(model).bind(Y).program, {})
    assert best["k"] == 1
    torch.testing.assert_close(common, -dist.Normal(1.0, 0.7).log_prob(torch.tensor(0.0)).double())


def test_where_nothing_is_possible_the_energy_is_infinite():
    def model():
        k = pyro.sample("k", dist.Categorical(torch.ones(2)))
        pyro.sample("y", dist.Categorical(logits=torch.tensor([[0.0, -math.inf]])[0 * k]), obs=torch.tensor(1))

    assert discrete_minimiser(EnergyView(model).bind().program, {})[0].common == math.inf
