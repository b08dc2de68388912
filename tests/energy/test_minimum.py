"""Zero temperature against normal equations, root finders and brute force."""

import itertools
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.optimize import brentq, minimize_scalar

from pyrometer import EnergyView


def real(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


@pytest.mark.parametrize("latents", [1, 3, 20])
def test_factor_analysis_has_its_minimum_where_the_normal_equations_say(linear_gaussian, latents):
    model = linear_gaussian(latents, data=5, features=6)
    lowest = model.view.zero_temperature()
    torch.testing.assert_close(lowest.per_datum, model.lowest, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(lowest.latents["z"], model.minimiser, rtol=0, atol=1e-3)
    torch.testing.assert_close(lowest.energy, model.lowest.sum())
    assert lowest.converged.all()
    assert lowest.minima["z"].shape == (1, 5, latents)
    assert (lowest.ties == 1).all()


def ellipse(y):
    with pyro.plate("data", len(y)):
        angle = pyro.sample("angle", dist.Uniform(real(0.0), 2 * math.pi))
        on = torch.stack([2.0 * angle.cos(), 1.5 * angle.sin()], -1)
        log_p = dist.Normal(on, math.sqrt(0.5)).to_event(1).log_prob(y)
        pyro.factor("distance", log_p + math.log(math.pi) + math.log(2 * math.pi))


def squared_distance(x, y):
    """To the ellipse: the least over the roots of the derivative in the angle, each bracketed on a fine grid."""

    def slope(t):
        return 2 * np.sin(t) * (x - 2 * np.cos(t)) - 1.5 * np.cos(t) * (y - 1.5 * np.sin(t))

    grid = np.linspace(-0.01, 2 * math.pi, 4000)
    signs = np.sign(slope(grid))
    roots = [brentq(slope, grid[i], grid[i + 1], xtol=1e-14) for i in np.flatnonzero(signs[:-1] * signs[1:] < 0)]
    return min((x - 2 * np.cos(t)) ** 2 + (y - 1.5 * np.sin(t)) ** 2 for t in roots)


def test_on_the_ellipse_it_is_the_squared_distance():
    y = 1.5 * torch.randn(20, 2, dtype=torch.float64)
    lowest = EnergyView(ellipse).bind(y).zero_temperature()
    expected = [squared_distance(*point) for point in y.tolist()]
    np.testing.assert_allclose(lowest.per_datum.numpy(), expected, rtol=0, atol=1e-6)


def test_at_the_centre_of_the_ellipse_two_explanations_tie():
    """The nearest points of the ellipse are (0, 1.5) and (0, -1.5)."""
    lowest = EnergyView(ellipse).bind(real([0.0, 0.0], [0.1, 1.0])).zero_temperature(starts=32)
    assert lowest.ties.tolist() == [2, 1]
    assert lowest.per_datum[0].item() == pytest.approx(1.5**2, abs=1e-9)
    both = lowest.minima["angle"][:2, 0].sort().values
    torch.testing.assert_close(both, real(math.pi / 2, 3 * math.pi / 2), rtol=0, atol=1e-4)


MEANS, SHARES = real(-2.0, 0.5, 3.0), real(0.2, 0.3, 0.5)


def mixed(y):
    side = pyro.sample("side", dist.Bernoulli(real(0.3)))
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(SHARES))
        z = pyro.sample("z", dist.Normal(MEANS[k], 0.8))
        pyro.sample("y", dist.StudentT(real(3.0), z + side, 0.7), obs=y)


def best(side, y):
    """The least energy of one datum over (k, z), and k, by scipy's bounded search for each k."""

    def energy(z, mean, share):
        prior = 0.5 * ((z - mean) / 0.8) ** 2 + math.log(0.8 * math.sqrt(2 * math.pi)) - math.log(share)
        return prior - dist.StudentT(real(3.0), real(z) + side, 0.7).log_prob(y).item()

    pairs = zip(MEANS.tolist(), SHARES.tolist(), strict=True)
    return min((minimize_scalar(energy, args=pair, bracket=(-1, 4)).fun, k) for k, pair in enumerate(pairs))


def test_discrete_latents_are_minimised_beside_continuous_ones():
    y = real(0.1, 2.5, -4.0)
    lowest = EnergyView(mixed).bind(y).zero_temperature(starts=300)  # side couples the data: 27 valleys
    prior = [-math.log(0.7), -math.log(0.3)]
    totals = [prior[side] + sum(best(side, value)[0] for value in y) for side in (0, 1)]
    assert lowest.energy.item() == pytest.approx(min(totals), abs=1e-7)
    side = int(np.argmin(totals))
    assert lowest.latents["side"] == side
    assert lowest.latents["k"].tolist() == [best(side, value)[1] for value in y]
    assert EnergyView(mixed).bind(y).energy(lowest.latents).item() == pytest.approx(min(totals), abs=1e-7)


def test_a_latent_that_is_given_stays():
    y, view = real(0.1, 2.5, -4.0), EnergyView(mixed).bind(real(0.1, 2.5, -4.0))
    lowest = view.zero_temperature(starts=32, given={"side": real(1.0)})
    expected = real(*[best(1, value)[0] for value in y])
    torch.testing.assert_close(lowest.per_datum, expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(lowest.energy, expected.sum() - math.log(0.3), rtol=0, atol=1e-7)


def test_with_everything_given_it_is_the_energy():
    view = EnergyView(mixed).bind(real(0.1, 2.5))
    latents = {"side": real(1.0), "k": torch.tensor([0, 2]), "z": real(0.3, -0.1)}
    torch.testing.assert_close(view.zero_temperature(given=latents).energy, view.energy(latents))


def chain(y):
    state = torch.tensor(0)
    weights = real([0.75, 0.25], [0.25, 0.75])
    for t in pyro.markov(range(len(y))):
        state = pyro.sample(f"state_{t}", dist.Categorical(weights[state]))
        pyro.sample(f"y_{t}", dist.Normal(2.0 * state.double(), 0.7), obs=y[t])


@pytest.mark.parametrize("y", [[0.1, 1.7, 0.4], [1.0, 1.0, 1.0], [-0.3, 2.4, 1.0]])
def test_discrete_programs_are_minimised_exactly_and_ties_are_counted(y):
    """Oracle: every assignment. Observations in the middle of both states tie."""
    view = EnergyView(chain).bind(real(*y))
    assignments = list(itertools.product([0, 1], repeat=3))
    energies = torch.stack(
        [view.energy({f"state_{t}": torch.tensor(s) for t, s in enumerate(states)}) for states in assignments]
    )
    lowest = view.zero_temperature()
    torch.testing.assert_close(lowest.energy, energies.min())
    assert lowest.ties == torch.isclose(energies, energies.min(), rtol=1e-12, atol=1e-12).sum()
    torch.testing.assert_close(view.energy(lowest.latents), energies.min())


def test_ties_are_counted_by_datum():
    def program(y):
        with pyro.plate("data", len(y)):
            k = pyro.sample("k", dist.Categorical(torch.ones(4).double() / 4))
            pyro.sample("y", dist.Normal(k.double() % 2, 0.7), obs=y)

    assert EnergyView(program).bind(real(0.2, 0.5)).zero_temperature().ties.tolist() == [2, 4]


def double_well(depth):
    z = pyro.sample("z", dist.Normal(real(0.0), 3.0))
    wells = (z**2 - 4) ** 2 + depth * z
    pyro.factor("wells", -wells - dist.Normal(real(0.0), 3.0).log_prob(z))


def test_every_distinct_minimum_is_reported_with_its_energy_the_lowest_first():
    """Oracle: the roots of 4 z (z^2 - 4) + depth = 0, by numpy."""
    depth = 0.6
    lowest = EnergyView(double_well).bind(depth).zero_temperature(starts=32)
    roots = np.roots([4, 0, -16, depth]).real
    wells = sorted(((z**2 - 4) ** 2 + depth * z, z) for z in roots if 12 * z**2 > 16)
    np.testing.assert_allclose(lowest.minima_energy.numpy(), [energy for energy, _ in wells], atol=1e-9)
    np.testing.assert_allclose(lowest.minima["z"].numpy(), [z for _, z in wells], atol=1e-4)
    assert lowest.ties == 1


def test_minima_that_differ_by_rounding_alone_tie():
    def program():
        z = pyro.sample("z", dist.Normal(real(0.3), 3.0))
        wells = 0.05 * ((z - 0.3).square() - 4).square()
        pyro.factor("wells", 1 / 3 - wells - dist.Normal(real(0.3), 3.0).log_prob(z))

    lowest = EnergyView(program).bind().zero_temperature(starts=32)
    assert lowest.ties == 2
    torch.testing.assert_close(lowest.minima["z"].sort().values, real(-1.7, 2.3), rtol=0, atol=1e-4)


def far_well():
    z = pyro.sample("z", dist.Normal(real(0.0), 0.5))
    log_prior = dist.Normal(real(0.0), 0.5).log_prob(z)
    pyro.factor("well", torch.logaddexp(log_prior, 20 - 50 * (z - 300.0) ** 2) - log_prior)


def test_points_of_the_user_and_a_guide_are_places_to_start_from():
    def guide():
        pyro.sample("z", dist.Normal(real(299.9), 0.05))

    view = EnergyView(far_well).bind()
    assert view.zero_temperature().energy > 0
    for found in (view.zero_temperature(points={"z": real([300.2])}), view.zero_temperature(guide=guide)):
        assert found.energy.item() == pytest.approx(-20.0)
        assert found.latents["z"].item() == pytest.approx(300.0, abs=1e-4)


def test_impossible_requests_are_refused(linear_gaussian):
    view = linear_gaussian(2).view
    with pytest.raises(ValueError, match="starts must be at least 1, got 0"):
        view.zero_temperature(starts=0)
    with pytest.raises(ValueError, match=r"points lack \['z'\]"):
        view.zero_temperature(points={"w": torch.zeros(1, 3, 2)})


def test_an_observation_outside_its_support_is_an_error_or_an_infinite_energy_without_explanation():
    def continuous(y):
        shape = pyro.sample("shape", dist.HalfNormal(real(2.0)))
        pyro.sample("y", dist.Gamma(shape, 1.0), obs=y)

    def discrete(y):
        k = pyro.sample("k", dist.Categorical(SHARES))
        pyro.sample("y", dist.Uniform(k.double(), k + 1.5), obs=y)

    with pytest.raises(ValueError, match=r"finite at none of the 16 starts.*\['shape'\]"):
        EnergyView(continuous).bind(real(-1.0)).zero_temperature()
    impossible = EnergyView(discrete).bind(real(7.0)).zero_temperature()
    assert (impossible.energy, impossible.ties, impossible.converged) == (math.inf, 0, False)
