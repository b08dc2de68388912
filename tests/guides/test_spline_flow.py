"""The flow's density against quadrature, finite differences of its draws, and the Gaussian that it starts as."""

import sys

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrometer.guides.spline_flow import Coupling, SplineFlow

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim


def make_flow(latents=2, batch=(), bent=0.3, steps=3):
    """A flow whose networks have other weights than those they start with, in double precision."""
    couplings = [Coupling(latents, 4, 7, bins=6, first=bool(i % 2)) for i in range(steps)]
    for coupling in couplings:
        coupling.double()
        with torch.no_grad():
            coupling.network[-1].weight.normal_(0, bent)
            coupling.network[-1].bias.normal_(0, bent)
    loc = 3.0 + torch.randn(*batch, latents, dtype=torch.float64)
    scale = torch.linspace(0.4, 2.3, latents, dtype=torch.float64).expand(*batch, latents)
    return SplineFlow(loc, scale, torch.randn(*batch, 4, dtype=torch.float64), couplings)


def on_a_grid(q, points=300):
    """Midpoints of cells all over the plane, and the probability of each cell by its midpoint's density."""
    line = (2 * torch.arange(points, dtype=torch.float64) + 1) / points - 1
    grid = q.loc + 6 * q.scale * torch.cartesian_prod(line, line)
    return grid, q.log_prob(grid).exp() * (12 / points) ** 2 * q.scale.prod()


def test_the_density_integrates_to_one_in_the_plane():
    """Oracle: the midpoint rule. The curvature jumps at the knots, which leaves an error of the step squared."""
    q = make_flow()
    grid, mass = on_a_grid(q)
    assert mass.sum().item() == pytest.approx(1.0, abs=3e-4)
    normal = dist.Normal(q.loc, q.scale).to_event(1)
    assert (q.log_prob(grid) - normal.log_prob(grid)).abs().max() > 1  # it is another density than the Gaussian


@pytest.mark.parametrize("latents", [1, 2, 5])
def test_a_draw_has_the_density_that_the_inverse_gives(latents):
    q = make_flow(latents, batch=(3,))
    drawn = q.rsample((50,))
    kept, by_inverse = q.log_prob(drawn), q.log_prob(drawn.clone())
    assert kept.shape == (50, 3)
    torch.testing.assert_close(kept, by_inverse, rtol=1e-6, atol=1e-6)
    assert (drawn.std((0, 1)) > 0.1).all()
    fresh = SplineFlow(q.loc, q.scale, q.features, q.couplings)  # which has drawn nothing
    assert torch.equal(q.log_prob(drawn + 0.1), fresh.log_prob(drawn + 0.1))
    assert not torch.allclose(q.log_prob(drawn + 0.1), kept)


def test_the_density_of_a_draw_is_that_of_its_noise_over_the_volume_that_it_is_stretched_to():
    """Oracle: the Jacobian of the draw by its noise, by automatic differentiation."""
    q = make_flow(3)
    noise = torch.randn(3, dtype=torch.float64)

    def draw(noise):
        u = noise
        for coupling in q.couplings:
            u, _ = coupling(u, q.features)
        return q.loc + q.scale * u

    volume = torch.autograd.functional.jacobian(draw, noise).det().abs().log()
    expected = dist.Normal(torch.zeros(3).double(), 1.0).to_event(1).log_prob(noise) - volume
    torch.testing.assert_close(q.log_prob(draw(noise)), expected)


def test_draws_are_from_the_density():
    """Oracle: the probabilities of four quadrants by the midpoint rule; a Gaussian has a quarter in each."""
    q = make_flow()
    grid, mass = on_a_grid(q)
    drawn = q.sample((20_000,))
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        signs = torch.tensor(signs, dtype=torch.float64)
        inside = mass[(signs * (grid - q.loc) > 0).all(-1)].sum()
        share = (signs * (drawn - q.loc) > 0).all(-1).double().mean()
        error = (inside * (1 - inside) / 20_000).sqrt()
        assert abs(share - inside) < SIGMAS * error + 3e-4
        assert abs(inside - 0.25) > SIGMAS * error


def test_a_step_is_undone_by_its_inverse_within_the_splines_and_beyond():
    coupling = make_flow(5).couplings[1]
    u, features = 4 * torch.randn(500, 5, dtype=torch.float64), torch.randn(500, 4, dtype=torch.float64)
    moved, log_det = coupling(u, features)
    back, again = coupling.inverse(moved, features)
    torch.testing.assert_close(back, u, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(again, log_det, rtol=1e-6, atol=1e-6)
    assert (u.abs() > 5).any()
    assert (moved - u)[:, :2].abs().max() > 0.1
    assert torch.equal(moved[:, 2:], u[:, 2:])  # the second half stays


def test_it_starts_as_a_gaussian():
    couplings = [Coupling(3, 4, 7, first=bool(i % 2)) for i in range(2)]
    q = SplineFlow(torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.3, 1.7, 2.0]), torch.randn(4), couplings)
    value = torch.randn(20, 3)
    expected = dist.Normal(q.loc, q.scale).to_event(1).log_prob(value)
    torch.testing.assert_close(q.log_prob(value), expected, rtol=1e-5, atol=1e-4)


def test_a_larger_batch_has_the_same_densities():
    q = make_flow(3, batch=(4,))
    larger = q.expand((5, 4))
    drawn = larger.rsample((2,))
    assert larger.batch_shape == (5, 4)
    assert drawn.shape == (2, 5, 4, 3)
    torch.testing.assert_close(larger.log_prob(drawn), q.log_prob(drawn), rtol=1e-6, atol=1e-6)


def test_gradients_through_a_draw_and_through_its_density_are_those_of_differences():
    q = make_flow(2)
    shift = torch.tensor([0.3, -0.2], dtype=torch.float64)
    inputs = [q.loc.clone().requires_grad_(), q.scale.clone().requires_grad_(), q.features.clone().requires_grad_()]

    def density(loc, scale, features):
        return SplineFlow(loc, scale, features, q.couplings).log_prob(q.loc + shift)

    def draw(loc, scale, features):
        torch.manual_seed(3)
        made = SplineFlow(loc, scale, features, q.couplings)
        drawn = made.rsample()
        return drawn, made.log_prob(drawn)

    assert torch.autograd.gradcheck(density, inputs)
    assert torch.autograd.gradcheck(draw, inputs)


def test_values_that_are_no_vectors_of_reals_are_refused():
    with pytest.raises(ValueError, match="support"):
        make_flow(2).log_prob(torch.tensor([float("nan"), 0.0]))


def test_making_a_flow_leaves_torch_s_checks_as_they_were(monkeypatch):
    """Zuko, imported for the first time, switches them off for every distribution there is."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "zuko"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)
    Coupling(2, 3, 4, first=True)
    assert "zuko.distributions" in sys.modules
    assert torch.distributions.Distribution._validate_args


def test_without_zuko_a_flow_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    monkeypatch.setitem(sys.modules, "zuko.transforms", None)
    with pytest.raises(ImportError, match="pip install zuko"):
        Coupling(2, 3, 4, first=True)


def test_every_weight_of_a_bent_flow_moves_its_density():
    q = make_flow(3, steps=2)
    weights = nn.ModuleList(q.couplings)
    q.log_prob(q.sample((30,)).clone()).sum().backward()
    for name, parameter in weights.named_parameters():
        assert parameter.grad.abs().max() > 1e-8, name
