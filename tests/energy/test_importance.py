"""Importance estimates against closed forms, and their standard errors against the spread over repeats."""

import math

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from scipy.stats import chi2
from torch.distributions import kl_divergence

from pyrometer import EnergyView
from pyrometer.guides import LinearGaussian, Responsibilities
from pyrometer.inference.energy.elbo_gap import elbo_gap
from pyrometer.inference.energy.guide_draws import Guide
from pyrometer.inference.energy.importance import effective_sample_size, jackknifed_log_mean
from pyrometer.models import FactorAnalysis, GaussianMixture

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim


def simulate(model, size):
    """As many data from the model's own distribution as `size`."""
    dimensions = (model.means if isinstance(model, GaussianMixture) else model.loadings.mT).shape[1]
    return poutine.uncondition(model)(torch.empty(size, dimensions)).detach()


@pytest.fixture
def factor_analysis():
    model = FactorAnalysis(features=4, factors=2, noise=0.6).double()
    with torch.no_grad():
        model.mean.copy_(torch.randn(4))
        model.log_noise.add_(0.3 * torch.randn(4))
    return model


def exact_guide(model, widen=1.0):
    """The guide with the closed-form posterior, its standard deviations widened by a factor."""
    guide = LinearGaussian(4, 2).double()
    posterior = model.posterior(torch.zeros(1, 4, dtype=torch.float64))
    with torch.no_grad():
        weight = posterior.covariance_matrix[0] @ model.loadings.mT / model.noise.square()
        guide.loc.weight.copy_(weight)
        guide.loc.bias.copy_(-weight @ model.mean)
        tril = torch.linalg.cholesky(posterior.covariance_matrix[0]) * widen
        guide.lower.copy_(tril)
        guide.log_diagonal.copy_(tril.diagonal().log())
    return guide


