"""Estimators of the gradients of bounds, against the exact gradients of the exact bounds."""

import itertools
import math
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyrometer
from pyrometer import EnergyView, MonteCarlo
from pyrometer.inference.svi.estimators import (
    doubly_reparameterised,
    importance_weighted,
    leave_one_out,
    reparameterised,
    score_function,
    sticking_the_landing,
    vimco,
    wake,
)

AVERAGES_LOGS = {reparameterised, sticking_the_landing, score_function, leave_one_out}
BY_SCORE = [score_function, leave_one_out, vimco]
THROUGH_DRAWS = [reparameterised, sticking_the_landing, importance_weighted, doubly_reparameterised]
COPIES = 4000


def exact_bound(estimator, log_w):
    """Of log weights (S, ...): the mean of logarithms, or the logarithm of the mean."""
    return log_w.mean(0) if estimator in AVERAGES_LOGS else log_w.logsumexp(0) - math.log(len(log_w))


# Estimators alone: their expectation, summed over all draws or integrated by quadrature.


@pytest.mark.parametrize("estimator", BY_SCORE)
def test_summed_over_all_draws_a_score_estimator_is_the_gradient_of_its_bound(estimator):
    log_p = torch.tensor([-2.0, 0.3, -1.1], dtype=torch.float64, requires_grad=True)
    logits = torch.tensor([0.4, -0.7, 0.1], dtype=torch.float64, requires_grad=True)
    draws = torch.tensor(list(itertools.product(range(3), repeat=3))).T  # three draws, in all 27 ways
    log_q = logits.log_softmax(-1)
    chances = log_q[draws].sum(0).exp()
    bound = (chances * exact_bound(estimator, log_p[draws] - log_q[draws])).sum()
    exact = torch.autograd.grad(bound, [log_p, logits], retain_graph=True)
    weights = estimator((log_p[draws] - log_q[draws]).detach())
    assert weights.path is None
    ascent = (chances.detach() * (weights.model * log_p[draws] + weights.score * log_q[draws])).sum()
    torch.testing.assert_close(torch.autograd.grad(ascent, [log_p, logits]), exact, rtol=1e-10, atol=1e-12)
    assert (chances * weights.bound).sum().item() == pytest.approx(bound.item(), rel=1e-12)


@pytest.mark.parametrize("estimator", THROUGH_DRAWS)
def test_integrated_over_two_draws_a_path_estimator_is_the_gradient_of_its_bound(estimator):
    """p(x, z) = N(z; m, 0.8) to a constant, q = N(u, s): Gauss-Hermite quadrature over both draws' noise."""
    nodes, masses = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(60))
    noise = torch.stack(torch.meshgrid(nodes, nodes, indexing="ij")).flatten(1)
    chances = (masses[:, None] * masses[None]).flatten() / masses.sum() ** 2
    m, u, s = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.5, 0.1, 0.9))

    def log_p(z):
        return dist.Normal(m, 0.8).log_prob(z)

    def log_q(z):
        return dist.Normal(u, s).log_prob(z)

    z = u + s * noise
    bound = (chances * exact_bound(estimator, log_p(z) - log_q(z))).sum()
    exact = torch.autograd.grad(bound, [m, u, s], retain_graph=True)
    held = z.detach().requires_grad_()
    log_w = log_p(held) - log_q(held)
    weights = estimator(log_w.detach())
    (slope,) = torch.autograd.grad((chances * weights.path * log_w).sum(), held, retain_graph=True)
    ascent = (chances * weights.model * log_p(held)).sum() + (slope * z).sum()
    if weights.score is not None:
        ascent = ascent + (chances * weights.score * log_q(held)).sum()
    torch.testing.assert_close(torch.autograd.grad(ascent, [m, u, s]), exact, rtol=1e-8, atol=1e-10)


# The objective: copies of one datum, each with parameters of its own, give independent estimates of one gradient.


class Mixed(nn.Module):
    """z ~ N(0.3, 1.4^2), y ~ N(slope z, 0.7^2), with a slope for every copy."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.full((COPIES,), 1.3, dtype=torch.float64))

    def forward(self, y=None):
        with pyro.plate("data", COPIES):
            z = pyro.sample("z", dist.Normal(self.slope.new_tensor(0.3), 1.4))
            pyro.sample("y", dist.Normal(self.slope * z, 0.7), obs=y)


class MixedGuide(nn.Module):
    """q(z) = N(loc, scale^2), with parameters for every copy."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.full((COPIES,), 0.6, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.full((COPIES,), -0.2, dtype=torch.float64))

    def forward(self, y=None):  # noqa: ARG002
        with pyro.plate("data", COPIES):
            pyro.sample("z", dist.Normal(self.loc, self.log_scale.exp()))


