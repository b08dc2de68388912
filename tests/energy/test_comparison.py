"""The gaps of `compare` against their closed forms in factor analysis."""

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from torch import nn

from pyrometer import EnergyView, compare
from pyrometer.models import FactorAnalysis

SIGMAS = 4.3


@pytest.fixture
def model():
    return FactorAnalysis(6, 2, noise=0.7).double()


@pytest.fixture
def x(model):
    with torch.no_grad():
        return poutine.uncondition(model)(torch.empty(8, 6, dtype=torch.float64))


def mean_field(model, shift=0.3, scale=0.4):
    def guide(features):
        with pyro.plate("data", len(features)):
            mean = model.posterior(features).mean.detach() + shift
            pyro.sample("factors", dist.Normal(mean, scale).to_event(1))

    return guide


def best_mean_field_divergence(model, x):
    """KL of the best diagonal Gaussian: precisions equal the diagonal of the posterior's precision matrix."""
    precision = torch.linalg.inv(model.posterior(x).covariance_matrix.expand(len(x), 2, 2))
    diagonal = precision.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return (0.5 * (diagonal - torch.logdet(precision))).detach()


def test_the_inference_gap_is_split_into_family_and_amortisation(model, x):
    guide = mean_field(model)
    table = compare(EnergyView(model).bind(x), guide, draws=4000)
    posterior = model.posterior(x)
    q = dist.MultivariateNormal(posterior.mean + 0.3, 0.16 * torch.eye(2).double())
    divergence = torch.distributions.kl_divergence(q, posterior).detach()
    family = best_mean_field_divergence(model, x)
    assert abs(table.gap - divergence.sum().item()) < SIGMAS * table.gap_error
    assert family.sum().item() > 5 * table.approximation_gap_error  # there is something to find
    assert abs(table.approximation_gap - family.sum().item()) < SIGMAS * table.approximation_gap_error
    amortisation = divergence - family
    assert abs(table.amortization_gap - amortisation.sum().item()) < SIGMAS * table.amortization_gap_error
    z = (table.amortization_gap_per_datum.values - amortisation.numpy()) / table.amortization_gap_error_per_datum.values
    assert (abs(z) < SIGMAS).all()
    assert table.approximation_gap.item() + table.amortization_gap.item() == pytest.approx(table.gap.item())


def test_the_entropic_gap_is_that_of_a_gaussian(model, x):
    table = compare(EnergyView(model).bind(x), mean_field(model), draws=200, family_steps=0)
    posterior = model.posterior(x)
    # min E = -log p(x, mean), so that F_1 - min E = log density of the posterior at its mean.
    entropic = posterior.log_prob(posterior.mean).detach()
    torch.testing.assert_close(torch.tensor(table.entropic_gap_per_datum.values), entropic, rtol=1e-6, atol=1e-6)
    assert table.attrs["method"] == "quadrature"
    assert "approximation_gap" not in table


def test_the_ladder_stands_beside_the_gaps(model, x):
    view = EnergyView(model).bind(x)
    table = compare(view, mean_field(model), draws=200, betas=[0.5, 2.0], family_steps=0)
    ladder = view.ladder([0.5, 2.0])
    assert table.ladder_mean_energy.values == pytest.approx(ladder.mean_energy.values, rel=1e-9)
    assert table.ladder_free_energy.attrs["units"] == "nats"
    assert (table.attrs["ladder_method"], table.attrs["bound"]) == ("quadrature", "estimate")


def test_a_discrete_guide_is_split_too():
    logits = torch.tensor([0.3, -0.4, 0.1], dtype=torch.float64)
    means = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)

    def model(y):
        with pyro.plate("data", len(y)):
            k = pyro.sample("k", dist.Categorical(logits=logits))
            z = pyro.sample("z", dist.Normal(means[k], 0.6))
            pyro.sample("y", dist.Normal(z, 0.5), obs=y)

    def guide(y):
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(0.5 * y, 0.9))

    y = torch.tensor([-1.2, 0.7, 1.9], dtype=torch.float64)
    table = compare(EnergyView(model).bind(y), guide, draws=3000)
    assert table.approximation_gap.item() < 0.2 < table.amortization_gap.item()
    assert table.approximation_gap > -SIGMAS * table.approximation_gap_error


def test_a_guide_whose_gap_cannot_be_split_says_why(model, x):
    flow = dist.transforms.AffineTransform(0.1, 0.8)

    def guide(features):
        with pyro.plate("data", len(features)):
            base = dist.Normal(torch.zeros(2).double(), 1.0).expand([len(features), 2])
            pyro.sample("factors", dist.TransformedDistribution(base, [flow]).to_event(1))

    table = compare(EnergyView(model).bind(x), guide, draws=200)
    assert "TransformedDistribution" in table.attrs["no_own_family"]
    assert "approximation_gap" not in table


def test_an_amortised_network_is_left_as_it_was(model, x):
    class Encoder(nn.Module):
        """A linear mean-field guide."""

        def __init__(self):
            super().__init__()
            self.loc = nn.Linear(6, 2).double()

        def forward(self, features):
            """The program."""
            with pyro.plate("data", len(features)):
                pyro.sample("factors", dist.Normal(self.loc(features), 0.5).to_event(1))

    guide = Encoder()
    before = {name: value.clone() for name, value in guide.state_dict().items()}
    table = compare(EnergyView(model).bind(x), guide, draws=500, family_steps=200)
    assert all(torch.equal(value, before[name]) for name, value in guide.state_dict().items())
    assert all(parameter.grad is None for parameter in guide.parameters())
    assert table.amortization_gap > 10 * table.amortization_gap_error
