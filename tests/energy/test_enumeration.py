"""Exact sums against brute force over every assignment, in float64 and by itertools."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch

from pyrometer import EnergyView
from pyrometer.inference.energy.log_ring import StableLogRing, with_dims
from pyrometer.models import GaussianMixture

BETAS = [1e-6, 0.3, 1.0, 4.0, 1e6]


def brute_force(view, sizes, beta, base="lebesgue"):
    """-(1/beta) log of the sum over all assignments of exp(-beta E); `sizes` is (site, shape, values) by site."""
    cells = [(name, index, size) for name, shape, size in sizes for index in range(math.prod(shape))]
    assignments = torch.tensor(list(itertools.product(*[range(size) for _, _, size in cells])))
    latents, start = {}, 0
    for name, shape, _ in sizes:
        count = math.prod(shape)
        latents[name] = assignments[:, start : start + count].reshape(len(assignments), *shape)
        start += count
    terms = view.terms(latents)

    def total(names):
        return sum(terms[n].double().reshape(len(assignments), -1).sum(-1) for n in names)

    latent = [name for name, _, _ in sizes]
    observed = [name for name in terms if name not in latent]
    tempered = beta * total(observed) + (1.0 if base == "prior" else beta) * total(latent)
    return -torch.logsumexp(-tempered, 0) / beta


def probabilities(*shape):
    return torch.rand(*shape, dtype=torch.float64).softmax(-1)


def mixture(y):
    weights, means = torch.tensor([0.2, 0.3, 0.5]).double(), torch.tensor([-2.0, 0.0, 3.0]).double()
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(weights))
        pyro.sample("y", dist.Normal(means[k], 0.7), obs=y)


def chain(y):
    weights = torch.tensor([[0.7, 0.3], [0.4, 0.6]]).double()
    state = torch.tensor(0)
    for t in pyro.markov(range(len(y))):
        state = pyro.sample(f"state_{t}", dist.Categorical(weights[state]))
        pyro.sample(f"y_{t}", dist.Normal(2.0 * state.double(), 0.7), obs=y[t])


def shared_and_local(y):
    side = pyro.sample("side", dist.Categorical(torch.tensor([0.7, 0.3]).double()))
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.8]).double()))
        pyro.sample("y", dist.Normal(side + 2.0 * k, 0.7), obs=y)


def shared_beside_local(y):
    pyro.sample("side", dist.Categorical(torch.tensor([0.7, 0.3]).double()))
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.8]).double()))
        pyro.sample("y", dist.Normal(2.0 * k, 0.7), obs=y)


def unobserved_rows(y):
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(0.5, 0.7), obs=y)
        with pyro.plate("rows", 2):
            pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.8]).double()))


Y = torch.tensor([0.1, 2.0, -4.0], dtype=torch.float64)
PROGRAMS = {
    "mixture": (mixture, [("k", (3,), 3)]),
    "chain": (chain, [(f"state_{t}", (), 2) for t in range(3)]),
    "shared": (shared_and_local, [("side", (), 2), ("k", (3,), 2)]),
    "shared_beside_local": (shared_beside_local, [("side", (), 2), ("k", (3,), 2)]),
    "unobserved_rows": (unobserved_rows, [("k", (2, 3), 2)]),
}


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("base", ["lebesgue", "prior"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_sum_equals_brute_force_at_every_temperature(name, base, beta):
    program, sizes = PROGRAMS[name]
    view = EnergyView(program).bind(Y)
    exact = view.free_energy(beta=beta, base=base)
    torch.testing.assert_close(exact.value, brute_force(view, sizes, beta, base), rtol=1e-9, atol=1e-9 / beta)
    assert (exact.bound, exact.method, exact.standard_error.item()) == ("exact", "enumerate", 0.0)


def test_per_datum_energies_add_up_and_exist_only_without_shared_latents():
    local = EnergyView(mixture).bind(Y).free_energy()
    torch.testing.assert_close(local.per_datum.sum(), local.value)
    assert EnergyView(shared_and_local).bind(Y).free_energy().per_datum is None
    assert EnergyView(shared_beside_local).bind(Y).free_energy().per_datum is None


def test_the_mixture_equals_its_closed_form():
    model = GaussianMixture(torch.tensor([[-2.0, 0.0], [2.0, 1.0], [0.0, 3.0]]).double(), scale=0.6)
    with torch.no_grad():
        model.logits.copy_(torch.tensor([0.3, -1.0, 0.5]))
        model.log_scale.add_(0.3 * torch.randn(3, 2))
    x = 2 * torch.randn(20, 2, dtype=torch.float64)
    exact = EnergyView(model).bind(x).free_energy()
    torch.testing.assert_close(exact.per_datum, -model.log_evidence(x), rtol=0, atol=1e-6)


def test_given_latents_are_held_fixed():
    view = EnergyView(shared_and_local).bind(Y)
    given = {"side": torch.tensor(1)}
    k = torch.tensor(list(itertools.product(range(2), repeat=3)))
    energies = view.energy({"side": given["side"].expand(len(k)), "k": k})
    exact = view.free_energy(given=given)
    torch.testing.assert_close(exact.value, -torch.logsumexp(-energies, 0))
    assert exact.per_datum.shape == (3,)
    torch.testing.assert_close(exact.common, -torch.tensor(0.3).double().log())


def test_a_masked_latent_has_no_energy_and_is_averaged_under_its_prior():
    mask = torch.tensor([True, False, True])

    def masked(y):
        with pyro.plate("data", len(y)), poutine.mask(mask=mask):
            k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.8]).double()))
            pyro.sample("y", dist.Normal(2.0 * k, 0.7), obs=y)

    def unmasked(y):
        with pyro.plate("data", len(y)):
            k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.8]).double()))
            pyro.sample("y", dist.Normal(2.0 * k, 0.7), obs=y)

    per_datum = EnergyView(masked).bind(Y).free_energy(beta=3.0).per_datum
    whole = EnergyView(unmasked).bind(Y).free_energy(beta=3.0).per_datum
    torch.testing.assert_close(per_datum, whole * mask, atol=1e-12, rtol=1e-12)


def test_the_users_scale_is_tempered_with_the_energy():
    def scaled(y):
        with pyro.plate("data", len(y)), poutine.scale(scale=0.25):
            k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.8]).double()))
            pyro.sample("y", dist.Normal(2.0 * k, 0.7), obs=y)

    view = EnergyView(scaled).bind(Y)
    torch.testing.assert_close(view.free_energy(beta=3.0).value, brute_force(view, [("k", (3,), 2)], 3.0))


def test_a_subsampled_plate_scales_the_total_and_no_datum():
    def subsampled(y):
        with pyro.plate("data", 30, subsample=torch.arange(3)):
            k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.8]).double()))
            pyro.sample("y", dist.Normal(2.0 * k, 0.7), obs=y)

    exact = EnergyView(subsampled).bind(Y).free_energy()
    joint = torch.tensor([0.2, 0.8]).log().double() + dist.Normal(torch.tensor([0.0, 2.0]), 0.7).log_prob(Y[:, None])
    torch.testing.assert_close(exact.per_datum, -joint.logsumexp(-1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(exact.value, 10 * exact.per_datum.sum())


def test_factors_that_disagree_by_thousands_of_nats_do_not_underflow():
    far = with_dims(torch.tensor([[0.0, -9000.0], [-9000.0, 0.0]]).double(), "ab")
    near = with_dims(torch.tensor([-7000.0, 0.0]).double(), "a")
    end = with_dims(torch.tensor([0.0, -8000.0]).double(), "b")
    total = StableLogRing(dim_to_size={"a": 2, "b": 2}).sumproduct([far, near, end], "ab")
    by_hand = torch.logsumexp((far + near[:, None] + end).flatten(), 0)
    torch.testing.assert_close(total, by_hand)
    assert by_hand == -7000.0


def test_an_impossible_observation_has_infinite_free_energy():
    def model():
        k = pyro.sample("k", dist.Categorical(logits=torch.tensor([0.0, -math.inf]).double()))
        pyro.sample(
            "y",
            dist.Categorical(logits=torch.tensor([[0.0, -math.inf], [-math.inf, 0.0]]).double()[k]),
            obs=torch.tensor(1),
        )

    assert EnergyView(model).bind().free_energy().value == math.inf


def test_a_continuous_latent_cannot_be_enumerated():
    def model():
        pyro.sample("z", dist.Normal(0.0, 2.0))

    with pytest.raises(ValueError, match=r"latents \['z'\] cannot be enumerated"):
        EnergyView(model).bind().free_energy(method="enumerate")


@pytest.mark.parametrize("beta", [0.0, -1.0, math.inf, math.nan])
def test_inverse_temperatures_that_are_not_positive_and_finite_are_refused(beta):
    with pytest.raises(ValueError, match="beta must be a positive, finite"):
        EnergyView(mixture).bind(Y).free_energy(beta=beta)


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
    with pytest.raises(ValueError, match=r"given\['side'\] has shape \(5,\), and the site's own is \(\)"):
        EnergyView(shared_and_local).bind(Y).free_energy(given={"side": torch.zeros(5)})


def test_a_shared_latent_needs_all_the_data():
    def model(y):
        side = pyro.sample("side", dist.Bernoulli(torch.tensor(0.3)))
        with pyro.plate("data", 30, subsample=torch.arange(3)):
            pyro.sample("y", dist.Normal(side, 0.7), obs=y)

    with pytest.raises(ValueError, match=r"'data' is subsampled.*\['side'\]"):
        EnergyView(model).bind(Y).free_energy()
