"""The mutual information gap on a complete grid of factors, against quadrature and cases where it is known."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer.inference.diagnostics import mutual_information_gap

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim
COLOUR, SIZE = (value.flatten() for value in torch.meshgrid(torch.arange(3), torch.arange(2), indexing="ij"))
FACTORS = {"colour": COLOUR, "size": SIZE}
MEANS = torch.stack([1.4 * COLOUR, 0.8 * COLOUR + 1.7 * SIZE, 0 * COLOUR], -1).double()
WIDTH = 0.6


def guide(x):
    """The first dimension follows the colour, the second both factors, the third neither."""
    with pyro.plate("data", len(x)):
        pyro.sample("code", dist.Normal(MEANS[x], WIDTH).to_event(1))


def test_information_and_gaps_are_those_of_quadrature():
    grid = torch.linspace(-6, 9, 3001, dtype=torch.float64)
    density = dist.Normal(MEANS.unsqueeze(-1), WIDTH).log_prob(grid).exp()  # datum, dimension, grid
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for row, value in enumerate(FACTORS.values()):
        for v in value.unique():
            given = density[value == v].mean(0)
            log_ratio = (given / density.mean(0)).clamp(min=1e-300).log()
            expected[row] += (value == v).double().mean() * (given * log_ratio).sum(-1) * (grid[1] - grid[0])
    found = mutual_information_gap(guide, {"x": torch.arange(6)}, FACTORS, draws=400)
    assert found.information.dims == ("factor", "latent")
    off = abs(found.information.values - expected.numpy())
    assert (off < SIGMAS * found.error.values + 1e-9).all()
    first, second = expected.sort(descending=True).values[:, :2].T
    gaps = (first - second) / torch.tensor([3.0, 2.0]).log()
    assert (abs(found.gap.values - gaps.numpy()) < SIGMAS * found.gap_error.values).all()
    assert abs(found.mig.item() - gaps.mean().item()) < SIGMAS * found.mig_error.item()
    assert found.entropy.values == pytest.approx([math.log(3), math.log(2)])
    assert gaps.min() > 0.1


def test_a_latent_for_each_factor_has_a_gap_of_one_and_two_for_the_same_none():
    def separate(x):
        with pyro.plate("data", len(x)):
            pyro.sample("colour", dist.Categorical(torch.eye(3)[COLOUR[x]]))
            pyro.sample("size", dist.Normal(9.0 * SIZE[x], 0.3))

    def twice(x):
        with pyro.plate("data", len(x)):
            for name in ("a", "b"):
                pyro.sample(name, dist.Normal(9.0 * (2 * COLOUR[x] + SIZE[x]), 0.3))

    x = {"x": torch.arange(6)}
    assert mutual_information_gap(separate, x, FACTORS).mig.item() == pytest.approx(1.0, abs=1e-5)
    assert mutual_information_gap(twice, x, FACTORS).mig.item() == pytest.approx(0.0, abs=1e-5)


def test_the_order_of_latents_is_no_matter_and_draws_that_are_all_but_impossible_elsewhere_do_no_harm():
    """Oracle: certain latents, as above, far beyond what the exponential function can express."""

    def far(x):
        with pyro.plate("data", len(x)):
            pyro.sample("nothing", dist.Normal(torch.zeros(len(x)), 0.3))
            pyro.sample("code", dist.Normal(torch.stack([SIZE[x], COLOUR[x]], -1) * 500.0, 0.3).to_event(1))

    found = mutual_information_gap(far, {"x": torch.arange(6)}, FACTORS)
    assert found.mig.item() == pytest.approx(1.0, abs=1e-5)
    assert found.information.sel(factor="size", latent="code[0]").item() == pytest.approx(math.log(2), abs=1e-5)


def test_the_error_of_the_gap_is_the_spread_of_repeated_estimates():
    found = [mutual_information_gap(guide, {"x": torch.arange(6)}, FACTORS, draws=6) for _ in range(60)]
    values, errors = (torch.tensor([one[name].item() for one in found]) for name in ("mig", "mig_error"))
    assert values.std().item() == pytest.approx(errors.mean().item(), rel=SIGMAS / 120**0.5)


def test_factors_that_do_not_fit_and_a_single_element_are_refused():
    x = {"x": torch.arange(6)}
    with pytest.raises(ValueError, match=r"'size'.*one integer for each of the 6 data, got shape \(5,\)"):
        mutual_information_gap(guide, x, {"size": SIZE[:5]})
    with pytest.raises(ValueError, match="float32"):
        mutual_information_gap(guide, x, {"size": SIZE.float()})
    with pytest.raises(ValueError, match="'size'.*at least two values"):
        mutual_information_gap(guide, x, {"size": 0 * SIZE})

    def one(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(1.0 * x, 0.5))

    with pytest.raises(ValueError, match=r"at least two elements for a gap, but they are \['z'\]"):
        mutual_information_gap(one, x, FACTORS)
