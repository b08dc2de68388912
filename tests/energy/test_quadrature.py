"""Quadrature against closed forms, dense sums and scipy's integrals."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.integrate import dblquad, quad
from scipy.special import logsumexp

from pyrometer import EnergyView

BETAS = [1e-3, 0.4, 1.0, 30.0, 1e3]
QUANTITIES = ["mean_energy", "entropy", "heat_capacity"]


def real(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


def integrated(program, *args, **options):
    return EnergyView(program).bind(*args).free_energy(method="quadrature", **options)


@pytest.mark.parametrize("base", ["lebesgue", "prior"])
@pytest.mark.parametrize("latents", [1, 2, 3])
def test_factor_analysis_is_exact_at_every_temperature(linear_gaussian, latents, base):
    model = linear_gaussian(latents, data=2)
    for beta in BETAS[:: 2 if latents == 3 else 1]:
        found, exact = model.view.free_energy(beta=beta, base=base, method="quadrature"), model.exact(beta, base)
        torch.testing.assert_close(found.per_datum, exact["free_energy"], rtol=1e-9, atol=1e-9 / beta)
        rounding = 1e-12 * (1 / beta + exact["free_energy"].abs())  # the oracle's own
        assert ((found.per_datum - exact["free_energy"]).abs() <= found.per_datum_error + rounding).all()
        torch.testing.assert_close(found.value, exact["free_energy"].sum(), rtol=1e-9, atol=1e-9 / beta)
        for name in QUANTITIES:
            rounding = 1e-6 if name != "mean_energy" else 1e-6 / min(beta, 1)
            torch.testing.assert_close(found.evidence[f"{name}_per_datum"], exact[name], rtol=1e-8, atol=rounding)


@pytest.mark.parametrize("beta", [1e-6, 1.0, 1e6])
def test_single_precision_says_how_much_rounding_it_has(linear_gaussian, beta):
    model = linear_gaussian(2, dtype=torch.float32)
    for base in ("lebesgue", "prior"):
        found, exact = model.view.free_energy(beta=beta, base=base, method="quadrature"), model.exact(beta, base)
        assert ((found.per_datum - exact["free_energy"]).abs() <= found.per_datum_error).all()
        assert (found.per_datum_error <= 1e-4 * (1 / beta + exact["free_energy"].abs())).all()


def ellipse(y):
    """The lecture's: the energy is the squared distance to a point of the ellipse."""
    with pyro.plate("data", len(y)):
        angle = pyro.sample("angle", dist.Uniform(real(0.0), 2 * math.pi))
        on = torch.stack([2.0 * angle.cos(), 1.5 * angle.sin()], -1)
        log_p = dist.Normal(on, math.sqrt(0.5)).to_event(1).log_prob(y)
        pyro.factor("distance", log_p + math.log(math.pi) + math.log(2 * math.pi))  # the last is the prior's


@pytest.mark.parametrize("beta", [0.1, 1.0, 20.0])
def test_the_ellipse_with_the_uniform_measure_is_a_sum_over_the_circle(beta):
    """Oracle: the trapezoidal rule with a million points on the circle, in numpy."""
    y = real([0.3, -0.2], [2.5, 0.4], [0.0, 0.0])
    angle = 2 * math.pi * np.arange(1_000_000) / 1_000_000
    energy = (y[:, :1].numpy() - 2 * np.cos(angle)) ** 2 + (y[:, 1:].numpy() - 1.5 * np.sin(angle)) ** 2
    expected = -(logsumexp(-beta * energy, axis=-1) - math.log(1_000_000)) / beta
    found = integrated(ellipse, y, beta=beta, base="uniform")
    np.testing.assert_allclose(found.per_datum.numpy(), expected, rtol=1e-8, atol=1e-8)


MEANS, SHARES = real(-2.0, 0.5, 3.0), real(0.2, 0.3, 0.5)


def mixed(y):
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(SHARES))
        z = pyro.sample("z", dist.Normal(MEANS[k], 0.8))
        pyro.sample("y", dist.Normal(z, 0.7), obs=y)


