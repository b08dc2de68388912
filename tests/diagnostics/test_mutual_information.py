"""What latents tell of the data, against quadrature, enumeration and a closed form."""

import math
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer.inference.diagnostics import mutual_information

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim
SHARES = torch.tensor([[0.7, 0.3], [0.1, 0.9], [0.4, 0.6], [0.5, 0.5], [0.2, 0.8]], dtype=torch.float64)
PLACES = torch.tensor([[-1.5, 0.4], [0.3, -1.0], [1.2, 2.0], [0.0, 0.7], [2.5, -0.3]], dtype=torch.float64)
WIDTHS = torch.tensor([0.6, 0.9, 0.4, 1.3, 0.7], dtype=torch.float64)
X = torch.arange(5)


def guide(x):
    """kind | x,  place | x, kind,  two | x (two dimensions, of which the second is the same for all data)."""
    with pyro.plate("data", len(x)):
        kind = pyro.sample("kind", dist.Categorical(SHARES[x]))
        pyro.sample("place", dist.Normal(PLACES[x, kind], WIDTHS[x]))
        two = torch.stack([PLACES[x, 1], torch.full_like(PLACES[x, 1], 0.8)], -1)
        pyro.sample("two", dist.Normal(two, 0.5).to_event(1))


def exact():
    grid = torch.linspace(-9, 10, 4001, dtype=torch.float64)
    step = grid[1] - grid[0]
    place = (SHARES.unsqueeze(-1) * dist.Normal(PLACES.unsqueeze(-1), WIDTHS[:, None, None]).log_prob(grid).exp()).sum(
        1
    )
    two = dist.Normal(PLACES[:, 1:], 0.5).log_prob(grid).exp()

    def information(density):
        return (density * (density / density.mean(0)).clamp(min=1e-300).log()).sum(-1).mean().item()

    continuous = {"place": information(place) * step.item(), "two[0]": information(two) * step.item(), "two[1]": 0.0}
    return {"kind": information(SHARES), **continuous}


def test_the_information_of_each_element_is_that_of_enumeration_and_quadrature():
    found, expected = mutual_information(guide, {"x": X}, draws=400), exact()
    assert found.latent.values.tolist() == ["kind", "place", "two[0]", "two[1]"]
    for name, value in expected.items():
        one = found.sel(latent=name)
        assert abs(one.information.item() - value) < SIGMAS * one.error.item() + 1e-9, name
    assert found.error.sel(latent="kind") == pytest.approx(0.0, abs=1e-12)
    assert 0.2 < expected["place"] < math.log(5)


def test_all_latents_together_know_no_less_than_any_and_no_more_than_log_n():
    """Oracle: two independent latents that tell the same, widely separated, know all: log N."""

    def certain(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(100.0 * x, 0.7))
            pyro.sample("b", dist.Normal(0.5 * x, 0.7))

    found = mutual_information(certain, {"x": X})
    assert found.joint.item() == pytest.approx(math.log(5), abs=1e-6)
    assert found.information.sel(latent="a").item() == pytest.approx(math.log(5), abs=1e-6)
    assert found.information.sel(latent="b").item() < 1.2


def test_of_gaussian_data_and_a_linear_guide_it_is_half_the_log_of_a_ratio_of_variances():
    """Oracle: x ~ N(0, 1.5^2) and z | x ~ N(0.8 x, 0.9^2).

    The error of which 2,000 data they are is added: that of a mean of as many log densities.
    """
    x = 1.5 * torch.randn(2000, dtype=torch.float64)

    def linear(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.8 * x, 0.9))

    found = mutual_information(linear, {"x": x})
    expected = 0.5 * math.log1p((0.8 * 1.5 / 0.9) ** 2)
    by_datum = 0.5 * (x / 1.5).square() * (1 - 1 / (1 + (0.8 * 1.5 / 0.9) ** 2))
    error = math.hypot(found.error.item(), by_datum.std().item() / 2000**0.5)
    assert abs(found.information.item() - expected) < SIGMAS * error
    assert error < 0.02


def test_the_error_is_the_spread_of_repeated_estimates():
    count = 150
    found = [mutual_information(guide, {"x": X}, draws=30) for _ in range(count)]
    expected = exact()
    for name in ("place", "two[0]"):
        values, errors = (
            torch.tensor([one[v].sel(latent=name).item() for one in found]) for v in ("information", "error")
        )
        variance = ((values - expected[name]) / errors).square().mean().item()
        # Of a t distribution: one datum alone gives 29 degrees of freedom, and a variance of 29 / 27.
        assert 1 - SIGMAS * (2 / count) ** 0.5 < variance < 29 / 27 * (1 + SIGMAS * (2 / count) ** 0.5)
    joint, errors = (torch.tensor([one[v].item() for one in found]) for v in ("joint", "joint_error"))
    assert joint.std().item() == pytest.approx(errors.mean().item(), rel=SIGMAS / (2 * count) ** 0.5)


def test_parts_of_the_draws_give_what_all_at_once_give(monkeypatch):
    pyro.set_rng_seed(3)
    whole = mutual_information(guide, {"x": X})
    monkeypatch.setattr(sys.modules[mutual_information.__module__], "AT_ONCE", 70)
    pyro.set_rng_seed(3)
    parts = mutual_information(guide, {"x": X})
    assert parts.information.values == pytest.approx(whole.information.values, rel=1e-12)
    assert parts.joint_error.item() == pytest.approx(whole.joint_error.item(), rel=1e-12)


def test_one_datum_one_draw_and_a_guide_whose_densities_are_unknown_are_refused():
    with pytest.raises(ValueError, match="data must be at least 2.*got 1"):
        mutual_information(guide, {"x": X[:1]})
    with pytest.raises(ValueError, match="draws must be at least 2.*got 1"):
        mutual_information(guide, {"x": X}, draws=1)

    def chain(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(1.0 * x, 0.5))
            pyro.sample("w", dist.Normal(z, 0.5))

    with pytest.raises(ValueError, match="'w' must not depend"):
        mutual_information(chain, {"x": X})
