"""Programs as densities on R^D: bijections, Jacobians, masks, scales and which data are independent."""

import math

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from torch.distributions import biject_to, constraints

from pyrometer import EnergyView
from pyrometer.inference.energy.landscape import landscape


def real(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


Y = real(0.3, -1.2, 2.1)


def many_shapes(y):
    """Locals of event shapes (), (3,) and (2, 2)."""
    with pyro.plate("data", len(y), dim=-1):
        scale = pyro.sample("scale", dist.HalfNormal(real(2.0)))
        weights = pyro.sample("weights", dist.Dirichlet(real(1.5, 2.0, 0.7)))
        matrix = pyro.sample("matrix", dist.Normal(torch.zeros(2, 2).double(), 0.6).to_event(2))
        pyro.sample("y", dist.Normal(weights[..., 0] + matrix.sum((-1, -2)), scale), obs=y)


def outer_plate(y):
    """The data plate at dim -2, with two rows inside."""
    with pyro.plate("data", len(y), dim=-2):
        mean = pyro.sample("mean", dist.Normal(real(0.5), 2.0))
        with pyro.plate("rows", 2, dim=-1):
            level = pyro.sample("level", dist.Beta(mean.exp(), 1.3))
            pyro.sample("y", dist.Normal(level + mean, 0.7), obs=y.unsqueeze(-1).expand(-1, 2))


def outer_rows(y):
    """The data plate at dim -1, inside two rows, so that data are the second axis of a latent."""
    with pyro.plate("rows", 2, dim=-2), pyro.plate("data", len(y), dim=-1):
        level = pyro.sample("level", dist.Beta(real(1.7), 1.3))
        pyro.sample("y", dist.Normal(level, 0.7), obs=torch.stack([y, 2 * y]))


def shared_correlation(y):
    root = pyro.sample("root", dist.LKJCholesky(3, real(1.5)))
    with pyro.plate("data", 2):
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(3).double(), scale_tril=root), obs=torch.stack([y, -y]))


def dependent_bound(y):
    with pyro.plate("data", len(y)):
        top = pyro.sample("top", dist.Gamma(real(3.0), 2.0))
        z = pyro.sample("z", dist.Uniform(-top, top))
        pyro.sample("y", dist.Normal(z, 0.7), obs=y)


PROGRAMS = {
    "many_shapes": (many_shapes, 3, 1 + 2 + 4),
    "outer_plate": (outer_plate, 3, 3),
    "outer_rows": (outer_rows, 3, 2),
    "shared_correlation": (shared_correlation, 1, 3),
    "dependent_bound": (dependent_bound, 3, 2),
}


def land_of(program, *args, given=None):
    return landscape(EnergyView(program).bind(*args).program, given or {})


@pytest.mark.parametrize("name", PROGRAMS)
def test_coordinates_are_split_by_site_and_joined_again(name):
    program, groups, dimension = PROGRAMS[name]
    land = land_of(program, Y)
    assert (land.groups, land.dimension) == (groups, dimension)
    u = torch.randn(5, groups, dimension, dtype=torch.float64)
    torch.testing.assert_close(land.join(land.split(u)), u)
    torch.testing.assert_close(land.coordinates(land.latents(u)), u, rtol=1e-7, atol=1e-7)
    for site in land.structure.sites.values():
        if not site.observed:
            assert land.latents(u)[site.name].shape == (5, *site.shape)