@pytest.mark.parametrize("base", ["lebesgue", "prior"])
@pytest.mark.parametrize("beta", [0.3, 1.0, 5.0])
def test_discrete_latents_beside_continuous_ones_are_summed(beta, base):
    """Oracle: a dense sum over z and k, in numpy."""
    y, z = real(0.1, 2.0, -4.0), np.linspace(-40, 40, 400_001)
    components = []
    for mean, share in zip(MEANS.tolist(), SHARES.tolist(), strict=True):
        prior = math.log(share) - 0.5 * ((z - mean) / 0.8) ** 2 - math.log(0.8 * math.sqrt(2 * math.pi))
        likelihood = -0.5 * ((y.numpy()[:, None] - z) / 0.7) ** 2 - math.log(0.7 * math.sqrt(2 * math.pi))
        components.append((beta if base == "lebesgue" else 1.0) * prior + beta * likelihood)
    expected = -(logsumexp(np.stack(components), axis=(0, 2)) + math.log(z[1] - z[0])) / beta
    found = integrated(mixed, y, beta=beta, base=base)
    np.testing.assert_allclose(found.per_datum.numpy(), expected, rtol=1e-9, atol=1e-9)


def shared(y):
    scale = pyro.sample("scale", dist.HalfCauchy(real(1.5)))
    mean = pyro.sample("mean", dist.Normal(real(0.5), 2.0))
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(real(0.3, 0.7)))
        pyro.sample("y", dist.Normal(mean + 3.0 * k, scale), obs=y)


@pytest.mark.parametrize("beta", [0.6, 1.0])
def test_shared_latents_couple_the_data(beta):
    """Oracle: a dense sum over log scale and mean, the components by hand, in numpy."""
    y = real(0.1, 2.0, 3.5, 0.7, -1.3, 4.2)
    log_scale, mean = np.linspace(-6, 15, 2101)[:, None], np.linspace(-25, 25, 2001)[None]
    scale = np.exp(log_scale)
    total = beta * (math.log(2 / (math.pi * 1.5)) - np.log1p((scale / 1.5) ** 2))
    total = total + beta * (-0.5 * ((mean - 0.5) / 2) ** 2 - math.log(2 * math.sqrt(2 * math.pi))) + log_scale
    for value in y.tolist():
        parts = [
            beta * (math.log(p) - 0.5 * ((value - mean - 3 * k) / scale) ** 2 - log_scale - 0.5 * math.log(2 * math.pi))
            for k, p in enumerate((0.3, 0.7))
        ]
        total = total + np.logaddexp(*parts)
    cell = math.log(log_scale[1, 0] - log_scale[0, 0]) + math.log(mean[0, 1] - mean[0, 0])
    found = integrated(shared, y, beta=beta)
    assert found.per_datum is None
    assert found.value.item() == pytest.approx(-(logsumexp(total) + cell) / beta, rel=1e-8)


def beta_prior():
    p = pyro.sample("p", dist.Beta(real(1.4), 2.5))
    pyro.sample("y", dist.Binomial(7, p), obs=real(5.0))


def half_cauchy():
    scale = pyro.sample("scale", dist.HalfCauchy(real(0.6)))
    pyro.sample("y", dist.Normal(real(1.0), scale), obs=real(1.8))


def dependent_bound():
    top = pyro.sample("top", dist.Gamma(real(3.0), 2.0))
    z = pyro.sample("z", dist.Uniform(real(0.0), top))
    pyro.sample("y", dist.Normal(z, 0.7), obs=real(0.9))


def simplex():
    p = pyro.sample("p", dist.Dirichlet(real(1.5, 2.0, 2.5)))
    pyro.sample("y", dist.Multinomial(6, p), obs=real(3.0, 1.0, 2.0))


def binomial_density(p, beta):
    prior = p**0.4 * (1 - p) ** 1.5 * math.gamma(3.9) / math.gamma(1.4) / math.gamma(2.5)
    return (prior * 21 * p**5 * (1 - p) ** 2) ** beta


def half_cauchy_density(s, beta):
    prior = 2 / (math.pi * 0.6 * (1 + (s / 0.6) ** 2))
    return (prior * math.exp(-0.5 * (0.8 / s) ** 2) / (s * math.sqrt(2 * math.pi))) ** beta if s > 0 else 0.0


def bound_density(z, top, beta):
    likelihood = math.exp(-0.5 * ((z - 0.9) / 0.7) ** 2) / (0.7 * math.sqrt(2 * math.pi))
    return (4 * top**2 * math.exp(-2 * top) / top * likelihood) ** beta