Y = torch.full((COPIES,), 1.1, dtype=torch.float64)


def exact_gaussian_gradient(estimator, draws, beta):
    """Minus the bound / beta, its standard deviation, and its gradient by slope, loc and log scale: by quadrature."""
    nodes, masses = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(60))
    grids = torch.meshgrid(*[nodes] * draws, indexing="ij")
    noise = torch.stack(grids).flatten(1)
    chances = torch.stack(torch.meshgrid(*[masses / masses.sum()] * draws, indexing="ij")).flatten(1).prod(0)
    values = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.3, 0.6, -0.2)]
    slope, loc, log_scale = values
    z = loc + log_scale.exp() * noise
    log_p = dist.Normal(torch.tensor(0.3, dtype=torch.float64), 1.4).log_prob(z)
    log_p = log_p + dist.Normal(slope * z, 0.7).log_prob(torch.tensor(1.1, dtype=torch.float64))
    log_w = beta * log_p - dist.Normal(loc, log_scale.exp()).log_prob(z)
    bounds = -exact_bound(estimator, log_w) / beta
    value = (chances * bounds).sum()
    spread = (chances * (bounds - value).square()).sum().sqrt()
    return value.item(), spread.item(), [g.item() for g in torch.autograd.grad(value, values)]


@pytest.mark.parametrize(
    ("estimator", "draws", "beta"),
    [
        *[(estimator, 2, 1.0) for estimator in (*THROUGH_DRAWS, leave_one_out, vimco)],
        *[(reparameterised, 1, 0.6), (score_function, 1, 1.0), (sticking_the_landing, 1, 2.0)],
        (doubly_reparameterised, 2, 2.0),
    ],
)
def test_its_mean_gradient_is_that_of_the_bound(estimator, draws, beta):
    model, guide = Mixed(), MixedGuide()
    loss = MonteCarlo(estimator, draws)(model, guide, beta, y=Y)
    value, spread, exact = exact_gaussian_gradient(estimator, draws, beta)
    parameters = [model.slope, guide.loc, guide.log_scale]
    for rows, expected in zip(torch.autograd.grad(loss, parameters), exact, strict=True):
        error = rows.std() / math.sqrt(COPIES)
        assert error > 0
        assert abs(rows.mean() - expected) < 4.3 * error
    assert loss.item() / COPIES == pytest.approx(value, abs=4.3 * spread / math.sqrt(COPIES))


def test_on_the_posterior_sticking_the_landing_has_no_noise_and_the_score_has():
    """Precision 1/1.4^2 + (1.3/0.7)^2, and every draw has the same weight."""
    model, guide = Mixed(), MixedGuide()
    precision = 1 / 1.4**2 + (1.3 / 0.7) ** 2
    with torch.no_grad():
        guide.loc.fill_((0.3 / 1.4**2 + 1.3 * 1.1 / 0.7**2) / precision)
        guide.log_scale.fill_(-0.5 * math.log(precision))
    spread = {}
    for estimator in (sticking_the_landing, doubly_reparameterised, reparameterised, leave_one_out, score_function):
        loss = MonteCarlo(estimator, 3)(model, guide, y=Y)
        spread[estimator] = max(rows.abs().max().item() for rows in torch.autograd.grad(loss, list(guide.parameters())))
    assert spread[sticking_the_landing] < 1e-12
    assert spread[doubly_reparameterised] < 1e-12
    assert spread[leave_one_out] < 1e-12  # equal weights, which the mean of the others takes off
    assert min(spread[reparameterised], spread[score_function]) > 0.1


def test_reparameterised_it_is_pyros_elbo_on_the_same_noise():
    model, guide = Mixed(), MixedGuide()
    parameters = [model.slope, guide.loc, guide.log_scale]
    ours = MonteCarlo(reparameterised)
    ours(model, guide, y=Y)  # what it finds out at first it finds out by running the programs
    pyro.set_rng_seed(3)
    loss = ours(model, guide, y=Y)
    found = torch.autograd.grad(loss, parameters)
    state = [torch.zeros(COPIES, dtype=torch.float64) for _ in range(3)]
    rounds = 60
    for seed in range(rounds):
        pyro.set_rng_seed(seed)
        theirs = pyro.infer.Trace_ELBO().differentiable_loss(model, guide, y=Y)
        for total, gradient in zip(state, torch.autograd.grad(theirs, parameters), strict=True):
            total += gradient / rounds
    for mine, total in zip(found, state, strict=True):
        both = mine.std() / math.sqrt(COPIES) * math.sqrt(1 + 1 / rounds)
        assert abs(mine.mean() - total.mean()) < 4.3 * both


