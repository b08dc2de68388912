"""Funnels in eight schools, and the non-centred program against the density as written."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

from pyrometer import EnergyView, diagnose, noncentered, to_arviz
from pyrometer.inference.diagnostics.reparameterisation import funnels

Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], dtype=torch.float64)
SIGMA = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], dtype=torch.float64)


def schools(y, sigma):
    mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(torch.tensor(5.0, dtype=y.dtype)))
    with pyro.plate("schools", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


@pytest.mark.parametrize("centered", [0.0, 0.4, 1.0])
def test_the_non_centred_density_differs_by_the_jacobian_alone(centered):
    """log p(theta') = log p(theta) + (1 - c) log tau, for each of eight schools."""
    mu, tau = torch.tensor(3.0, dtype=torch.float64), torch.tensor(2.5, dtype=torch.float64)
    theta = torch.linspace(-4.0, 9.0, 8, dtype=torch.float64)
    written = EnergyView(schools).bind(Y, SIGMA).energy({"mu": mu, "tau": tau, "theta": theta})
    view = EnergyView(noncentered(schools, ["theta"], centered)).bind(Y, SIGMA)
    decentered = centered * mu + tau ** (centered - 1) * (theta - mu)
    name = "theta" if centered == 1.0 else "theta_decentered"  # as written
    energy = view.energy({"mu": mu, "tau": tau, name: decentered})
    torch.testing.assert_close(energy, written - 8 * (1 - centered) * tau.log())


def test_without_names_every_location_scale_latent_is_taken():
    view = EnergyView(noncentered(schools)).bind(Y, SIGMA)
    assert view.structure.latents == ["mu_decentered", "tau", "theta_decentered"]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="centered must be from 0"):
        noncentered(schools, ["theta"], 1.5)
    with pytest.raises(TypeError, match="list of names, got the text 'theta'"):
        noncentered(schools, "theta")


def draws(spread, width, count=400):
    """Draws in which log tau and theta spread as much as is said."""
    tau = (1.0 + spread * torch.randn(count, dtype=torch.float64)).exp()
    theta = width * torch.e * torch.randn(count, 8, dtype=torch.float64)
    return {"mu": torch.zeros(count, dtype=torch.float64), "tau": tau, "theta": theta}


@pytest.mark.parametrize(("spread", "width", "expected"), [(0.5, 0.9, True), (0.5, 0.1, False), (0.01, 0.9, False)])
def test_a_funnel_is_an_uncertain_scale_of_a_latent_that_the_data_do_not_hold(spread, width, expected):
    table = funnels(EnergyView(schools).bind(Y, SIGMA), draws(spread, width), most=400)
    assert table.site.values.tolist() == ["theta"]
    assert table.spread.item() == pytest.approx(spread, rel=0.15)
    assert table.width.item() == pytest.approx(width, rel=0.15)
    assert table.funnel.item() is expected


def test_a_program_without_uncertain_scales_has_no_funnel():
    def plain(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
            pyro.sample("y", dist.Normal(z, 0.5), obs=y)

    table = funnels(EnergyView(plain).bind(Y), {"z": torch.randn(50, 8, dtype=torch.float64)})
    assert table.sizes["site"] == 0


def test_reference_draws_of_a_non_centred_latent_are_compared_as_written():
    """Oracle: the guide's own theta = mu + tau theta', moved by one standard deviation."""
    model = noncentered(schools, ["theta"])
    guide = AutoNormal(model)
    view = EnergyView(model).bind(Y, SIGMA)
    own = to_arviz(view, guide, draws=500).posterior["theta"]
    moved = torch.from_numpy((own + own.std(("chain", "draw"))).values)
    table = diagnose(view, guide, draws=500, reference={"theta": moved}).tables["reference"]
    shift = table["theta"].sel(moment="shift").values
    np.testing.assert_allclose(shift, -1.0, atol=4.3 * 2**0.5 * 500**-0.5)
