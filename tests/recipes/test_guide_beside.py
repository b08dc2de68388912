"""A guide trained beside its model, against the gradients of both alone."""

import math

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO

from pyrometer import Marginalised, Minimised
from pyrometer.guides import Angle
from pyrometer.models import Ellipse
from pyrometer.recipes.guide_beside import GuideBeside, angle_objective, circle

Y = torch.tensor([[1.9, 0.3], [-0.4, 1.6], [0.2, 0.1]])


@pytest.mark.parametrize("objective", [Marginalised(circle(200)), Minimised(circle(200))])
def test_the_model_moves_by_its_own_objective_and_the_guide_by_the_elbo(objective):
    model, guide = Ellipse(scale=0.6), Angle(hidden=5)
    own = objective(model, None, point=Y)
    (expected,) = torch.autograd.grad(own, [model.radii])
    pyro.set_rng_seed(3)
    by_elbo = torch.autograd.grad(Trace_ELBO().differentiable_loss(model, guide, point=Y), list(guide.parameters()))
    pyro.set_rng_seed(3)
    both = GuideBeside(objective)(model, guide, point=Y)
    torch.testing.assert_close(both, own)
    found = torch.autograd.grad(both, [model.radii, *guide.parameters()])
    torch.testing.assert_close(found[0], expected)
    torch.testing.assert_close(list(found[1:]), list(by_elbo))


def test_a_circle_is_evenly_spaced():
    angle = circle(5)["angle"]
    torch.testing.assert_close(angle.diff(), torch.full((4,), 2 * math.pi / 5))


def test_there_are_three_ways():
    assert isinstance(angle_objective("amortised", 10), Trace_ELBO)
    with pytest.raises(ValueError, match="'latent' must be one of amortised, marginalised, minimised, got 'guessed'"):
        angle_objective("guessed", 10)
