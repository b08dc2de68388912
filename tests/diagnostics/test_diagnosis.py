"""Verdicts on guides whose distance from the posterior is known."""

import inspect
import math
import re
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import Diagnosis, EnergyView, diagnose
from pyrometer.inference.diagnostics.diagnosis import judge
from pyrometer.inference.energy.free_energy import reliable_pareto_k
from pyrometer.inference.energy.joined_tables import join_tables

Y = torch.tensor([0.3, -0.1, 1.2], dtype=torch.float64)
PRECISION = 2.0**-2 + 0.5**-2


def model(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
        pyro.sample("y", dist.Normal(z, 0.5), obs=y)


def guide(narrow):
    """The exact posterior, its standard deviation times `narrow`, by datum."""

    def program(y):
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(y * 0.5**-2 / PRECISION, narrow * PRECISION**-0.5))

    return program


def test_the_exact_posterior_is_trusted():
    judged = diagnose(EnergyView(model).bind(Y), guide(1.0))
    assert (judged.criterion, judged.unreliable) == ("Pareto k", 0)
    assert str(judged).startswith("The guide's draws can stand for the posterior")


def test_a_guide_far_too_narrow_is_refused_for_all_data():
    judged = diagnose(EnergyView(model).bind(Y), guide(0.03), draws=40_000)
    assert judged.unreliable == 3
    assert str(judged).startswith("Do not take the guide's draws for the posterior")
    divergence = 3 * ((0.03**2 - 1) / 2 - math.log(0.03))
    # Importance sampling underestimates it here, hence "or more".
    assert judged.tables["gaps"].gap.item() < divergence


def test_a_guide_too_narrow_for_one_datum_is_counted():
    judged = diagnose(EnergyView(model).bind(Y), guide(torch.tensor([1.0, 0.03, 1.1])), draws=40_000)
    assert judged.unreliable == 1
    assert "for 1 of 3 data" in str(judged)
    assert (judged.tables["gaps"].pareto_k > judged.limit).values.tolist() == [False, True, False]


def test_a_shared_latent_is_judged_as_a_whole():
    def shared(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mu, 0.5), obs=y)

    def exact(y):
        precision = 2.0**-2 + len(y) * 0.5**-2
        pyro.sample("mu", dist.Normal(y.sum() * 0.5**-2 / precision, precision**-0.5))

    assert "for the data as a whole" in str(diagnose(EnergyView(shared).bind(Y), exact))


def test_a_discrete_guide_is_judged_by_its_exact_gap():
    def mixture(y):
        with pyro.plate("data", len(y)):
            k = pyro.sample("k", dist.Categorical(torch.tensor([0.5, 0.5]).double()))
            pyro.sample("y", dist.Normal(2.0 * k, 0.7), obs=y)

    def prior(y):
        with pyro.plate("data", len(y)):
            pyro.sample("k", dist.Categorical(torch.tensor([0.5, 0.5]).double()))

    judged = diagnose(EnergyView(mixture).bind(Y), prior)
    assert (judged.criterion, judged.unreliable) == ("gap", 3)
    assert "pareto_k" not in judged.tables["gaps"]


def test_the_limit_of_pareto_k_grows_with_the_draws():
    assert reliable_pareto_k(100) == 0.5
    assert reliable_pareto_k(10**6) == 0.7


def test_too_few_draws_are_refused():
    with pytest.raises(ValueError, match="at least 100.*got 50"):
        diagnose(EnergyView(model).bind(Y), guide(1.0), draws=50)


def test_tables_of_shares_are_judged_as_one_of_all_data():
    """One narrow guide among three data, which is in the second share, as two processes would have it."""
    scales = torch.tensor([1.0, 1.1, 0.03])
    parts = [
        diagnose(EnergyView(model).bind(Y[rows]), guide(scales[rows]), draws=40_000).tables["gaps"]
        for rows in (slice(0, 2), slice(2, 3))
    ]
    judged = judge({"gaps": join_tables(parts)})
    assert judged.unreliable == 1
    assert "for 1 of 3 data" in judged.verdict
    assert judged.limit == diagnose(EnergyView(model).bind(Y), guide(scales), draws=40_000).limit


def test_of_two_sets_of_draws_the_larger_k_counts():
    found = diagnose(EnergyView(model).bind(Y), guide(1.1), draws=1000)
    assert found.level == "good"
    moments = found.tables["moments"]
    worse = found.tables | {"moments": moments.assign(pareto_k=moments.pareto_k + np.array([0.0, 9.0, 0.0]))}
    assert judge(worse).unreliable == 1


def test_every_table_is_described():
    """Against the source: each key that a table is put under there, and each name in the docstring."""
    source = Path(inspect.getfile(diagnose)).read_text()
    made = set(re.findall(r'(?:tables\[|tables = \{)"(\w+)"', source))
    assert made > set(diagnose(EnergyView(model).bind(Y), guide(1.0)).tables)
    described = (Diagnosis.__doc__ or "").partition("tables:")[2]
    assert {name for name in made if f"``{name}``" not in described} == set()