def test_the_exact_guide_gives_the_evidence_with_no_variance(factor_analysis):
    x = simulate(factor_analysis, 7)
    view, guide = EnergyView(factor_analysis).bind(x), exact_guide(factor_analysis)
    evidence = -factor_analysis.log_evidence(x).detach()
    for result in (
        view.free_energy(method="importance", guide=guide, draws=100),
        view.variational_free_energy(guide, draws=100),
    ):
        torch.testing.assert_close(result.per_datum, evidence, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(result.value, evidence.sum(), rtol=1e-9, atol=1e-9)
        assert result.standard_error < 1e-9


def test_constant_weights_have_no_tail(factor_analysis):
    x = simulate(factor_analysis, 3)
    result = (
        EnergyView(factor_analysis)
        .bind(x)
        .free_energy(method="importance", guide=exact_guide(factor_analysis), draws=100)
    )
    assert result.evidence["pareto_k"].tolist() == [-torch.inf] * 3
    torch.testing.assert_close(result.evidence["ess"], torch.full((3,), 100.0, dtype=torch.float64))


def test_a_wide_guide_estimates_the_evidence_within_its_error_and_bounds_it(factor_analysis):
    x = simulate(factor_analysis, 7)
    view, guide = EnergyView(factor_analysis).bind(x), exact_guide(factor_analysis, widen=1.3)
    evidence = -factor_analysis.log_evidence(x).detach()
    estimate = view.free_energy(method="importance", guide=guide, draws=2000)
    assert (estimate.bound, estimate.method) == ("estimate", "importance")
    assert (estimate.value - evidence.sum()).abs() < SIGMAS * estimate.standard_error
    assert ((estimate.per_datum - evidence).abs() < SIGMAS * estimate.per_datum_error).all()
    bound = view.variational_free_energy(guide, draws=2000)
    divergence = 2 * ((1.3**2 - 1) / 2 - torch.tensor(1.3).log())  # KL of two Gaussians that differ in scale alone
    assert bound.bound == "upper"
    assert (bound.value - evidence.sum() - 7 * divergence).abs() < SIGMAS * bound.standard_error


def test_standard_errors_are_calibrated(factor_analysis):
    x = simulate(factor_analysis, 5)
    view, guide = EnergyView(factor_analysis).bind(x), exact_guide(factor_analysis, widen=1.4)
    evidence = -factor_analysis.log_evidence(x).detach()
    repeats = 120

    def scores(estimate):
        return torch.cat(
            [
                (estimate.value - evidence.sum())[None] / estimate.standard_error,
                (estimate.per_datum - evidence) / estimate.per_datum_error,
            ]
        )

    z = torch.stack([scores(view.free_energy(method="importance", guide=guide, draws=400)) for _ in range(repeats)])
    low, high = chi2.ppf([1e-5, 1 - 1e-5], repeats)
    total = z.square().sum(0)
    assert (total > low).all()
    assert (total < high).all()


def test_the_errors_of_tempered_values_of_bounds_and_of_gaps_are_the_spread_over_repeats(factor_analysis):
    x = simulate(factor_analysis, 2)
    view, guide = EnergyView(factor_analysis).bind(x), exact_guide(factor_analysis, widen=1.4)
    near, repeats = exact_guide(factor_analysis, widen=1.1), 80

    def measure():
        tempered = view.free_energy(method="importance", beta=3.0, guide=guide, draws=200)
        bound = view.variational_free_energy(guide, beta=3.0, draws=200)
        # Near the posterior the gap's two terms all but cancel, and so do their errors.
        table = elbo_gap(view, near, draws=200)
        values = [tempered.value, bound.value, torch.tensor(table.gap.item())]
        errors = [tempered.standard_error, bound.standard_error, torch.tensor(table.gap_error.item())]
        return torch.stack(values), torch.stack(errors)

    values, errors = (torch.stack(rows) for rows in zip(*[measure() for _ in range(repeats)], strict=True))
    ratio = values.var(0) / errors.square().mean(0)
    low, high = chi2.ppf([1e-5, 1 - 1e-5], repeats - 1) / (repeats - 1)
    assert (ratio > low).all(), ratio
    assert (ratio < high).all(), ratio


def test_tempered_estimates_equal_the_closed_form(factor_analysis):
    # beta E is the energy of a program with covariances over beta, up to a constant of integration.
    x = simulate(factor_analysis, 3)
    beta, scale = 2.5, factor_analysis.noise.detach()
    covariance = factor_analysis.loadings @ factor_analysis.loadings.mT / beta + scale.square().diag() / beta
    evidence = dist.MultivariateNormal(factor_analysis.mean, covariance).log_prob(x).detach()
    # log Z_beta = (normalisers) + log N(x; m, C / beta): D + K Gaussian factors lose 2 pi s^2 each to the power.
    log_two_pi = torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
    log_z = (
        evidence - (beta - 1) * ((4 + 2) / 2 * log_two_pi + scale.log().sum()) - (4 + 2) / 2 * torch.tensor(beta).log()
    )
    result = (
        EnergyView(factor_analysis)
        .bind(x)
        .free_energy(method="importance", beta=beta, guide=exact_guide(factor_analysis, widen=0.8), draws=4000)
    )
    assert ((result.per_datum + log_z / beta).abs() < SIGMAS * result.per_datum_error).all()


def test_with_the_prior_as_measure_only_data_are_tempered(factor_analysis):
    x = simulate(factor_analysis, 3)
    beta, scale = 0.5, factor_analysis.noise.detach()
    covariance = factor_analysis.loadings @ factor_analysis.loadings.mT + scale.square().diag() / beta
    evidence = dist.MultivariateNormal(factor_analysis.mean, covariance).log_prob(x).detach()
    log_two_pi = torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
    log_z = evidence - (beta - 1) * (2 * log_two_pi + scale.log().sum()) - 2 * torch.tensor(beta).log()
    result = (
        EnergyView(factor_analysis)
        .bind(x)
        .free_energy(
            method="importance", beta=beta, base="prior", guide=exact_guide(factor_analysis, widen=1.3), draws=4000
        )
    )
    assert ((result.per_datum + log_z / beta).abs() < SIGMAS * result.per_datum_error).all()


def test_a_shared_latent_couples_the_data():
    y = torch.tensor([0.3, -0.1, 1.2], dtype=torch.float64)

    def model(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mu, 0.5), obs=y)

    def guide(y):
        pyro.sample("mu", dist.Normal(torch.tensor(0.4, dtype=y.dtype), 0.35))

    covariance = 4.0 * torch.ones(3, 3).double() + 0.25 * torch.eye(3).double()
    evidence = -dist.MultivariateNormal(torch.zeros(3).double(), covariance).log_prob(y)
    result = EnergyView(model).bind(y).free_energy(method="importance", guide=guide, draws=4000)
    assert result.per_datum is None
    assert (result.value - evidence).abs() < SIGMAS * result.standard_error
    assert result.standard_error < 0.05


