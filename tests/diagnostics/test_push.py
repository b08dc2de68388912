"""The push on a guide against the gradient of a normal log density, whose mean is known."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView
from pyrometer.inference.diagnostics.push import push

SIGMAS = 4.3
Y = torch.tensor([0.3, -0.1, 1.2], dtype=torch.float64)
PRECISION = 2.0**-2 + 0.5**-2


def model(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
        pyro.sample("y", dist.Normal(z, 0.5), obs=y)


def guide(shift, scale):
    def program(y):
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(y * 0.5**-2 / PRECISION + shift, scale))

    return program


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 0.6), (0.3, 0.2), (-0.2, 0.485)])
def test_it_is_the_shift_times_the_precision_in_the_guides_scale(shift, scale):
    table = push(EnergyView(model).bind(Y), guide(shift, scale), 4000)
    assert table.direction.values.tolist() == ["z[0]"]
    expected = -shift * PRECISION * scale
    assert table["push"].item() == pytest.approx(expected, abs=SIGMAS * table.push_error.item())
    assert table.push_error.item() == pytest.approx(scale**2 * PRECISION / (3 * 4000) ** 0.5, rel=0.05)


def test_shared_and_bounded_latents_have_a_push_in_their_coordinates():
    """z ~ Gamma(3, 2) as its own guide: by Stein's identity nothing pushes, also through the Jacobian."""

    def gamma(y):
        pyro.sample("z", dist.Gamma(torch.full((2,), 3.0, dtype=y.dtype), 2.0).to_event(1))

    table = push(EnergyView(gamma).bind(Y), gamma, 4000)
    assert table.sizes["direction"] == 2
    assert (abs(table["push"]) < SIGMAS * table.push_error).all()


def test_programs_without_coordinates_say_why():
    def discrete(y):
        with pyro.plate("data", len(y)):
            k = pyro.sample("k", dist.Bernoulli(torch.tensor(0.3, dtype=y.dtype)))
            pyro.sample("y", dist.Normal(k, 0.5), obs=y)

    table = push(EnergyView(discrete).bind(Y), discrete, 100)
    assert not table
    assert "no free latent is continuous" in table.attrs["no_push"]


def test_a_shift_along_a_narrow_ridge_is_seen():
    """A posterior whose correlation is 0.9999, and a guide that lies 0.6 of its standard deviations along the ridge."""
    covariance = torch.tensor([[1.0, 0.9999], [0.9999, 1.0]], dtype=torch.float64)

    def ridge(y):  # noqa: ARG001
        pyro.sample("z", dist.MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance))

    def moved(y):  # noqa: ARG001
        blurred = covariance + 1e-4 * torch.eye(2, dtype=torch.float64)  # off the ridge the gradient is large
        pyro.sample("z", dist.MultivariateNormal(torch.full((2,), 0.6, dtype=torch.float64), blurred))

    table = push(EnergyView(ridge).bind(Y), moved, 2000)
    along = table.sel(direction="z[1] with z[0]" if "z[1] with z[0]" in table.direction else "z[0] with z[1]")
    along = along.isel(direction=-1) if "direction" in along.dims else along
    assert along["push"].item() ** 2 == pytest.approx(0.6**2, rel=0.1)
    assert along.push_error < 0.05
