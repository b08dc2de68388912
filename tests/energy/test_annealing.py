"""Annealing against closed forms: values, errors, and what is said where a path is wrong."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import chi2, kstest

from pyrometer import EnergyView
from pyrometer.inference.energy import starts
from pyrometer.inference.energy.annealed_free_energy import combined, estimate_log_z
from pyrometer.inference.energy.landscape import landscape
from pyrometer.inference.energy.starts import guide_start


def real(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


def annealed(view, **options):
    return view.free_energy(method="annealing", **options)


def in_errors(value, exact, error):
    return ((value - exact).abs() <= 4.3 * error).all()


@pytest.mark.parametrize("base", ["lebesgue", "prior"])
@pytest.mark.parametrize(("latents", "beta"), [(2, 1.0), (2, 0.2), (10, 1.0), (10, 3.0)])
def test_both_paths_are_right_for_factor_analysis(linear_gaussian, latents, beta, base):
    model = linear_gaussian(latents, data=4, features=6)
    exact = model.exact(beta, base)["free_energy"]
    alone = annealed(model.view, beta=beta, base=base)
    assert in_errors(alone.per_datum, exact, alone.per_datum_error)
    assert in_errors(alone.value, exact.sum(), alone.standard_error)
    both = annealed(model.view, beta=beta, base=base, guide=lambda x: model.guide(x, widen=1.3))
    for path in ("prior", "guide"):
        found, error = (both.evidence[f"{path}_{name}"] for name in ("free_energy", "error"))
        assert in_errors(found, exact, error)
        assert (both.evidence[f"{path}_acceptance"] > 0.5).all()
    assert in_errors(both.value, exact.sum(), both.standard_error)
    assert alone.standard_error < 0.5 / beta


@pytest.mark.parametrize("resample", [False, True])
def test_errors_are_those_of_repeats(linear_gaussian, resample):
    """40 sums over 10 data each: the sum of squared z-scores is chi-square with 40 degrees of freedom, in the band
    that has 99.99 % of it, widened by what an error may be off, 0.9 to 1.15.
    """
    model = linear_gaussian(2, data=400)
    found = annealed(model.view, resample=resample, **({"chains": 64} if resample else {}))
    difference = found.per_datum - model.exact(1.0, "lebesgue")["free_energy"]
    z = difference.reshape(40, 10).sum(-1) / found.per_datum_error.square().reshape(40, 10).sum(-1).sqrt()
    total = z.square().sum().item()
    assert 0.9**2 * chi2.ppf(5e-5, 40) < total < 1.15**2 * chi2.ppf(1 - 5e-5, 40)
    assert abs(z.mean()) < 4.3 / math.sqrt(40)


def two_explanations(y):
    """y is about z^2: z and -z explain it alike."""
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(real(0.0), 2.0))
        pyro.sample("y", dist.Normal(z.square(), 0.7), obs=y)


def positive_only(y):
    with pyro.plate("data", len(y)):
        pyro.sample("z", dist.Normal(y.sqrt(), 0.2))


def test_where_the_guide_misses_a_mode_the_paths_disagree_and_the_prior_s_value_stands():
    """The guide path alone is too high by log 2."""
    y = real(4.0, 6.0, 9.0)
    view = EnergyView(two_explanations).bind(y)
    exact = view.free_energy(method="quadrature").per_datum
    found = annealed(view, guide=positive_only, temperatures=200, chains=256)
    assert found.evidence["disagree"].all()
    torch.testing.assert_close(found.per_datum, found.evidence["prior_free_energy"])
    assert in_errors(found.per_datum, exact, found.evidence["prior_error"])
    wrong = found.evidence["guide_free_energy"]
    assert in_errors(wrong, exact + math.log(2), found.evidence["guide_error"] + 0.01)
    assert (found.per_datum_error >= (wrong - found.per_datum).abs() - 1e-9).all()


@pytest.mark.parametrize("shift", [3.0, 20.0])
def test_a_guide_that_is_far_off_is_marked_or_its_error_covers_it(linear_gaussian, shift):
    model = linear_gaussian(2, data=16)
    found = annealed(model.view, guide=lambda x: model.guide(x, shift=shift, widen=0.5))
    off = (found.per_datum - model.exact(1.0, "lebesgue")["free_energy"]).abs()
    assert (found.evidence["disagree"] | found.per_datum_error.isnan() | (off <= 4.3 * found.per_datum_error)).all()
    assert (off < 1).all()


def test_a_guide_for_other_data_is_marked_or_its_error_covers_it(linear_gaussian):
    model = linear_gaussian(2, data=30)
    other = model._replace(x=model.x.flip(0))
    found = annealed(model.view, guide=other.guide, chains=64)
    off = (found.per_datum - model.exact(1.0, "lebesgue")["free_energy"]).abs()
    assert (found.evidence["disagree"] | (off <= 4.3 * found.per_datum_error)).all()


def test_the_error_is_withheld_where_log_weights_spread_too_far(linear_gaussian):
    found = annealed(linear_gaussian(50, features=60).view, temperatures=2)
    assert found.per_datum_error.isnan().all()
    assert found.standard_error.isnan()


@pytest.mark.parametrize(("spread", "reliable"), [(1.2, True), (1.8, False), (6.0, False)])
def test_an_error_is_quoted_up_to_a_spread_of_one_and_a_half_nats(spread, reliable):
    log_weights = spread * torch.linspace(0.001, 0.999, 400, dtype=torch.float64).mul(2).sub(1).erfinv() * 2**0.5
    estimate = estimate_log_z(log_weights.unsqueeze(-1))
    assert estimate.reliable.item() is reliable
    assert combined([estimate])[1].isfinite().item() is reliable


def walls(y):
    top = pyro.sample("top", dist.HalfNormal(real(2.0)))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Uniform(-top, top), obs=y)


def test_starts_where_the_energy_is_infinite_count_as_nothing():
    """Three in ten draws of top are below the largest observation."""
    y = real(0.5, -0.8, 0.3)
    integral = quad(lambda top: math.sqrt(0.5 / math.pi) * math.exp(-top * top / 8) / (8 * top**3), 0.8, 60)[0]
    found = annealed(EnergyView(walls).bind(y), chains=512)
    assert in_errors(found.value, -math.log(integral), found.standard_error)


def impossible(y):
    shape = pyro.sample("shape", dist.HalfNormal(real(2.0)))
    pyro.sample("y", dist.Gamma(shape, 1.0), obs=y)


def test_where_no_start_has_a_finite_energy_there_is_an_error():
    with pytest.raises(ValueError, match="energy is finite at none of 16 draws of the prior.*outside its site's"):
        annealed(EnergyView(impossible).bind(real(-1.0)))


def test_too_few_chains_or_temperatures_are_refused(linear_gaussian):
    view = linear_gaussian(2).view
    with pytest.raises(ValueError, match="chains must be at least 4 to give a standard error, got 3"):
        annealed(view, chains=3)
    with pytest.raises(ValueError, match="temperatures must be at least 2, got 1"):
        annealed(view, temperatures=1)
    with pytest.raises(ValueError, match="with resample=True, chains must be a multiple of 8 from 32 on, got 20"):
        annealed(view, chains=20, resample=True)


def test_a_guide_without_a_latent_or_without_spread_is_refused(linear_gaussian):
    model = linear_gaussian(2)

    def other(_):
        pyro.sample("w", dist.Normal(0.0, 1.0))

    def point(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(torch.zeros(len(x), 2).double()).to_event(1))

    with pytest.raises(ValueError, match=r"the guide does not sample \['z'\]; its sites are \['w'\]"):
        annealed(model.view, guide=other)
    with pytest.raises(ValueError, match=r"no density to start from: its draws of \['z'\] have no spread"):
        annealed(model.view, guide=point)


def skewed_guide(x):
    with pyro.plate("data", len(x)):
        a = pyro.sample("a", dist.Normal(0.3 * torch.ones(len(x)).double(), 0.7))
        pyro.sample("b", dist.LogNormal(a, 0.5))


def pair(x):
    with pyro.plate("data", len(x)):
        a = pyro.sample("a", dist.Normal(real(0.0), 2.0))
        b = pyro.sample("b", dist.Gamma(real(2.0), 1.0))
        pyro.sample("x", dist.Normal(a + b, 0.7), obs=x)


def test_the_start_from_a_guide_is_the_best_of_its_family_for_each_datum(linear_gaussian):
    """Oracle: of the guides N(loc, covariance), the best is the exact posterior, whose moments are known."""
    model = linear_gaussian(2, data=5)
    origin = guide_start(landscape(model.view.program, {}), lambda x: model.guide(x, shift=0.4, widen=1.5))
    exact = guide_start(landscape(model.view.program, {}), model.guide)
    draws, expected = origin.draw(20_000), exact.draw(20_000)
    spread = expected.std(0)
    # 1,000 draws of the guide make a start: its standardised mean is known to 1 / sqrt(1000), and 300 steps of Adam end
    # within a hundredth.
    assert ((draws.mean(0) - expected.mean(0)).abs() < (4.3 * math.sqrt(2 / 1000) + 0.01) * spread).all()
    assert ((draws.std(0) / spread).log().abs() < 4.3 * math.sqrt(1 / 1000) + 0.02).all()


def test_the_start_from_a_guide_is_normalised_and_has_its_moments(monkeypatch):
    """Oracles: a dense sum over the plane; a and log b are jointly normal with covariance [[s, s], [s, s + 0.25]]."""
    monkeypatch.setattr(starts, "FAMILY_STEPS", 0)
    origin = guide_start(landscape(EnergyView(pair).bind(real(1.0, 3.0)).program, {}), skewed_guide)
    axis = torch.linspace(-6, 7, 651, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis).unsqueeze(1).expand(-1, 2, -1)
    mass = origin.log_density(grid).logsumexp(0).exp() * 0.02**2
    torch.testing.assert_close(mass, torch.ones(2).double(), rtol=1e-9, atol=0)
    draws = origin.draw(20_000)
    covariance = real([0.49, 0.49], [0.49, 0.74])
    for group in range(2):
        torch.testing.assert_close(draws[:, group].mean(0), real(0.3, 0.3), rtol=0, atol=4.3 * 0.9 / math.sqrt(1000))
        torch.testing.assert_close(draws[:, group].mT.cov(), covariance, rtol=0.25, atol=0.0)
    scores = origin.log_density(draws)[:, 0]
    distances = 2 * (scores.max() - scores)  # of a normal in two dimensions: chi-square with two degrees
    assert kstest(distances.numpy(), chi2(2).cdf).pvalue > 1e-4


def test_random_numbers_are_the_caller_s(linear_gaussian):
    """One seed gives one number, the library sets none, and the default precision stays."""
    view = linear_gaussian(2, dtype=torch.float32).view
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values += [annealed(view, temperatures=20).value.item(), annealed(view, temperatures=20).value.item()]
        assert torch.initial_seed() == seed
    assert values[:2] == values[2:4]
    assert len(set(values)) == 4
    assert torch.get_default_dtype() == torch.float32


def test_a_much_lower_free_energy_marks_the_datum_however_uncertain_it_is():
    sure = torch.randn(16, 3, dtype=torch.float64) * 0.1
    unsure = torch.randn(16, 3, dtype=torch.float64) * 0.1 + torch.tensor([0.0, 8.0, -8.0]).double()
    unsure[1:, 1:] -= 30.0  # one chain has all the weight
    first, second = estimate_log_z(sure), estimate_log_z(unsure)
    log_z, error, disagree = combined([first, second])
    assert disagree.tolist() == [False, True, False]  # a larger Z marks it; a smaller, uncertain one says nothing
    assert log_z[1] == second.log_z[1]
    assert error.isnan().tolist() == [False, True, False]
    assert (log_z[2], error[2]) == (first.log_z[2], first.error[2])