def test_wake_brings_a_guide_to_the_posteriors_moments():
    """KL(p, q) is least, in this family, at the posterior itself."""
    model, guide = Mixed(), MixedGuide()
    model.slope.requires_grad_(False)
    adam = partial(torch.optim.Adam, lr=0.05)
    how = {"objective": MonteCarlo(wake, 50), "steps": 150, "optimizer": adam, "batch_size": None}
    pyrometer.fit(model, guide, {"y": Y}, schedule=lambda t: 1 - t, seed=0, progress=False, **how)
    precision = 1 / 1.4**2 + (1.3 / 0.7) ** 2
    loc = (0.3 / 1.4**2 + 1.3 * 1.1 / 0.7**2) / precision
    assert guide.loc.mean().item() == pytest.approx(loc, abs=0.02)
    assert guide.log_scale.mean().item() == pytest.approx(-0.5 * math.log(precision), abs=0.04)


def test_a_run_is_resumed_with_the_objective_that_it_was_begun_with(tmp_path):
    """It remembers what it has seen of the pair, which makes it no other objective."""
    how = {"objective": MonteCarlo(wake, 4), "epochs": 4, "batch_size": None, "seed": 0, "progress": False}
    run = {**how, "out": tmp_path / "run", "compile": False}
    calls = []

    def interrupt(model, guide):  # noqa: ARG001
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {}

    first = Mixed(), MixedGuide()  # alive as the objective's memory of them is
    with pytest.raises(KeyboardInterrupt):
        pyrometer.fit(*first, {"y": Y}, on_epoch=interrupt, **run)
    assert len(run["objective"].views.found) == 2
    resumed = pyrometer.fit(Mixed(), MixedGuide(), {"y": Y}, resume=True, **run)
    whole = pyrometer.fit(Mixed(), MixedGuide(), {"y": Y}, **how, compile=False)
    assert resumed.history == whole.history


def labelled(y):
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.7])))
        pyro.sample("y", dist.Normal(k.double(), 0.5), obs=y)


class LabelGuide(nn.Module):
    """One categorical distribution for all data."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.2, 0.1]))

    def forward(self, y):
        with pyro.plate("data", len(y)):
            pyro.sample("k", dist.Categorical(logits=self.logits))


def test_an_estimator_through_draws_refuses_discrete_latents_by_name():
    data = {"y": torch.randn(5)}
    with pytest.raises(ValueError, match=r"draws of \['k'\] are not reparameterised.*sticking_the_landing"):
        pyrometer.fit(labelled, LabelGuide(), data, objective=MonteCarlo(sticking_the_landing), steps=1)
    fitted = pyrometer.fit(
        labelled, LabelGuide(), data, objective=MonteCarlo(vimco, 4), steps=3, seed=0, progress=False
    )
    assert math.isfinite(fitted.loss)


@pytest.mark.parametrize("estimator", [reparameterised, doubly_reparameterised, vimco])
def test_without_gradients_it_has_the_same_value(estimator):
    model, guide, objective, values = Mixed(), MixedGuide(), MonteCarlo(estimator, 3), []
    objective(model, guide, y=Y)  # what it finds out at first it finds out by running the programs
    for grad in (True, False):
        pyro.set_rng_seed(4)
        with torch.set_grad_enabled(grad):
            values.append(objective(model, guide, y=Y))
    assert values[0].requires_grad
    assert not values[1].requires_grad
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-12)


def test_one_draw_has_no_others_to_be_set_beside():
    for estimator in (leave_one_out, vimco):
        with pytest.raises(ValueError, match="draws must be at least 2"):
            MonteCarlo(estimator, 1)(labelled, LabelGuide(), y=torch.randn(5))


def shared(y):
    mean = pyro.sample("mean", dist.Normal(torch.tensor(0.2, dtype=torch.float64), 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


class SharedGuide(nn.Module):
    """A Gaussian for the mean that data share."""

    def __init__(self, loc, scale):
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(loc, dtype=torch.float64))
        self.scale = nn.Parameter(torch.tensor(scale, dtype=torch.float64))

    def forward(self, y):  # noqa: ARG002
        pyro.sample("mean", dist.Normal(self.loc, self.scale))


def test_where_data_share_a_latent_they_have_one_weight():
    """On the exact posterior each draw's weight is the evidence, whatever the estimator."""
    y = torch.tensor([0.3, -0.1, 1.2], dtype=torch.float64)
    precision = 1 / 4 + 3 / 0.25
    guide = SharedGuide((0.2 / 4 + y.sum().item() / 0.25) / precision, precision**-0.5)
    exact = EnergyView(shared).bind(y).free_energy(method="quadrature").value.item()
    for estimator in (reparameterised, doubly_reparameterised, vimco):
        loss = MonteCarlo(estimator, 4)(shared, guide, y=y)
        assert loss.item() == pytest.approx(exact, rel=1e-8)