@pytest.mark.parametrize("beta", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_density_is_minus_beta_times_the_energy_plus_the_jacobian(name, beta):
    """By hand: a plain trace at each draw's values, and torch's Jacobians of the bijections onto the supports."""
    program, groups, dimension = PROGRAMS[name]
    land = land_of(program, Y)
    u = torch.randn(4, groups, dimension, dtype=torch.float64)
    expected = {"lebesgue": [], "prior": []}
    for row, values in enumerate(zip(*land.latents(u).values(), strict=True)):
        latents = dict(zip(land.continuous, values, strict=True))
        trace = poutine.trace(poutine.condition(program, latents)).get_trace(Y)
        trace.compute_log_prob()
        jacobian = torch.zeros(()).double()
        for site, value in latents.items():
            bijection = biject_to(trace.nodes[site]["fn"].support)
            coordinates = land.split(u)[site][row]
            torch.testing.assert_close(bijection(coordinates), value)
            jacobian += bijection.log_abs_det_jacobian(coordinates, value).sum()
        prior = sum(trace.nodes[site]["log_prob_sum"] for site in latents)
        data = trace.log_prob_sum() - prior
        expected["lebesgue"].append(beta * (prior + data) + jacobian)
        expected["prior"].append(prior + beta * data + jacobian)
    for base, rows in expected.items():
        torch.testing.assert_close(land.log_density(u, beta, base).sum(-1), torch.stack(rows))


def test_the_uniform_measure_takes_off_the_volume_of_the_support():
    land = land_of(dependent_bound, Y, given={"top": real(1.0, 2.0, 3.0)})
    u = torch.randn(4, 3, 1, dtype=torch.float64)
    lebesgue, uniform = (land.log_density(u, 0.7, base) for base in ("lebesgue", "uniform"))
    torch.testing.assert_close(lebesgue - uniform, real(2.0, 4.0, 6.0).log().expand(4, 3))


def partly_masked(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(real(0.5), 2.0))
        with poutine.mask(mask=torch.tensor([True, False, True])):
            w = pyro.sample("w", dist.Gamma(real(1.5), 0.7))
            pyro.sample("y", dist.Normal(z + w, 0.7), obs=y)


@pytest.mark.parametrize("base", ["lebesgue", "prior"])
def test_a_masked_latent_has_its_prior_at_every_temperature_and_no_energy(base):
    """Datum 1 is z alone, whose free energy is that of one normal density; a masked w is averaged over."""
    view = EnergyView(partly_masked).bind(Y)
    for beta in (0.3, 1.0, 5.0):
        log_z = 0.5 * math.log(2 * math.pi * 4 / beta) - beta * 0.5 * math.log(2 * math.pi * 4)
        expected = -log_z / beta if base == "lebesgue" else 0.0
        found = view.free_energy(beta=beta, base=base, method="quadrature").per_datum[1].item()
        assert found == pytest.approx(expected, abs=1e-8)


def scaled(y):
    with pyro.plate("data", len(y)), poutine.scale(scale=0.4):
        z = pyro.sample("z", dist.Gamma(real(1.5), 0.7))
        pyro.sample("y", dist.Normal(z, 0.7), obs=y)


def test_at_temperature_one_a_scaled_latent_has_the_same_free_energy_by_both_measures():
    """Oracle: a dense sum of (p(z) p(y | z))^0.4."""
    view = EnergyView(scaled).bind(Y)
    z = torch.linspace(1e-6, 400, 2_000_001, dtype=torch.float64)
    log_p = dist.Gamma(real(1.5), 0.7).log_prob(z) + dist.Normal(z, 0.7).log_prob(Y.unsqueeze(-1))
    expected = -((0.4 * log_p).logsumexp(-1) + (z[1] - z[0]).log())
    for base in ("lebesgue", "prior"):
        found = view.free_energy(base=base, method="quadrature").per_datum
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)  # the dense sum's own error at 0


def loop_only(y):
    """Reads values as Python numbers, which neither vmap nor an outer plate can."""
    z = pyro.sample("z", dist.Normal(real(0.5), 2.0))
    sign = 1.0 if z.item() > 0 else -1.0
    pyro.sample("y", dist.Normal(sign * z, 0.7), obs=y)


def test_programs_that_run_one_draw_at_a_time_are_measured_too():
    """|z| is observed: the sum of the two halves, each a normal density times a normal probability."""
    y = real(1.4)
    view = EnergyView(loop_only).bind(y)
    z = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    log_p = dist.Normal(real(0.5), 2.0).log_prob(z) + dist.Normal(z.abs(), 0.7).log_prob(y)
    expected = -(log_p.logsumexp(-1) + math.log(1e-4))
    found = view.free_energy(method="annealing", chains=16, temperatures=25)
    assert abs(found.value - expected) < 4.3 * found.standard_error
    assert set(view.vectorization["taken"]) == {"loop"}


def test_what_cannot_be_integrated_is_refused_by_name():
    def delta(y):
        z = pyro.sample("z", dist.Normal(real(0.0), 2.0))
        w = pyro.sample("w", dist.Delta(z**2))
        pyro.sample("y", dist.Normal(w, 0.7), obs=y)

    def counts(y):
        rate = pyro.sample("rate", dist.Poisson(real(2.0)))
        pyro.sample("y", dist.Normal(rate, 0.7), obs=y)

    def subsampled(y):
        with pyro.plate("data", 3, subsample_size=2) as index:
            z = pyro.sample("z", dist.Normal(real(0.0), 2.0))
            pyro.sample("y", dist.Normal(z - 0.4 * z.mean(), 0.7), obs=y[index])

    for program, message in (
        (delta, r"the latents \['w'\] are Deltas.*pyro.deterministic"),
        (counts, r"the latents \['rate'\] are neither enumerable nor have unconstrained coordinates"),
        (subsampled, "'data' is subsampled, and the data are not independent"),
    ):
        with pytest.raises(ValueError, match=message):
            land_of(program, Y)


def test_coordinates_have_the_latents_own_precision_and_no_global_one():
    assert land_of(dependent_bound, Y).dtype == torch.float64
    assert constraints.real.check(land_of(scaled, Y).prior_draws(3)).all()
    assert torch.get_default_dtype() == torch.float32
