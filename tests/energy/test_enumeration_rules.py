"""Masks, scales, subsampling, impossible values: the rules of a sum, each against a closed form or a second program."""

import math

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch

from pyrometer import EnergyView
from pyrometer.inference.energy.enumeration import enumerated_ladder, enumerated_trace, log_partition
from pyrometer.inference.energy.log_ring import StableLogRing, with_dims
from pyrometer.models import GaussianMixture

Y = torch.tensor([0.1, 2.0, -4.0], dtype=torch.float64)


def probabilities(*values):
    return dist.Categorical(torch.tensor(values, dtype=torch.float64))


def test_the_mixture_equals_its_closed_form():
    model = GaussianMixture(torch.tensor([[-2.0, 0.0], [2.0, 1.0], [0.0, 3.0]]).double(), scale=0.6)
    with torch.no_grad():
        model.logits.copy_(torch.tensor([0.3, -1.0, 0.5]))
        model.log_scale.add_(0.3 * torch.randn(3, 2))
    x = 2 * torch.randn(20, 2, dtype=torch.float64)
    exact = EnergyView(model).bind(x).free_energy()
    torch.testing.assert_close(exact.per_datum, -model.log_evidence(x), rtol=0, atol=1e-6)


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


def test_a_subsampled_plate_scales_the_total_and_no_datum():
    def subsampled(y):
        with pyro.plate("data", 30, subsample=torch.arange(3)):
            k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.8]).double()))
            pyro.sample("y", dist.Normal(2.0 * k, 0.7), obs=y)

    exact = EnergyView(subsampled).bind(Y).free_energy()
    joint = torch.tensor([0.2, 0.8]).log().double() + dist.Normal(torch.tensor([0.0, 2.0]), 0.7).log_prob(Y[:, None])
    torch.testing.assert_close(exact.per_datum, -joint.logsumexp(-1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(exact.value, 10 * exact.per_datum.sum())


def test_at_beta_zero_data_count_nothing_even_where_they_are_impossible():
    def model():
        k = pyro.sample("k", probabilities(0.3, 0.7))
        pyro.sample("y", dist.Categorical(logits=torch.tensor([[0.0, -math.inf]]).double()[0 * k]), obs=torch.tensor(1))

    view = EnergyView(model).bind()
    trace = enumerated_trace(view.program, {})
    assert log_partition(trace, view.structure, 0.0, "prior").common.abs() < 1e-15
    torch.testing.assert_close(log_partition(trace, view.structure, 0.0, "lebesgue").common.exp().item(), 2.0)


def test_a_subsampled_inner_plate_repeats_its_product():
    """Oracle: the same program with every element written out."""

    def model(y, size):
        with pyro.plate("data", 3):
            topic = pyro.sample("topic", probabilities(0.3, 0.7))
            with pyro.plate("words", size, subsample=torch.arange(2)):
                word = pyro.sample("word", probabilities(0.4, 0.6))
                pyro.sample("y", dist.Normal((topic + word).double(), 0.7), obs=y)

    def written_out(y):
        with pyro.plate("data", 3):
            topic = pyro.sample("topic", probabilities(0.3, 0.7))
            with pyro.plate("words", 6):
                word = pyro.sample("word", probabilities(0.4, 0.6))
                pyro.sample("y", dist.Normal((topic + word).double(), 0.7), obs=y.repeat(3, 1))

    y = torch.randn(2, 3).double()
    part = EnergyView(model).bind(y, 6).free_energy(beta=2.0)
    whole = EnergyView(written_out).bind(y).free_energy(beta=2.0)
    torch.testing.assert_close(part.per_datum, whole.per_datum)


def test_factors_that_disagree_by_thousands_of_nats_do_not_underflow():
    far = with_dims(torch.tensor([[0.0, -9000.0], [-9000.0, 0.0]]).double(), "ab")
    near = with_dims(torch.tensor([-7000.0, 0.0]).double(), "a")
    end = with_dims(torch.tensor([0.0, -8000.0]).double(), "b")
    total = StableLogRing(dim_to_size={"a": 2, "b": 2}).sumproduct([far, near, end], "ab")
    by_hand = torch.logsumexp((far + near[:, None] + end).flatten(), 0)
    torch.testing.assert_close(total, by_hand)
    assert by_hand == -7000.0


def test_a_table_too_large_for_any_machine_is_refused_before_it_is_made():
    letters = "abcdefghijklmnopqrstuvwxyzABCD"
    table = with_dims(torch.zeros(()).expand([2] * 30), letters)  # no memory yet
    with pytest.raises(ValueError, match="a table of more than 268435456 entries"):
        StableLogRing(dim_to_size=dict.fromkeys(letters, 2)).sumproduct([table], letters)


def test_an_impossible_observation_has_infinite_free_energy():
    def model():
        k = pyro.sample("k", dist.Categorical(logits=torch.tensor([0.0, -math.inf]).double()))
        pyro.sample(
            "y",
            dist.Categorical(logits=torch.tensor([[0.0, -math.inf], [-math.inf, 0.0]]).double()[k]),
            obs=torch.tensor(1),
        )

    assert EnergyView(model).bind().free_energy().value == math.inf


def test_a_prior_in_float32_is_a_measure_of_one_at_the_smallest_beta():
    """A prior whose probabilities sum to 1 + 6e-8 would add 0.06 nats at beta = 1e-6. Oracle: F is an energy then."""

    def model():
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.1, 0.2, 0.7])))
        pyro.sample("y", dist.Normal(0.0 * k, 1.0), obs=torch.tensor(2.0))

    exact = EnergyView(model).bind().free_energy(beta=1e-6, base="prior")
    assert abs(exact.value.item() - 0.5 * math.log(2 * math.pi) - 2.0) < 1e-5


def test_a_power_of_an_impossible_value_is_impossible():
    """With base="prior" and scale 1/4 the prior's own power is negative; p = 0 must stay 0 at every beta."""

    def model():
        with poutine.scale(scale=0.25):
            k = pyro.sample("k", dist.Categorical(logits=torch.tensor([0.0, -math.inf]).double()))
        pyro.sample("y", dist.Normal(k.double(), 1.0), obs=torch.tensor(2.0).double())

    betas = torch.tensor([1e-6, 1.0, 1e6], dtype=torch.float64)
    for base in ("lebesgue", "prior"):
        table = enumerated_ladder(EnergyView(model).bind().program, betas, base)
        expected = -dist.Normal(0.0, 1.0).log_prob(torch.tensor(2.0)).double().expand(3)
        torch.testing.assert_close(table["free_energy"], expected, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(table["mean_energy"], expected, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(table["heat_capacity"], torch.zeros(3).double(), rtol=0, atol=1e-9)
