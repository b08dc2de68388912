"""A result says in its own words where it is not to be relied on."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView, compare, diagnose
from pyrometer.inference.energy.compiled import NotCompiled, compiled

Y = torch.tensor([0.3, 3.8], dtype=torch.float64)


def bounded(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Uniform(torch.tensor(-4.0).double(), 4.0))
        pyro.sample("y", dist.Normal(z, 0.6), obs=y)


def narrow(y):
    with pyro.plate("data", len(y)):
        pyro.sample("z", dist.Normal(0.5 * y, 0.1))


def outside(y):
    with pyro.plate("data", len(y)):
        pyro.sample("z", dist.Normal(y, 0.6))


def wide(y):
    with pyro.plate("data", len(y)):
        pyro.sample("z", dist.Uniform(torch.full_like(y, -4.0), 4.0))


def test_unreliable_importance_weights_are_said():
    found = EnergyView(bounded).bind(Y).free_energy(method="importance", guide=narrow)
    assert "not reliable: Pareto k is up to" in str(found)
    good = EnergyView(bounded).bind(Y).free_energy(method="importance", guide=wide)
    assert "not reliable" not in str(good)


def test_a_withheld_error_and_simulated_data_are_said():
    def many(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(torch.zeros(40).double(), 1.0).to_event(1))
            pyro.sample("y", dist.Normal(z.sum(-1), 0.05), obs=y)

    view = EnergyView(many).bind(Y)
    assert "error withheld" in str(view.free_energy(method="annealing", temperatures=3))
    assert "estimate of simulated data" in str(view.free_energy(method="bidirectional", temperatures=3))


def test_several_draws_are_printed():
    found = EnergyView(bounded).bind(Y).free_energy(given={"z": torch.zeros(3, 2).double()})
    assert str(found).startswith("F of (3,) draws, [")


def test_a_guide_outside_the_support_is_not_approved():
    assert "its ELBO is not finite" in diagnose(EnergyView(bounded).bind(Y), outside).verdict


def test_a_gap_is_split_into_finite_parts_at_the_ends_of_a_support():
    table = compare(EnergyView(bounded).bind(Y), wide, draws=500, family_steps=60)
    assert table.approximation_gap_per_datum.notnull().all()
    assert (abs(table.approximation_gap_per_datum) < 100).all()
    assert table.amortization_gap > -4.3 * table.amortization_gap_error
    parts = table.approximation_gap.item() + table.amortization_gap.item()
    assert parts == pytest.approx(table.gap.item(), abs=1e-6)


def test_a_failed_compilation_leaves_validation_on():
    def refuses(u):  # noqa: ARG001
        torch.distributions.Distribution.set_default_validate_args(False)
        raise RuntimeError("no")

    with pytest.raises(NotCompiled, match="no"):
        compiled(refuses, torch.zeros(2, 1, 1))
    assert pyro.settings.get("validate_distributions_torch")
