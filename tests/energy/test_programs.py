"""Energies of many kinds of Pyro programs, against the plain trace's own log_prob_sum, draw by draw."""

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal, AutoNormal
from pyro.nn import PyroModule, PyroSample
from torch import nn

from pyrometer import EnergyView
from pyrometer.inference.energy.elbo_gap import elbo_gap

Y8 = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SIGMA = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def eight_schools(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", 8):
        eta = pyro.sample("eta", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * eta, SIGMA), obs=y)


def partial_pooling(hits):
    m = pyro.sample("m", dist.Uniform(0.0, 1.0))
    kappa = pyro.sample("kappa", dist.Pareto(1.0, 1.5))
    with pyro.plate("players", len(hits)):
        phi = pyro.sample("phi", dist.Beta(m * kappa, (1 - m) * kappa))
        pyro.sample("hits", dist.Binomial(45, probs=phi), obs=hits)


def hidden_markov(y):
    probs = pyro.sample("probs", dist.Dirichlet(0.9 * torch.eye(3) + 0.1).to_event(1))
    locs = pyro.sample("locs", dist.Normal(0.0, 4.0).expand([3]).to_event(1))
    state = torch.tensor(0)
    for t in pyro.markov(range(len(y))):
        state = pyro.sample(f"state_{t}", dist.Categorical(probs[state]))
        pyro.sample(f"y_{t}", dist.Normal(locs[state], 0.5), obs=y[t])


def topics(words):
    with pyro.plate("topics", 3):
        word_probs = pyro.sample("word_probs", dist.Dirichlet(torch.ones(6) / 2))
    with pyro.plate("documents", words.shape[1]):
        topic_probs = pyro.sample("topic_probs", dist.Dirichlet(torch.ones(3) / 3))
        with pyro.plate("words", words.shape[0]):
            topic = pyro.sample("topic", dist.Categorical(topic_probs))
            pyro.sample("word", dist.Categorical(word_probs[topic]), obs=words)


def mixture(y):
    with pyro.plate("components", 3):
        locs = pyro.sample("locs", dist.Normal(0.0, 10.0))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
        pyro.sample("y", dist.Normal(locs[k], scale), obs=y)


def correlated(y):
    scales = pyro.sample("scales", dist.HalfNormal(2.0).expand([3]).to_event(1))
    factor = pyro.sample("factor", dist.LKJCholesky(3, 1.5))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(3), scale_tril=scales[:, None] * factor), obs=y)


class Regression(PyroModule):
    """A Bayesian linear regression whose weights are sample sites of a module."""

    def __init__(self):
        super().__init__()
        self.linear = PyroModule[nn.Linear](2, 1)
        self.linear.weight = PyroSample(dist.Normal(0.0, 2.0).expand([1, 2]).to_event(2))
        self.linear.bias = PyroSample(dist.Normal(0.0, 3.0).expand([1]).to_event(1))

    def forward(self, x, y):
        """The program."""
        mean = self.linear(x).squeeze(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


def sparse(x, y):
    w = pyro.sample("w", dist.Laplace(0.0, 0.7).expand([x.shape[1], 1]).to_event(2))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(torch.mm(x, w).squeeze(-1), 0.5), obs=y)


def counts(y):
    probs = pyro.sample("probs", dist.Dirichlet(torch.ones(4)))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Multinomial(10, probs), obs=y)


def ordered(y):
    eta = pyro.sample("eta", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.OrderedLogistic(eta, torch.tensor([-1.0, 0.5, 1.5])), obs=y)


def branching(y):
    z = pyro.sample("z", dist.Normal(0.0, 2.0))
    scale = 0.5 if z.item() > 0 else 1.5
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(z, scale), obs=y)


def deterministic(y):
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    b = pyro.deterministic("b", 3 * a)
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(b, 0.5), obs=y)


def crossed(y):
    with pyro.plate("rows", 4, dim=-2):
        row = pyro.sample("row", dist.Normal(0.0, 2.0))
    with pyro.plate("columns", 3, dim=-1):
        column = pyro.sample("column", dist.Normal(0.0, 0.7))
        with pyro.plate("again", 4, dim=-2):
            pyro.sample("y", dist.Normal(row + column, 0.5), obs=y)


def padded(y, lengths):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        for t in range(y.shape[1]):
            with poutine.mask(mask=t < lengths):
                z = pyro.sample(f"z_{t}", dist.Normal(z, 0.5))
                pyro.sample(f"y_{t}", dist.Normal(z, 0.3), obs=y[:, t])


PROGRAMS = {
    "eight_schools": (eight_schools, (Y8,), "vmap", "schools"),
    "partial_pooling": (partial_pooling, (torch.tensor([18.0, 17.0, 10.0]),), "vmap", "players"),
    "hidden_markov": (hidden_markov, (torch.randn(4),), "vmap", None),
    "topics": (topics, (torch.randint(6, (5, 2)),), "vmap", "documents"),
    "mixture": (mixture, (torch.randn(6),), "vmap", "data"),
    "correlated": (correlated, (torch.randn(5, 3),), "vmap", "data"),
    "regression": (Regression(), (torch.randn(5, 2), torch.randn(5)), "vmap", "data"),
    "sparse": (sparse, (torch.randn(5, 3), torch.randn(5)), "vmap", "data"),
    "counts": (counts, (torch.tensor([[1.0, 2.0, 3.0, 4.0], [7.0, 1.0, 1.0, 1.0]]),), "plate", "data"),
    "ordered": (ordered, (torch.tensor([0, 3, 2]),), None, "data"),
    "branching": (branching, (torch.randn(4),), "loop", "data"),
    "deterministic": (deterministic, (torch.randn(4),), "vmap", "data"),
    "crossed": (crossed, (torch.randn(4, 3),), "vmap", "columns"),
    "padded": (padded, (torch.randn(3, 4), torch.tensor([4, 2, 1])), "vmap", "data"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_energies_are_those_of_the_plain_trace(name):
    program, args, mode, plate = PROGRAMS[name]
    traces = [poutine.trace(program).get_trace(*args) for _ in range(5)]
    view = EnergyView(program).bind(*args)
    latents = {n: torch.stack([trace.nodes[n]["value"] for trace in traces]) for n in view.structure.latents}
    expected = torch.stack([-trace.log_prob_sum() for trace in traces]).detach()
    torch.testing.assert_close(view.energy(latents).detach(), expected, rtol=1e-4, atol=1e-3)
    assert view.plate == plate
    assert mode is None or view.vectorization["taken"] == [mode], view.vectorization
    if plate is not None:
        parts = view.energy_per_datum(latents).sum(-1) + view.global_energy(latents)
        torch.testing.assert_close(parts.detach(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("family", [AutoNormal, AutoMultivariateNormal])
def test_automatic_guides_measure_eight_schools(family):
    guide = family(eight_schools)
    guide(Y8)
    table = elbo_gap(EnergyView(eight_schools).bind(Y8), guide, draws=500)
    plain = pyro.infer.Trace_ELBO(num_particles=1)
    elbo = torch.tensor([plain.loss(eight_schools, guide, Y8) for _ in range(500)])
    error = (elbo.var() / 500 + table.negative_elbo_error.item() ** 2).sqrt()
    assert (elbo.mean() - table.negative_elbo.item()).abs() < 4.3 * error
    assert table.gap > 0


def test_a_point_mass_has_no_free_energy():
    guide = AutoDelta(eight_schools)
    guide(Y8)
    with pytest.raises(ValueError, match=r"point mass on \['mu', 'tau', 'eta'\]"):
        EnergyView(eight_schools).bind(Y8).free_energy(method="importance", guide=guide)
