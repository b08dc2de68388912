"""Tables of shares of the data, put together, against the table of all."""

import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr

from pyrometer import EnergyView, compare
from pyrometer.inference.energy.joined_tables import join_tables

Y = torch.tensor([0.3, -0.1, 1.2, 2.0, -0.7])


def model(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.sample("y", dist.Normal(z, 0.5), obs=y)


def guide(y):
    with pyro.plate("data", len(y)):
        pyro.sample("z", dist.Normal(0.9 * y, 0.6))


def with_shared_latent(y):
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


def with_shared_factor(y):
    pyro.factor("shared", torch.tensor(-3.0))
    model(y)


def shares(measure, program=model):
    return [measure(EnergyView(program).bind(y)) for y in (Y[:3], Y[3:])]


def test_a_ladder_of_shares_is_that_of_all_data():
    """By quadrature, which is the same by datum whatever stands beside it."""

    def measure(view):
        return view.ladder([0.5, 1.0, 3.0])

    whole, joined = measure(EnergyView(model).bind(Y)), join_tables(shares(measure))
    xr.testing.assert_allclose(joined, whole, rtol=1e-5, atol=1e-5)
    assert joined.attrs == whole.attrs


def test_energies_and_errors_of_shares_add_up():
    """Against the formula by column; the draws of the shares are others than those of all data."""
    parts = shares(lambda view: compare(view, guide, 100, family_steps=0))
    joined = join_tables(parts)
    assert joined.sizes["data"] == 5
    assert joined.negative_elbo.item() == pytest.approx(sum(part.negative_elbo.item() for part in parts))
    assert joined.gap_error.item() ** 2 == pytest.approx(sum(part.gap_error.item() ** 2 for part in parts))
    assert joined.pareto_k.values.tolist() == [k for part in parts for k in part.pareto_k.values]
    assert set(joined) == set(parts[0])


def test_an_estimate_among_exact_numbers_makes_the_whole_an_estimate():
    parts = shares(lambda view: view.ladder([1.0]))
    parts[0].attrs |= {"bound": "exact", "method": "enumerate"}
    attributes = join_tables(parts).attrs
    assert (attributes["bound"], attributes["method"]) == ("estimate", "enumerate and quadrature")


@pytest.mark.parametrize("program", [with_shared_latent, with_shared_factor])
def test_data_that_share_something_are_refused(program):
    parts = shares(lambda view: view.ladder([1.0]), program)
    with pytest.raises(ValueError, match="these share a latent or a factor"):
        join_tables(parts)