def test_given_latents_are_left_out_of_the_guides_density():
    y = torch.tensor([0.3, -0.1], dtype=torch.float64)

    def model(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(mu, 0.7))
            pyro.sample("y", dist.Normal(z, 0.5), obs=y)

    def guide(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), 9.0))
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(0.5 * (y + mu), 0.5))

    mu = torch.tensor(1.3, dtype=torch.float64)
    common = -dist.Normal(0.0, 2.0).log_prob(mu)
    local = -dist.Normal(mu, (0.7**2 + 0.5**2) ** 0.5).log_prob(y)
    result = EnergyView(model).bind(y).free_energy(method="importance", guide=guide, given={"mu": mu}, draws=3000)
    torch.testing.assert_close(result.common, common, rtol=1e-6, atol=1e-6)
    assert ((result.per_datum - local).abs() < SIGMAS * result.per_datum_error).all()
    assert (result.value - common - local.sum()).abs() < SIGMAS * result.standard_error


def test_given_local_latents_are_left_out_by_datum_too():
    y = torch.tensor([0.3, -0.1], dtype=torch.float64)

    def model(y):
        with pyro.plate("data", len(y)):
            a = pyro.sample("a", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
            b = pyro.sample("b", dist.Normal(a, 0.7))
            pyro.sample("y", dist.Normal(b, 0.5), obs=y)

    def guide(y):
        with pyro.plate("data", len(y)):
            a = pyro.sample("a", dist.Normal(y, 3.0))
            pyro.sample("b", dist.Normal(0.5 * (y + a), 0.5))

    a = torch.tensor([1.3, -0.4], dtype=torch.float64)
    expected = -dist.Normal(0.0, 2.0).log_prob(a) - dist.Normal(a, (0.7**2 + 0.5**2) ** 0.5).log_prob(y)
    result = EnergyView(model).bind(y).free_energy(method="importance", guide=guide, given={"a": a}, draws=3000)
    assert ((result.per_datum - expected).abs() < SIGMAS * result.per_datum_error).all()


def test_a_guide_that_mixes_its_plate_is_drawn_one_by_one():
    def mixing(y):
        with pyro.plate("data", len(y)):
            a = pyro.sample("a", dist.Normal(y, 0.5))
        with pyro.plate("again", len(y)):
            pyro.sample("b", dist.Normal(a - a.mean(), 0.7))

    def separate(y):
        with pyro.plate("data", len(y)):
            a = pyro.sample("a", dist.Normal(y, 0.5))
            pyro.sample("b", dist.Normal(a - 1.0, 0.7))

    y = torch.tensor([0.3, -0.1], dtype=torch.float64)
    for program, vectorized in ((mixing, False), (separate, True)):
        guide = Guide(program, "data", (y,), {}, {})
        assert guide.draw(50).latents["b"].shape == (50, 2)
        assert guide.vectorized is vectorized


def test_the_comparison_puts_the_exact_divergence_between_bound_and_free_energy():
    model = GaussianMixture(torch.tensor([[-2.0, 0.0], [2.0, 1.0], [0.0, 3.0]]).double(), scale=0.8)
    x = simulate(model, 6)
    guide = Responsibilities(2, 3).double()
    table = elbo_gap(EnergyView(model).bind(x), guide, draws=2000)
    divergence = kl_divergence(guide.distribution(x), model.responsibilities(x)).detach()
    assert table.attrs["bound"] == "exact"
    assert table.free_energy.item() == pytest.approx(-model.log_evidence(x).sum().item())
    gap, error = table.gap_per_datum.values, table.gap_error_per_datum.values
    assert (abs(gap - divergence.numpy()) < SIGMAS * error + 1e-9).all()
    assert table.gap_per_datum.dims == ("data",)
    assert table.gap.attrs["units"] == "nats"
    assert divergence.min() > 0.01


def test_the_comparison_of_a_continuous_program_estimates_the_divergence(factor_analysis):
    x = simulate(factor_analysis, 5)
    table = elbo_gap(EnergyView(factor_analysis).bind(x), exact_guide(factor_analysis, widen=1.3), draws=3000)
    divergence = 2 * ((1.3**2 - 1) / 2 - torch.tensor(1.3).log().item())
    assert table.attrs["bound"] == "estimate"
    assert abs(table.gap.item() - 5 * divergence) < SIGMAS * table.gap_error.item()
    assert table.gap_error.item() < table.negative_elbo_error.item() + table.free_energy_error.item()


def test_the_jackknife_removes_the_bias_of_the_log_of_a_mean():
    log_weights = 0.8 * torch.randn(50, 20_000, dtype=torch.float64) - 0.32  # mean weight 1: log 1 = 0
    plain = (log_weights.logsumexp(0) - torch.tensor(50.0).log()).mean()
    corrected, error = jackknifed_log_mean(log_weights)
    assert plain < -0.008  # -(e^0.64 - 1) / 100, while the error of the mean is 0.001
    assert corrected.mean().abs() < 0.004
    assert (corrected / error).std() == pytest.approx(1, abs=0.15)


def test_the_effective_sample_size_counts_equal_weights():
    log_weights = torch.tensor([[0.0, 3.0], [0.0, -1e9], [0.0, -1e9]], dtype=torch.float64)
    torch.testing.assert_close(effective_sample_size(log_weights), torch.tensor([3.0, 1.0], dtype=torch.float64))


def test_a_guide_that_misses_a_latent_is_refused(factor_analysis):
    x = simulate(factor_analysis, 3)
    with pytest.raises(ValueError, match=r"guide does not sample \['factors'\]"):
        EnergyView(factor_analysis).bind(x).free_energy(method="importance", guide=lambda _: None)


def test_importance_needs_a_guide_and_enough_draws(factor_analysis):
    view = EnergyView(factor_analysis).bind(simulate(factor_analysis, 3))
    with pytest.raises(ValueError, match=r"none was passed; the free latents are \['factors'\]"):
        view.free_energy(method="importance")
    with pytest.raises(ValueError, match="at least 100.*got 10"):
        view.free_energy(method="importance", guide=exact_guide(factor_analysis), draws=10)


def test_one_draw_with_all_the_weight_gives_its_share_and_an_infinite_error():
    log_weights = torch.full((16, 2), -900.0, dtype=torch.float64)
    log_weights[3] = 0.0
    log_weights[:, 1] = torch.linspace(-0.2, 0.2, 16)
    log_mean, error = jackknifed_log_mean(log_weights)
    assert -math.log(16) <= log_mean[0] <= -math.log(16) + 1
    assert error[0] == math.inf
    assert log_mean[1].abs() < 0.02 < error[1] * 2
