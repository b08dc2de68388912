"""The wrapped normal against its Fourier series, its integral, and differences of its draws."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from pyrometer.guides import WrappedNormal

SCALES = [0.002, 0.4, 1.7, 3.0]
TURN = 2 * math.pi


def around(count=20_000):
    return TURN * torch.arange(count, dtype=torch.float64) / count


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("loc", [0.0, 1.3, -40.0])
def test_it_integrates_to_one(loc, scale):
    """Oracle: the trapezoidal rule on the circle."""
    q = WrappedNormal(torch.tensor(loc, dtype=torch.float64), torch.tensor(scale, dtype=torch.float64))
    angle = around(50_000)
    assert (q.log_prob(angle).exp().sum() * TURN / len(angle)).item() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("scale", SCALES[1:])
def test_its_density_is_its_fourier_series(scale):
    """Oracle: p(x) = (1 + 2 sum over n of exp(-n^2 s^2 / 2) cos n(x - loc)) / (2 pi), in numpy."""
    angle, n = around(50), np.arange(1, 60)[:, None]
    series = 1 + 2 * (np.exp(-(n**2) * scale**2 / 2) * np.cos(n * (angle.numpy() - 5.9))).sum(0)
    q = WrappedNormal(torch.tensor(5.9, dtype=torch.float64), scale)
    np.testing.assert_allclose(q.log_prob(angle).exp().numpy(), series / TURN, rtol=1e-8, atol=1e-15)


def test_its_draws_are_wrapped_normal_draws():
    """Oracle: scipy's Kolmogorov-Smirnov test of the angle's distance from the seam, by sums of scipy's normal cdf."""
    q = WrappedNormal(torch.tensor(0.3, dtype=torch.float64), torch.tensor(1.7, dtype=torch.float64))
    drawn = q.sample((4000,))
    assert ((drawn >= 0) & (drawn < TURN)).all()
    turns = TURN * np.arange(-4, 5)[:, None]

    def cdf(x):
        return (stats.norm.cdf(x + turns, 0.3, 1.7) - stats.norm.cdf(turns, 0.3, 1.7)).sum(0)

    assert stats.kstest(drawn.numpy(), cdf).pvalue > 2e-5


def test_no_draw_is_a_whole_turn_even_by_rounding():
    """In single precision the remainder of -1e-9 is the float nearest to 2 pi, where the prior has no density."""
    loc = torch.tensor([-1e-9, -1e-30, 0.0], requires_grad=True)
    drawn = WrappedNormal(loc, torch.tensor(1e-20)).rsample()
    assert (torch.remainder(loc, TURN) >= TURN).any()  # what would be drawn
    assert ((drawn >= 0) & (drawn < TURN)).all()
    assert torch.autograd.grad(drawn.sum(), loc)[0].tolist() == [1.0, 1.0, 1.0]


def test_the_gradient_of_a_draw_is_that_of_the_normal_number():
    """Oracle: dx/dloc = 1 and dx/dscale = eps, where eps is the draw unwrapped; and differences of the density."""
    loc = torch.full((500,), 6.1, dtype=torch.float64, requires_grad=True)
    scale = torch.full((500,), 0.4, dtype=torch.float64, requires_grad=True)
    drawn = WrappedNormal(loc, scale).rsample()
    by_loc, by_scale = torch.autograd.grad(drawn.sum(), [loc, scale])
    eps = (drawn - 6.1 + math.pi).remainder(TURN) - math.pi
    torch.testing.assert_close(by_loc, torch.ones_like(loc))
    torch.testing.assert_close(by_scale, eps / 0.4)
    one = torch.tensor([6.1, 0.4, 0.2], dtype=torch.float64)  # loc, scale, and a value beyond the seam
    assert torch.autograd.gradcheck(lambda v: WrappedNormal(v[0], v[1]).log_prob(v[2]), one.requires_grad_())


def test_moments_and_batches_are_said():
    q = WrappedNormal(torch.tensor([-1.0, 7.0]), torch.tensor(0.5)).expand((3, 2))
    assert q.batch_shape == (3, 2)
    torch.testing.assert_close(q.mean[0], torch.tensor([TURN - 1.0, 7.0 - TURN]))
    torch.testing.assert_close(q.stddev, torch.full((3, 2), 0.5))
    assert q.log_prob(q.sample((4,))).shape == (4, 3, 2)


@pytest.mark.parametrize("scale", [-0.1, 4.0])
def test_a_scale_that_is_too_wide_is_refused(scale):
    with pytest.raises(ValueError, match="parameter scale"):
        WrappedNormal(torch.tensor(0.0), torch.tensor(scale))
