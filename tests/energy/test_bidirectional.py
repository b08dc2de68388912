"""Bounds from both sides on simulated data, against the closed form of factor analysis and a brute-force start."""

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch

from pyrometer import EnergyView
from pyrometer.models import FactorAnalysis

SIGMAS = 4.3


def made(features=9, factors=4, size=40):
    model = FactorAnalysis(features, factors, noise=0.7).double()
    with torch.no_grad():
        x = poutine.uncondition(model)(torch.empty(size, features, dtype=torch.float64))
    return model, x


def mean_and_error(values):
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()


def test_the_bounds_lie_on_both_sides_of_the_evidence_of_the_simulated_data():
    model, x = made()
    found = EnergyView(model).bind(x).free_energy(method="bidirectional", temperatures=60)
    simulated = found.evidence["simulated"]["features"]
    assert not torch.equal(simulated, x)
    exact = -model.log_evidence(simulated).detach()
    for name, sign in (("upper_single", 1), ("lower_single", -1)):
        mean, error = mean_and_error(sign * (found.evidence[name] - exact))
        assert mean > SIGMAS * error, name  # one chain is biased, by a known sign
    for name in ("upper", "lower"):
        mean, error = mean_and_error(found.evidence[name] - exact)
        assert abs(mean) < SIGMAS * error + 0.02, name
    assert ((found.per_datum - exact).abs() < 6 * found.per_datum_error).all()
    torch.testing.assert_close(found.evidence["width"], found.evidence["upper"] - found.evidence["lower"])


def test_more_temperatures_bring_the_bounds_together():
    model, x = made()
    view = EnergyView(model).bind(x)
    few, many = (view.free_energy(method="bidirectional", temperatures=t).evidence["width_single"] for t in (20, 200))
    assert few.mean() > 3 * many.mean() > 0


def test_the_guide_sees_the_simulated_data():
    model, x = made(size=6)
    seen = []

    def guide(features):
        seen.append(features)
        posterior = model.posterior(features)
        with pyro.plate("data", len(features)):
            pyro.sample("factors", dist.MultivariateNormal(posterior.mean, posterior.covariance_matrix))

    found = EnergyView(model).bind(x).free_energy(method="bidirectional", guide=guide, temperatures=20)
    assert all(torch.equal(value, found.evidence["simulated"]["features"]) for value in seen)
    assert found.evidence["start"] == "guide"
    assert found.evidence["width_single"].abs().mean() < 0.1  # it starts near the posterior


def test_data_that_are_no_argument_as_they_are_are_observed_in_their_place():
    def model(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 2.0).expand([1]).to_event(1))
            pyro.sample("y", dist.Normal(z.squeeze(-1), 0.5), obs=2 * y)

    y = torch.tensor([0.3, -0.1, 1.0], dtype=torch.float64)
    view = EnergyView(model).bind(y)
    found = view.free_energy(method="bidirectional", temperatures=50)
    exact = -dist.Normal(0.0, 4.25**0.5).log_prob(found.evidence["simulated"]["y"])
    assert ((found.per_datum - exact).abs() < 6 * found.per_datum_error).all()
    with pytest.raises(ValueError, match="'y' does not take its values from an argument as they are"):
        view.free_energy(method="bidirectional", guide=model)


def test_it_is_refused_away_from_beta_one_and_for_factors():
    def model(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 2.0))
            pyro.factor("pull", -z.square())
            pyro.sample("y", dist.Normal(z, 0.5), obs=y)

    view = EnergyView(model).bind(torch.tensor([0.3, -0.1]))
    with pytest.raises(ValueError, match="needs beta=1"):
        view.free_energy(beta=2.0, method="bidirectional")
    with pytest.raises(ValueError, match=r"sites \['pull'\] are factors"):
        view.free_energy(method="bidirectional")
