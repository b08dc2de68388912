"""Objectives that infer the latents themselves: ``Marginalised`` and ``Minimised``."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyrometer
from pyrometer import EnergyView, Marginalised, Minimised
from pyrometer.inference.svi import load_weights
from pyrometer.models import GaussianMixture

POINTS = {"component": torch.arange(3)}
CIRCLE = {"angle": 2 * math.pi * torch.arange(400, dtype=torch.float64) / 400}
SGD = partial(torch.optim.SGD, lr=0.01)


class Ellipse(nn.Module):
    """y ~ N((w_1 cos z, w_2 sin z), 0.3^2), beside a prior of its weights as a factor outside the data."""

    def __init__(self):
        super().__init__()
        self.radii = nn.Parameter(torch.tensor([2.0, 1.5], dtype=torch.float64))

    def forward(self, y=None):
        pyro.factor("decay", -0.7 * self.radii.square().sum())
        with pyro.plate("data", 1 if y is None else len(y)):
            angle = pyro.sample("angle", dist.Uniform(y.new_tensor(0.0), 2 * math.pi))
            on = self.radii * torch.stack([angle.cos(), angle.sin()], -1)
            return pyro.sample("y", dist.Normal(on, 0.3).to_event(1), obs=y)


def mixture():
    model = GaussianMixture(torch.tensor([[-1.0, 0.2], [0.5, 2.0], [1.5, -0.5]], dtype=torch.float64), scale=0.6)
    with torch.no_grad():
        model.logits.copy_(torch.tensor([0.3, -0.4, 0.1]))
    return model


def gradients(loss, model):
    return torch.autograd.grad(loss, list(model.parameters()))


@pytest.mark.parametrize("beta", [0.4, 1.0, 30.0])
def test_the_free_energy_of_a_mixture_is_that_of_its_closed_form_with_its_gradient(beta):
    model, x = mixture(), 2 * torch.randn(7, 2, dtype=torch.float64)
    found = Marginalised(POINTS)(model, None, beta, features=x)
    exact = -((beta * model.joint_log_prob(x)).logsumexp(-1) - math.log(3)).sum() / beta
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients(found, model), gradients(exact, model), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("beta", [0.2, 1.0, 20.0])
def test_on_a_circle_it_is_the_quadrature_of_the_view(beta):
    model, y = Ellipse(), 1.5 * torch.randn(5, 2, dtype=torch.float64)
    found = Marginalised(CIRCLE)(model, None, beta, y=y)
    with torch.no_grad():
        value = EnergyView(model).bind(y).free_energy(beta, method="quadrature", base="uniform").value
    assert found.item() == pytest.approx(value.item(), rel=1e-8)


@pytest.mark.parametrize("points", [POINTS, None])
def test_the_minimum_over_components_is_that_of_the_joint_with_its_gradient(points):
    model, x = mixture(), 2 * torch.randn(7, 2, dtype=torch.float64)
    found, exact = Minimised(points)(model, None, features=x), -model.joint_log_prob(x).amax(-1).sum()
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients(found, model), gradients(exact, model), rtol=1e-9, atol=1e-11)


def test_the_gradient_of_a_continuous_minimum_is_that_of_its_differences():
    """Oracle: central differences of F_inf itself, whose minimiser moves."""
    model, y = Ellipse(), torch.tensor([[1.0, 1.2], [-2.5, 0.3]], dtype=torch.float64)
    (gradient,) = gradients(Minimised()(model, None, y=y), model)
    step = 1e-4
    for i in range(2):
        values = []
        for sign in (1, -1):
            moved = Ellipse()
            moved.radii.data[i] += sign * step
            values.append(Minimised()(moved, None, y=y).item())
        assert gradient[i].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_among_points_the_minimum_is_the_limit_of_the_free_energy():
    model, y = Ellipse(), torch.randn(4, 2, dtype=torch.float64)
    cold, least = Marginalised(CIRCLE)(model, None, 1e7, y=y), Minimised(CIRCLE)(model, None, y=y)
    assert 0 <= cold - least <= 4 * math.log(400) / 1e7


def test_fit_without_a_guide_trains_and_its_run_loads(tmp_path):
    x = torch.randn(30, 2, dtype=torch.float64)
    model = mixture()
    before = model.log_evidence(x).mean().item()
    fitted = pyrometer.fit(
        model, None, {"features": x}, objective=Marginalised(POINTS), steps=40, optimizer=SGD, seed=0,
        out=tmp_path / "run", progress=False,
    )  # fmt: skip
    assert fitted.guide is None
    assert fitted.model is model
    assert model.log_evidence(x).mean().item() > before
    again = mixture()
    load_weights(tmp_path / "run", again, None, features=x)
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_a_temperature_of_fit_is_that_of_the_sum():
    """At beta the first step of descent is the gradient of F_beta."""
    x, model = torch.randn(9, 2, dtype=torch.float64), mixture()
    start = [parameter.detach().clone() for parameter in model.parameters()]
    expected = gradients(Marginalised(POINTS)(model, None, 3.0, features=x), model)
    how = {"objective": Marginalised(POINTS), "steps": 1, "batch_size": None, "seed": 0, "progress": False}
    pyrometer.fit(model, None, {"features": x}, beta=3.0, optimizer=SGD, **how)
    moved = [(before - after.detach()) / 0.01 for before, after in zip(start, model.parameters(), strict=True)]
    torch.testing.assert_close(moved, list(expected), rtol=1e-6, atol=1e-8)


def shared(y):
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


@pytest.mark.parametrize(
    ("model", "points", "message"),
    [
        (mixture(), {}, r"values of the latent 'component', of shape \(points, \*event_shape\).*only of \[\]"),
        (mixture(), {"component": torch.zeros(3, 2)}, r"there are values of shape \(3, 2\)"),
        (shared, {"mean": torch.zeros(3)}, r"\['mean'\] lie outside the data plate 'data'"),
    ],
)
def test_points_that_do_not_fit_are_refused(model, points, message):
    x = torch.randn(4, 2, dtype=torch.float64) if model is not shared else torch.randn(4)
    for objective in (Marginalised(points), Minimised(points)):
        with pytest.raises(ValueError, match=message):
            objective(model, None, **{"y" if model is shared else "features": x})


def test_a_guide_is_taken_exactly_where_it_is_trained():
    data = {"features": torch.randn(4, 2, dtype=torch.float64)}
    with pytest.raises(TypeError, match="guide must be a Pyro program with this objective"):
        pyrometer.fit(mixture(), None, data, steps=1)
    for objective in (Minimised(POINTS), Marginalised(POINTS)):
        with pytest.raises(TypeError, match="guide must be None with this objective"):
            pyrometer.fit(mixture(), mixture(), data, objective=objective, steps=1)


def test_zero_temperature_takes_no_other():
    data = {"features": torch.randn(4, 2, dtype=torch.float64)}
    with pytest.raises(ValueError, match="beta = 3.0 has no meaning for this objective"):
        pyrometer.fit(mixture(), None, data, objective=Minimised(POINTS), beta=3.0, steps=1)
