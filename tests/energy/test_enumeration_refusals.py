"""What cannot be summed is refused by the name of the site, with the reason; nothing is summed wrongly."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView
from pyrometer.inference.energy.enumeration import NotEnumerable, enumerated_ladder

Y = torch.tensor([0.1, 2.0, -4.0], dtype=torch.float64)
TWO, THREE = torch.tensor([0.2, 0.8]).double(), torch.tensor([0.2, 0.3, 0.5]).double()


def mixture(y):
    means = torch.tensor([-2.0, 0.0, 3.0]).double()
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(THREE))
        pyro.sample("y", dist.Normal(means[k], 0.7), obs=y)


def shared(y):
    side = pyro.sample("side", dist.Categorical(TWO))
    pyro.sample("y", dist.Normal(side.double(), 0.7), obs=y[0])


def continuous(y):
    z = pyro.sample("z", dist.Normal(0.0, 2.0))
    pyro.sample("y", dist.Normal(z, 0.7), obs=y[0])


def local(y):
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(TWO))
        pyro.sample("y", dist.Normal(k.double(), 0.7), obs=y)


def counts_without_end(y):
    n = pyro.sample("n", dist.Poisson(2.0))
    pyro.sample("y", dist.Normal(n, 0.7), obs=y[0])


def totals_that_differ(y):
    with pyro.plate("data", 3):
        n = pyro.sample("n", dist.Binomial(torch.tensor([1.0, 2.0, 3.0]), 0.5))
        pyro.sample("y", dist.Normal(n, 0.7), obs=y)


def one_event(y):
    n = pyro.sample("n", dist.Bernoulli(0.5 * torch.ones(3)).to_event(1))
    pyro.sample("y", dist.Normal(n.sum(-1), 0.7), obs=y[0])


def no_plate(y):
    n = pyro.sample("n", dist.Categorical(torch.ones(3, 2)))
    pyro.sample("y", dist.Normal(n.double(), 0.7).to_event(1), obs=y)


def branch(y):
    k = pyro.sample("k", dist.Categorical(TWO))
    pyro.sample("y", dist.Normal(2.0 if k == 1 else 0.0, 0.7), obs=y[0])


def silent_branch(y):
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(THREE))
        pyro.sample("y", dist.Normal(1.0 if (k == 2).any() else 0.0, 0.7), obs=y)


def silent_mean(y):
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(THREE)).double()
        pyro.sample("y", dist.Normal(k - k.mean(0), 0.7), obs=y)


def one_axis_for_another(y):
    means = torch.arange(6.0).reshape(2, 3).double()
    j = pyro.sample("j", dist.Categorical(TWO))
    k = pyro.sample("k", dist.Categorical(TWO))
    pyro.sample("x", dist.Normal(means[j], 0.7).to_event(1), obs=y)
    pyro.sample("y", dist.Normal(means[k].squeeze(), 0.7), obs=y)


def number_of_sites(y):
    n = pyro.sample("n", dist.Categorical(THREE))
    for i in range(int(n)):
        pyro.sample(f"y_{i}", dist.Normal(0.0, 0.7), obs=y[i])


def silent_number_of_sites(y):
    n, i = pyro.sample("n", dist.Categorical(THREE)), 0
    while (i < n).all():
        pyro.sample(f"y_{i}", dist.Normal(0.0, 0.7), obs=y[i])
        i += 1


def crossed(y):
    rows, columns = pyro.plate("rows", 3, dim=-1), pyro.plate("columns", 2, dim=-2)
    with rows:
        i = pyro.sample("i", dist.Categorical(TWO))
    with columns:
        j = pyro.sample("j", dist.Categorical(TWO))
    with rows, columns:
        pyro.sample("y", dist.Normal((i + j).double(), 0.7), obs=y.expand(2, 3))


def too_short_a_memory(_):
    kept = torch.tensor(0)
    for t in pyro.markov(range(4)):
        state = pyro.sample(f"s_{t}", dist.Categorical(torch.stack([TWO, 1 - TWO])[kept]))
        kept = state if t == 0 else kept


def too_many(_):
    for i in range(70):
        pyro.sample(f"k_{i}", dist.Categorical(TWO))


def not_reproducible(y):
    k = pyro.sample("k", dist.Categorical(TWO))
    pyro.sample("y", dist.Normal(k.double() + torch.randn(()), 0.7), obs=y[0])


def subsampled_loop(y):
    for i in pyro.plate("rows", 30, subsample=torch.arange(3)):
        k = pyro.sample(f"k_{i}", dist.Categorical(TWO))
        pyro.sample(f"y_{i}", dist.Normal(k.double(), 0.7), obs=y[i])


def plate_without_a_size(y):
    with pyro.plate("data"):
        k = pyro.sample("k", dist.Categorical(TWO))
        pyro.sample("y", dist.Normal(k.double(), 0.7), obs=y)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (continuous, "'z' .Normal. cannot be enumerated: it is continuous"),
        (counts_without_end, "'n' .Poisson. cannot be enumerated: it has infinitely many values"),
        (totals_that_differ, "'n' .Binomial. cannot be enumerated: Inhomogeneous total count"),
        (one_event, "'n' .*its elements are one event; declare them by a pyro.plate"),
        (no_plate, r"'n' .*its batch shape \(3,\) has dimensions that no plate declares"),
        (branch, r"fails after the site 'k' when \['k'\] hold all their values at once.*ambiguous.*may branch"),
        (silent_branch, r"'y' has another log-probability when \['k'\]"),
        (silent_mean, r"'y' has another log-probability when \['k'\]"),
        (one_axis_for_another, r"'y' has another log-probability when \['j', 'k'\]"),
        (number_of_sites, "fails after the site 'n'.*loop over it"),
        (silent_number_of_sites, r"the sites \['y_0', 'y_1'\] exist for some values of \['n'\] only"),
        (crossed, r"plates \['rows', 'columns'\] meet where these plates cross"),
        (too_short_a_memory, "fails at the site 's_2'.*beyond the reach of its pyro.markov"),
        (too_many, "'k_58' is one latent too many"),
        (not_reproducible, "'y' has another log-probability.*random numbers outside its sites"),
        (plate_without_a_size, "'k' .*it has one value for all elements of the plate 'data'; give the plate its size"),
        (subsampled_loop, "'k_0' .*it lies in a sequential plate that is subsampled"),
    ],
)
def test_what_cannot_be_summed_is_refused_by_name_with_the_reason(program, message):
    view = EnergyView(program, plate=None).bind(Y)
    with pytest.raises(NotEnumerable, match=message):
        view.free_energy(method="enumerate")


@pytest.mark.parametrize("beta", [0.0, -1.0, math.inf, math.nan])
def test_inverse_temperatures_that_are_not_positive_and_finite_are_refused(beta):
    with pytest.raises(ValueError, match="beta must be a positive, finite"):
        EnergyView(mixture).bind(Y).free_energy(beta=beta)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan])
def test_a_ladder_refuses_such_a_rung(beta):
    program = EnergyView(mixture).bind(Y).program
    with pytest.raises(ValueError, match="beta must be a positive, finite"):
        enumerated_ladder(program, torch.tensor([1.0, beta]), "lebesgue")


def test_unknown_bases_and_methods_are_refused():
    view = EnergyView(mixture).bind(Y)
    with pytest.raises(ValueError, match="'flat'"):
        view.free_energy(base="flat")
    with pytest.raises(ValueError, match="'magic'"):
        view.free_energy(method="magic")


def test_unknown_given_latents_are_refused():
    with pytest.raises(ValueError, match=r"given names \['nu'\]"):
        EnergyView(mixture).bind(Y).free_energy(given={"nu": torch.zeros(())})


def test_given_values_must_have_the_sites_own_shape():
    with pytest.raises(ValueError, match=r"given\['k'\] has shape \(5,\); its trailing dimensions must be"):
        EnergyView(local).bind(Y).free_energy(given={"k": torch.zeros(5)})


def test_a_shared_latent_needs_all_the_data():
    def model(y):
        side = pyro.sample("side", dist.Bernoulli(torch.tensor(0.3)))
        with pyro.plate("data", 30, subsample=torch.arange(3)):
            pyro.sample("y", dist.Normal(side, 0.7), obs=y)

    with pytest.raises(ValueError, match=r"'data' is subsampled.*\['side'\]"):
        EnergyView(model).bind(Y).free_energy()