def simplex_density(b, a, beta):
    c = max(1 - a - b, 0.0)
    norm = math.gamma(6.0) / (math.gamma(1.5) * math.gamma(2.0) * math.gamma(2.5))
    return (norm * a**0.5 * b * c**1.5 * 60 * a**3 * b * c**2) ** beta


@pytest.mark.parametrize("beta", [0.7, 1.0, 4.0])
@pytest.mark.parametrize(
    ("program", "integral"),
    [
        (beta_prior, lambda beta: quad(binomial_density, 0, 1, (beta,), epsabs=0)[0]),
        (half_cauchy, lambda beta: quad(half_cauchy_density, 0, np.inf, (beta,), epsabs=0, limit=500)[0]),
        (dependent_bound, lambda beta: dblquad(bound_density, 0, 40, 0, lambda top: top, (beta,), epsabs=0)[0]),
        (simplex, lambda beta: dblquad(simplex_density, 0, 1, 0, lambda a: 1 - a, (beta,), epsabs=0)[0]),
    ],
)
def test_bounded_and_positive_latents_equal_scipy_s_integrals(program, integral, beta):
    expected = -math.log(integral(beta)) / beta
    assert integrated(program, beta=beta).value.item() == pytest.approx(expected, abs=1e-7)


def peaks(left, right, share, distance):
    """A normalised mixture of two normals: F_1 = 0."""
    z = pyro.sample("z", dist.Normal(real(0.0), 10.0))
    places, widths = real(-distance / 2, distance / 2), real(left, right)
    log_p = dist.Normal(places, widths).log_prob(z.unsqueeze(-1)) + real(share, 1 - share).log()
    pyro.factor("mixture", log_p.logsumexp(-1) - dist.Normal(real(0.0), 10.0).log_prob(z))


@pytest.mark.parametrize("widths", [(1e-6, 1e-6), (1e-3, 2e-3), (0.5, 0.8)])
def test_far_and_narrow_modes_are_both_found(widths):
    found = integrated(peaks, *widths, 0.4, 10.0)
    assert found.evidence["modes"] == 2
    assert abs(found.value) < 1e-8


def test_a_second_mode_narrower_than_the_first_is_not_stepped_over():
    """The guide finds it: of height 4e-3, while the wide one's is 0.4, and of mass 1e-5."""

    def guide(*_):
        left = pyro.sample("left", dist.Bernoulli(0.5), infer={"is_auxiliary": True})
        pyro.sample("z", dist.Normal(2.0 - 4.0 * left.double(), 1e-4))

    found = integrated(peaks, 1e-3, 1.0, 1e-5, 4.0, guide=guide)
    assert found.evidence["modes"] == 2
    assert abs(found.value) < 1e-8


def walls(y):
    top = pyro.sample("top", dist.HalfNormal(real(2.0)))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Uniform(-top, top), obs=y)


def test_where_the_density_jumps_the_error_is_large_and_covers_the_truth():
    for seed in range(4):
        y = 0.8 * torch.rand(3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        integral = quad(lambda t: math.sqrt(0.5 / math.pi) * math.exp(-t * t / 8) / (8 * t**3), y.max().item(), 60)[0]
        found = integrated(walls, y)
        assert (found.value + math.log(integral)).abs() <= found.standard_error


def cauchy():
    pyro.sample("z", dist.Cauchy(real(0.0), 1.0))


def test_an_integral_that_diverges_is_refused():
    with pytest.raises(ValueError, match="the integral may not converge.*method='annealing'"):
        integrated(cauchy, beta=0.3)


def test_four_dimensions_are_refused(linear_gaussian):
    with pytest.raises(ValueError, match=r"one to three dimensions.*\['z'\] have 4 by datum.*annealing"):
        linear_gaussian(4).view.free_energy(method="quadrature")


def test_an_observation_outside_its_support_is_an_error():
    def program():
        shape = pyro.sample("shape", dist.HalfNormal(real(2.0)))
        pyro.sample("y", dist.Gamma(shape, 1.0), obs=real(-1.0))

    with pytest.raises(ValueError, match=r"\['shape'\] is finite at none.*observations may lie outside"):
        integrated(program)
