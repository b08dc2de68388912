"""Identities that hold for F, U, H and c of any program, each by another way of computing."""

import math

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from torch.func import jvp

from pyrometer import EnergyView
from pyrometer.inference.energy.enumeration import (
    discrete_minimiser,
    enumerated_ladder,
    enumerated_trace,
    log_partition,
)

BASES = ["lebesgue", "prior", "uniform"]
BETAS = torch.logspace(-6, 6, 61, dtype=torch.float64)
Y = torch.tensor([0.3, -1.1, 4.0, 2.2], dtype=torch.float64)


def mixture(y):
    with pyro.plate("data", len(y)), poutine.scale(scale=0.4):
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.3, 0.5]).double()))
        pyro.sample("y", dist.Normal(torch.tensor([-2.0, 0.0, 3.0]).double()[k], 0.7), obs=y)


def ragged_chain(y):
    weights = torch.tensor([[0.7, 0.3], [0.4, 0.6]]).double()
    state = pyro.sample("side", dist.Categorical(torch.tensor([0.6, 0.4]).double()))
    with pyro.plate("data", len(y)):
        for t in pyro.markov(range(3)):
            with poutine.mask(mask=torch.tensor([3, 1, 2, 0]) > t):
                state = pyro.sample(f"state_{t}", dist.Categorical(weights[state]))
                pyro.sample(f"y_{t}", dist.Normal(2.0 * state.double() + t, 0.7), obs=y)


def far_apart(y):
    means = torch.tensor([0.0, 40.0, 160.0]).double()  # energies of ten thousand nats
    for n in pyro.plate("data", len(y)):
        k = pyro.sample(f"k_{n}", dist.Categorical(torch.tensor([0.2, 0.3, 0.5]).double()))
        pyro.sample(f"y_{n}", dist.Normal(means[k], 0.9), obs=y[n])


PROGRAMS = [mixture, ragged_chain, far_apart]


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.__name__)
def program(request):
    return EnergyView(request.param).bind(Y).program


@pytest.mark.parametrize("base", BASES)
def test_free_energy_is_mean_energy_minus_temperature_times_entropy(program, base):
    table = enumerated_ladder(program, BETAS, base)
    for ending in ("", "_per_datum") if "free_energy_per_datum" in table else ("",):
        f, u, h = (table[name + ending].movedim(0, -1) for name in ("free_energy", "mean_energy", "entropy"))
        torch.testing.assert_close(f, u - h / BETAS, rtol=1e-12, atol=1e-8)
        assert (h * (1 if base == "lebesgue" else -1) >= -1e-12).all()  # else H is minus a divergence


@pytest.mark.parametrize("base", BASES)
def test_mean_energy_and_heat_capacity_are_slopes(program, base):
    """U = d(beta F)/d beta and c = -beta^2 dU/d beta, by central differences; and by forward differentiation."""
    middle, step = torch.tensor([0.05, 0.4, 1.0, 3.0]).double(), 1e-4
    low, here, high = (enumerated_ladder(program, middle * (1 + s * step), base) for s in (-1, 0, 1))
    width = 2 * middle * step
    u = (high["free_energy"] * middle * (1 + step) - low["free_energy"] * middle * (1 - step)) / width
    torch.testing.assert_close(here["mean_energy"], u, rtol=1e-5, atol=1e-6)
    c = -middle.square() * (high["mean_energy"] - low["mean_energy"]) / width
    torch.testing.assert_close(here["heat_capacity"], c, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # torch's own, at its first jvp
@pytest.mark.parametrize("base", BASES)
def test_log_partition_is_differentiable_in_beta_twice(program, base):
    """The derivatives of log Z are -U and c / beta^2."""
    trace, structure = enumerated_trace(program, {}), program.structure

    def log_z(beta):
        per_datum, common = log_partition(trace, structure, beta, base)
        return common if per_datum is None else common + per_datum.sum(-1)

    for beta in (torch.tensor(0.7).double(), torch.tensor([0.2, 1.0, 5.0]).double()):
        one = torch.ones_like(beta)
        (_, slope), (_, curvature) = jvp(lambda b, one=one: jvp(log_z, (b,), (one,)), (beta,), (one,))
        table = enumerated_ladder(program, beta.reshape(-1), base)
        torch.testing.assert_close(-slope.reshape(-1), table["mean_energy"])
        torch.testing.assert_close((beta.square() * curvature).reshape(-1), table["heat_capacity"])
        leaf = beta.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(log_z(leaf).sum(), leaf)
        torch.testing.assert_close(-gradient.reshape(-1), table["mean_energy"])


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_second_derivatives_keep_their_digits_where_energies_are_large():
    """Two states of 10,000 nats tie: the second derivative of log Z is 0, and rounding must not show it as 1e-8 E^2."""

    def tied():
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.4, 0.4, 0.2]).double()))
        pyro.factor("height", -1e4 - 0.1 * k.double() ** 0)

    view = EnergyView(tied).bind()
    trace, beta, one = enumerated_trace(view.program, {}), torch.tensor(1e6).double(), torch.tensor(1.0).double()

    def log_z(b):
        return log_partition(trace, view.structure, b, "lebesgue").common

    _, curvature = jvp(lambda b: jvp(log_z, (b,), (one,))[1], (beta,), (one,))
    assert abs(curvature.item()) < 1e-16


@pytest.mark.parametrize("base", BASES)
def test_free_energy_is_monotone_in_beta_and_ends_at_the_minimum(program, base):
    """With a normalised base it falls to the minimum of what is tempered, with counting it rises to it."""
    f = enumerated_ladder(program, BETAS, base)["free_energy"]
    tolerance = 1e-13 / BETAS[1:] + 1e-10
    steps = f.diff() if base == "lebesgue" else -f.diff()
    assert (steps >= -tolerance).all()
    if base != "prior":
        best, _ = discrete_minimiser(program, {})
        minimum = best.common if best.per_datum is None else best.common + best.per_datum.sum()
        masked = 6 * math.log(2) if program.callable is ragged_chain else 0.0  # averaged, at every beta
        torch.testing.assert_close(f[-1], minimum, rtol=1e-6, atol=(masked + 20) / BETAS[-1].item())


def test_the_result_carries_its_evidence(program):
    exact = program_view(program).free_energy(beta=2.0)
    table = enumerated_ladder(program, torch.tensor([2.0]).double(), "lebesgue")
    assert set(exact.evidence) == {name for name in table if not name.startswith("free_energy")}
    for name, value in exact.evidence.items():
        torch.testing.assert_close(value, table[name][0])
    if exact.per_datum is not None:
        torch.testing.assert_close(exact.evidence["entropy_per_datum"].sum(), exact.evidence["entropy"])


def program_view(program):
    return EnergyView(program.callable).bind(*program.args)
