"""What makes annealing's weights unbiased: transitions that keep their target, fixed steps, weights before moves."""

import math

import pyro.distributions as dist
import pytest
import torch

from pyrometer.inference.energy.annealing import bridge, run_path
from pyrometer.inference.energy.hmc import evaluator, start, transition
from pyrometer.inference.energy.landscape import landscape
from pyrometer.inference.energy.resampling import anneal_resampled
from pyrometer.inference.energy.starts import guide_start, prior_start


def real(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


def copies(linear_gaussian, number):
    """A factor analysis whose data are copies of one, its landscape and log Z."""
    model = linear_gaussian(2, data=1, noise=0.3)
    model = model._replace(x=model.x.expand(number, -1))
    return model, landscape(model.view.program, {}), -model.exact(1.0, "lebesgue")["free_energy"]


def test_weights_of_few_chains_on_a_long_way_are_unbiased(linear_gaussian):
    """The mean of w / Z over 1,500 sets of four chains is 1.

    Catches step sizes that adapt on the chains whose weights count (0.965 at the pilots' own rate), and a momentum
    that is kept in a rejection (0.67 to 0.95).
    """
    _, land, log_z = copies(linear_gaussian, 1500)
    path = bridge(land, prior_start(land), 1.0, "lebesgue")
    assert_mean_is_one((run_path(path, 4, 150).log_weights - log_z).exp(), 0.011)


def test_weights_of_a_few_temperatures_are_unbiased(linear_gaussian):
    """Catches a weight that is taken after the move."""
    model, land, log_z = copies(linear_gaussian, 500)
    path = bridge(land, guide_start(land, lambda x: model.guide(x, shift=0.1, widen=1.4)), 1.0, "lebesgue")
    assert_mean_is_one((run_path(path, 4, 6).log_weights - log_z).exp(), 0.03)
    assert_mean_is_one((run_path(path, 32, 6, move=anneal_resampled).log_weights - log_z).exp(), 0.03)


@pytest.mark.parametrize(("power", "step"), [(2, 1.8), (4, 0.9)])
def test_a_transition_leaves_its_target_as_it_is(power, step):
    """20,000 chains from exp(-u^2 / 2) or exp(-u^4), with many rejections, keep its mean square.

    Catches a momentum that is kept in a rejection, which makes it 1.2 and 1.4 times as large.
    """
    scale = 0.5 if power == 2 else 1.0
    evaluate = evaluator(lambda u: (-(scale * u.abs() ** power).sum(-1), torch.zeros_like(u[..., 0])))
    size = (dist.Gamma(real(1 / power), scale).sample((20_000, 1, 1))) ** (1 / power)
    state, rejected = start(size * torch.randn_like(size).sign(), evaluate), 0.0
    for _ in range(60):
        state, acceptance = transition(state, 0.0, real(step), evaluate)
        rejected += 1 - acceptance.mean().item()
    square = state.u.square().flatten()
    expected = scale ** (-2 / power) * math.gamma(3 / power) / math.gamma(1 / power)
    assert rejected / 60 > 0.2
    assert abs(square.mean() - expected) < 4.3 * square.std() / math.sqrt(len(square))


def assert_mean_is_one(ratio, most):
    by_group = ratio.mean(0)
    error = by_group.std() / math.sqrt(len(by_group))
    assert error < most
    assert abs(by_group.mean() - 1) < 4.3 * error
