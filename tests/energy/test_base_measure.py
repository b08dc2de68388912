"""Volumes of supports against hit-or-miss integration, counting, and known formulas."""

import math

import pyro.distributions as dist
import pytest
import torch

from pyrometer.inference.energy.base_measure import check_base, check_temperature, log_volume


def test_an_interval_has_its_length_for_every_element_of_the_batch():
    low, high = torch.tensor([0.0, -1.0, 2.0]), torch.tensor([0.5, 2.0, 9.0])
    expected = torch.tensor([0.5, 3.0, 7.0]).double().log()
    torch.testing.assert_close(log_volume("z", dist.Uniform(low, high)), expected)
    torch.testing.assert_close(log_volume("z", dist.Uniform(low, high).expand([2, 3])), expected.expand(2, 3))
    assert log_volume("z", dist.Beta(2.0, 3.0).expand([4])).tolist() == [0.0] * 4


def test_an_event_has_the_product_of_its_lengths():
    box = dist.Uniform(torch.tensor([0.0, -1.0]), torch.tensor([0.5, 2.0])).expand([3, 2]).to_event(1)
    torch.testing.assert_close(log_volume("z", box), torch.full([3], math.log(0.5 * 3.0)).double())
    lengths = dist.Uniform(0.0, 2 * math.pi).expand([3, 2, 4]).to_event(2)
    torch.testing.assert_close(log_volume("z", lengths), torch.full([3], 8 * math.log(2 * math.pi)).double())


def test_a_transformed_distribution_has_the_volume_of_where_it_arrives():
    shifted = dist.TransformedDistribution(dist.Beta(2.0, 3.0), dist.transforms.SigmoidTransform())
    assert log_volume("z", shifted) == 0.0


def test_the_simplex_has_the_volume_of_its_first_coordinates():
    """The share of the unit cube whose coordinates sum to less than one."""
    parts, draws = 4, 200_000
    inside = (torch.rand(draws, parts - 1).sum(-1) < 1).double()
    volume = log_volume("z", dist.Dirichlet(torch.ones(2, parts))).exp()
    assert volume.shape == (2,)
    assert (inside.mean() - volume[0]).abs() < 4.3 * inside.std() / draws**0.5
    several = log_volume("z", dist.Dirichlet(torch.ones(5, 3, parts)).to_event(1))
    torch.testing.assert_close(several, torch.full([5], 3 * math.log(volume[0].item())).double())


@pytest.mark.parametrize("name", ["uniform box", "beta", "dirichlet"])
def test_the_integral_of_a_density_over_its_support_is_one(name):
    """The mean of 1 / p(z) under p is the volume, wherever its variance is finite."""
    fn = {
        "uniform box": dist.Uniform(torch.tensor([0.0, -1.0]), torch.tensor([0.5, 2.0])).to_event(1),
        "beta": dist.Beta(1.3, 1.2),
        "dirichlet": dist.Dirichlet(torch.tensor([1.2, 1.0, 1.3])),
    }[name]
    inverse = (-fn.log_prob(fn.sample(torch.Size([100_000])))).exp().double()
    error = 4.3 * inverse.std() / len(inverse) ** 0.5
    assert (inverse.mean() - log_volume("z", fn).exp()).abs() <= error + 1e-6


@pytest.mark.parametrize(
    ("fn", "count"),
    [
        (dist.Bernoulli(0.3), 2),
        (dist.Categorical(torch.tensor([0.2, 0.3, 0.5])), 3),
        (dist.Binomial(7, 0.3), 8),
        (dist.OneHotCategorical(torch.tensor([0.2, 0.3, 0.5])), 3),
    ],
)
def test_discrete_supports_are_counted(fn, count):
    torch.testing.assert_close(log_volume("z", fn), torch.tensor(math.log(count)).double())
    torch.testing.assert_close(log_volume("z", fn.expand([5])), torch.full([5], math.log(count)).double())


@pytest.mark.parametrize(
    "fn", [dist.Normal(0.0, 2.0), dist.HalfNormal(2.0), dist.Normal(0.0, 2.0).expand([3]).to_event(1)]
)
def test_an_unbounded_support_is_refused_by_name(fn):
    with pytest.raises(ValueError, match=r"bounded support, and that of the site 'z' .* take base=\"lebesgue\""):
        log_volume("z", fn)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.inf, math.nan])
def test_temperatures_that_no_method_takes_are_refused(beta):
    with pytest.raises(ValueError, match=f"positive, finite inverse temperature, got {beta}"):
        check_temperature(beta, "lebesgue")


def test_unknown_bases_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match='"lebesgue", "prior" or "uniform", got \'flat\''):
        check_base("flat")
    for base in ("lebesgue", "prior", "uniform"):
        check_temperature(0.4, base)
