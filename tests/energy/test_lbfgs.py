"""L-BFGS for many problems at once, against closed-form minima and scipy."""

import numpy as np
import torch
from scipy.optimize import minimize, rosen, rosen_der
from torch.nn.functional import softplus

from pyrometer.inference.energy.lbfgs import minimise


def test_quadratics_of_any_conditioning_are_solved_together():
    """Oracle: linear equations; one of the problems has axes of lengths 1 and 1,000."""
    conditions = torch.tensor([1.0, 1e3, 1e6], dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(3, 4, 4, dtype=torch.float64)).Q
    scales = conditions.unsqueeze(-1) ** torch.linspace(0, 1, 4, dtype=torch.float64)
    matrix = basis @ torch.diag_embed(scales) @ basis.mT
    centre = torch.randn(3, 4, dtype=torch.float64)

    def objective(points):
        away = points - centre
        return 0.5 * torch.einsum("...pd,pde,...pe->...p", away, matrix, away) - 7.0

    found = minimise(objective, torch.randn(5, 3, 4, dtype=torch.float64), tolerance=1e-9)
    assert found.converged.all()
    torch.testing.assert_close(found.points, centre.expand(5, 3, 4), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.values, torch.full((5, 3), -7.0).double())


def rosenbrock(points):
    left, right = points[..., :-1], points[..., 1:]
    return (100 * (right - left.square()).square() + (1 - left).square()).sum(-1)


def test_curved_valleys_are_followed_to_where_scipy_ends():
    starts = 2 * torch.rand(6, 4, dtype=torch.float64) - 1
    found = minimise(rosenbrock, starts, tolerance=1e-8)
    options = {"gtol": 1e-9}
    expected = [minimize(rosen, start, method="BFGS", jac=rosen_der, options=options).x for start in starts.numpy()]
    assert found.converged.all()
    np.testing.assert_allclose(found.points.numpy(), np.stack(expected), atol=1e-5)


def test_a_problem_ends_where_it_would_alone():
    starts = 2 * torch.rand(4, 3, dtype=torch.float64) - 1
    together = minimise(rosenbrock, starts)
    for start, point, value in zip(starts, together.points, together.values, strict=True):
        alone = minimise(rosenbrock, start.unsqueeze(0))
        torch.testing.assert_close(alone.points[0], point, rtol=0, atol=1e-3)
        torch.testing.assert_close(alone.values[0], value, rtol=0, atol=1e-6)


def test_walls_of_infinite_and_undefined_values_are_kept_away_from():
    """-log(x) + x has its minimum at 1 and no value below 0; the first full step from 5 and from 0.01 crosses."""
    found = minimise(lambda x: (x - x.log()).sum(-1), torch.tensor([[5.0], [0.01], [30.0]]).double())
    assert found.converged.all()
    torch.testing.assert_close(found.points, torch.ones(3, 1).double(), rtol=0, atol=1e-4)


def test_what_has_no_minimum_or_no_finite_start_has_not_converged():
    falling = minimise(lambda x: -x.sum(-1), torch.zeros(1, 1).double(), steps=10)
    outside = minimise(lambda x: x.log().sum(-1), -torch.ones(1, 1).double())
    assert not falling.converged.any()
    assert not outside.converged.any()


def test_plateaus_beside_a_valley_are_left_and_not_jumped_onto():
    """An angle within (0, 3) by its unconstrained coordinate: beyond a short bend the slope is that of the Jacobian."""

    def objective(x):
        misfit = (2 * (3 * x.sigmoid()).cos() - 1.1).square()
        return (1e2 * misfit + softplus(x) + softplus(-x)).sum(-1)

    near, far = 2 * torch.randn(30, 1, dtype=torch.float64), torch.linspace(-500, 500, 30, dtype=torch.float64)
    found = minimise(objective, torch.cat([near, far.unsqueeze(-1)]), steps=100)
    grid = torch.linspace(-3, 3, 600_001, dtype=torch.float64).unsqueeze(-1)
    assert found.converged.all()
    torch.testing.assert_close(found.values, objective(grid).min().expand(60), rtol=0, atol=1e-6)


def test_no_step_goes_uphill():
    """Far from the minimum of sqrt(1 + x^2) a full step overshoots ever more."""
    starts = torch.linspace(-40, 40, 60, dtype=torch.float64).unsqueeze(-1)
    found = minimise(lambda x: (1 + x.square()).sqrt().sum(-1), starts, steps=100)
    assert found.converged.all()
    torch.testing.assert_close(found.values, torch.ones(60).double(), rtol=0, atol=1e-9)


def test_single_precision_arrives_as_far_as_rounding_lets_it():
    """At a value of 1e4 the last digit of the value is 1e-3, which hides moves of 0.03."""
    found = minimise(lambda x: 1e4 + x.square().sum(-1), torch.tensor([[3.0, -2.0]]))
    assert found.converged.all()
    assert found.points.abs().max() < 0.1


def test_gradients_of_the_caller_s_parameters_are_left_alone():
    weight = torch.ones(2, requires_grad=True)
    found = minimise(lambda x: (weight * x.square()).sum(-1), torch.ones(1, 2))
    assert weight.grad is None
    assert not found.points.requires_grad
