"""Batting averages pooled fully, partly and not at all, in kind of Pyro's baseball example."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

AT_BATS = torch.tensor([45.0, 45.0, 40.0, 31.0])
HITS = torch.tensor([18.0, 17.0, 10.0, 4.0])


def fully_pooled(at_bats, hits):
    phi = pyro.sample("phi", dist.Uniform(0, 1))
    with pyro.plate("num_players", len(at_bats)):
        return pyro.sample("obs", dist.Binomial(at_bats, phi), obs=hits)


def not_pooled(at_bats, hits):
    with pyro.plate("num_players", len(at_bats)):
        phi = pyro.sample("phi", dist.Uniform(0, 1))
        return pyro.sample("obs", dist.Binomial(at_bats, phi), obs=hits)


def partially_pooled(at_bats, hits):
    m = pyro.sample("m", dist.Uniform(0, 1))
    kappa = pyro.sample("kappa", dist.Pareto(1, 1.5))
    with pyro.plate("num_players", len(at_bats)):
        phi = pyro.sample("phi", dist.Beta(m * kappa, (1 - m) * kappa))
        return pyro.sample("obs", dist.Binomial(at_bats, phi), obs=hits)


def partially_pooled_with_logit(at_bats, hits):
    loc = pyro.sample("loc", dist.Normal(-1, 1))
    scale = pyro.sample("scale", dist.HalfCauchy(1))
    with pyro.plate("num_players", len(at_bats)):
        alpha = pyro.sample("alpha", dist.Normal(loc, scale))
        return pyro.sample("obs", dist.Binomial(at_bats, logits=alpha), obs=hits)


@pytest.mark.parametrize("program", [fully_pooled, not_pooled, partially_pooled, partially_pooled_with_logit])
def test_energies_and_gradients_are_finite_and_those_of_plain_traces(program, measured):
    assert measured(program, AT_BATS, HITS).plate == "num_players"


def log_beta(a, b):
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def test_unpooled_evidence_is_uniform_on_the_number_of_hits(measured):
    """The integral of a binomial over its probability is 1 / (n + 1)."""
    exact = measured(not_pooled, AT_BATS, HITS).free_energy(method="quadrature")
    torch.testing.assert_close(exact.per_datum.double(), (AT_BATS + 1).log().double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("base", ["lebesgue", "prior", "uniform"])
def test_pooled_evidence_is_a_beta_function(base, measured):
    """With a uniform prior, whose volume is 1, all bases agree at every beta: only the likelihood is a power."""
    view = measured(fully_pooled, AT_BATS, HITS)
    ways = torch.lgamma(AT_BATS + 1) - torch.lgamma(HITS + 1) - torch.lgamma(AT_BATS - HITS + 1)
    for beta in (1.0, 2.0):
        log_z = beta * ways.sum() + log_beta(beta * HITS.sum() + 1, beta * (AT_BATS - HITS).sum() + 1)
        exact = view.free_energy(beta=beta, base=base, method="quadrature")
        assert math.isclose(exact.value.item(), -log_z.item() / beta, abs_tol=2e-4)  # lgamma in float32
