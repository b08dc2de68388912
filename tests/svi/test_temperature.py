"""Training at an inverse temperature, against the tempered posterior and free energy of factor analysis, by hand."""

import copy
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.contrib.gp.kernels import RBF
from pyro.infer import (
    JitTrace_ELBO,
    RenyiELBO,
    Trace_ELBO,
    Trace_MMD,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTMC_ELBO,
    config_enumerate,
)
from torch import Tensor
from torch.distributions import kl_divergence

from pyrometer import SemiSupervised, temper
from pyrometer.guides import LinearGaussian
from pyrometer.inference.svi import fit, training
from pyrometer.models import FactorAnalysis

N, D, K = 40, 4, 2
SGD = functools.partial(torch.optim.SGD, lr=1e-3)
STILL = functools.partial(torch.optim.SGD, lr=0.0)
quiet = functools.partial(fit, progress=False, batch_size=None)


@pytest.fixture
def model() -> FactorAnalysis:
    """Factor analysis with noise of several sizes, frozen."""
    model = FactorAnalysis(D, K, noise=0.6).requires_grad_(False)
    model.loadings.copy_(torch.tensor([[1.0, 0.3], [-0.5, 0.8], [0.2, -1.1], [0.7, 0.6]]))
    model.mean.copy_(torch.tensor([0.3, -1.0, 2.0, 0.0]))
    model.log_noise.add_(torch.tensor([0.0, 0.4, -0.3, 0.2]))
    return model


@pytest.fixture
def x(model: FactorAnalysis) -> Tensor:
    """Data of the model."""
    return model.mean + torch.randn(N, K) @ model.loadings.mT + 0.6 * torch.randn(N, D)


def precision(model: FactorAnalysis) -> Tensor:
    """Curvature of E in z: 1 from the prior, W^T diag(noise^-2) W from the likelihood."""
    return torch.eye(K) + model.loadings.mT @ (model.loadings / model.noise.square()[:, None])


def tempered_posterior(model: FactorAnalysis, x: Tensor, beta: float) -> dist.MultivariateNormal:
    """N(z*, (beta P)^-1), z* being the minimum of E."""
    minimum = ((x - model.mean) / model.noise.square()) @ model.loadings @ torch.linalg.inv(precision(model))
    return dist.MultivariateNormal(minimum, precision_matrix=beta * precision(model))


def free_energy(model: FactorAnalysis, x: Tensor, beta: float) -> Tensor:
    """F_beta by datum: E(z*) - T log of the integral of exp(-beta (z - z*)^T P (z - z*) / 2)."""
    z = tempered_posterior(model, x, beta).mean
    energy = z.square().sum(-1) / 2 + K / 2 * math.log(2 * math.pi)
    energy += ((x - model.mean - z @ model.loadings.mT) / model.noise).square().sum(-1) / 2
    energy += model.noise.log().sum() + D / 2 * math.log(2 * math.pi)
    return energy - (K / 2 * math.log(2 * math.pi / beta) - precision(model).logdet() / 2) / beta


def exact_guide(model: FactorAnalysis, beta: float) -> LinearGaussian:
    """The guide that is the tempered posterior."""
    guide, zero = LinearGaussian(D, K), torch.zeros(1, D)
    posterior = tempered_posterior(model, torch.cat([zero, torch.eye(D)]), beta)
    with torch.no_grad():
        guide.loc.bias.copy_(posterior.mean[0])
        guide.loc.weight.copy_((posterior.mean[1:] - posterior.mean[0]).mT)
        guide.lower.copy_(posterior.scale_tril[0])
        guide.log_diagonal.copy_(posterior.scale_tril[0].diagonal().log())
    return guide


def divergence(guide: LinearGaussian, model: FactorAnalysis, x: Tensor, beta: float) -> Tensor:
    """KL(q, p_beta) by datum, in nats."""
    return kl_divergence(guide.distribution(x), tempered_posterior(model, x, beta)).detach()


@pytest.mark.parametrize("beta", [0.4, 3.0])
def test_the_loss_at_the_tempered_posterior_is_the_free_energy(model: FactorAnalysis, x: Tensor, beta: float) -> None:
    """Without noise: log q + beta E is the same for every draw."""
    result = quiet(model, exact_guide(model, beta), {"features": x}, steps=1, optimizer=STILL, beta=beta, seed=1)
    assert result.loss == pytest.approx(free_energy(model, x, beta).mean().item(), rel=1e-5)


@pytest.mark.parametrize("elbo", [Trace_ELBO(), TraceMeanField_ELBO(), TraceGraph_ELBO()])
def test_the_loss_elsewhere_is_larger_by_t_times_the_divergence(model: FactorAnalysis, x: Tensor, elbo: Any) -> None:
    beta, guide = 3.0, LinearGaussian(D, K, scale=0.3)
    result = quiet(model, guide, {"features": x}, objective=elbo, epochs=150, optimizer=STILL, beta=beta, seed=1)
    losses = torch.tensor([row["loss"] for row in result.history])
    expected = (free_energy(model, x, beta) + divergence(guide, model, x, beta) / beta).mean()
    assert (losses.mean() - expected).abs() < 4.3 * losses.std() / 150**0.5


def train(model: FactorAnalysis, x: Tensor, beta: Any) -> LinearGaussian:
    """A guide, trained for as long as it takes."""
    guide, adam = LinearGaussian(D, K), functools.partial(torch.optim.Adam, lr=0.05)
    elbo = Trace_ELBO(num_particles=8, vectorize_particles=True)
    many = {"objective": elbo, "steps": 800, "optimizer": adam, "schedule": lambda done: 0.01**done, "seed": 1}
    quiet(model, guide, {"features": x}, beta=beta, **many)
    return guide


@pytest.mark.parametrize("beta", [0.4, 3.0])
def test_training_reaches_the_tempered_posterior(model: FactorAnalysis, x: Tensor, beta: float) -> None:
    assert divergence(LinearGaussian(D, K), model, x, beta).mean() > 0.5
    guide = train(model, x, beta)
    assert divergence(guide, model, x, beta).mean() < 0.005
    assert divergence(guide, model, x, 1.0).mean() > 0.1


def test_a_schedule_ends_where_the_constant_does(model: FactorAnalysis, x: Tensor) -> None:
    guide = train(model, x, lambda done: 0.4 + 2.6 * min(1.0, 2 * done))
    assert divergence(guide, model, x, 3.0).mean() < 0.005


def test_a_constant_schedule_is_the_constant_and_one_is_no_temperature(model: FactorAnalysis, x: Tensor) -> None:
    def five_steps(**arguments: Any) -> tuple[list, dict]:
        torch.manual_seed(4)
        guide = LinearGaussian(D, K)
        return quiet(model, guide, {"features": x}, steps=5, seed=1, **arguments).history, guide.state_dict()

    for first, second in (({"beta": lambda _: 0.4}, {"beta": 0.4}), ({}, {"beta": 1})):
        (loss, weights), (other_loss, other_weights) = five_steps(**first), five_steps(**second)
        assert loss == other_loss
        assert all(torch.equal(weights[name], other_weights[name]) for name in weights)
    assert five_steps(beta=0.4)[0] != five_steps()[0]


def test_the_weights_of_the_model_are_trained_as_well(x: Tensor) -> None:
    """The gradient of F_beta[q] by the weights is that of E_q[E], whatever beta is."""
    start, guide = FactorAnalysis(D, K, noise=0.6), LinearGaussian(D, K)

    def displacement(beta: float) -> Tensor:
        model = copy.deepcopy(start)
        quiet(model, copy.deepcopy(guide), {"features": x}, steps=1, optimizer=SGD, beta=beta, seed=1)
        return model.loadings - start.loadings

    assert displacement(1.0).abs().max() > 1e-3
    torch.testing.assert_close(displacement(3.0), displacement(1.0), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("elbo", [TraceGraph_ELBO(), RenyiELBO(alpha=0.0, num_particles=2)])
def test_an_elbo_that_accumulates_gradients_takes_the_step_of_its_loss(
    model: FactorAnalysis, x: Tensor, elbo: Any
) -> None:
    """By finite differences of the loss, with the draws held fixed, along a weight of the guide."""
    model, beta, rate = model.requires_grad_(True), 3.0, 1e-4
    start = LinearGaussian(D, K, scale=0.5)

    def run(shift: float, lr: float) -> tuple[float, LinearGaussian]:
        guide, sgd = copy.deepcopy(start), functools.partial(torch.optim.SGD, lr=lr)
        with torch.no_grad():
            guide.log_diagonal[0] += shift
        frozen = copy.deepcopy(model)
        loss = quiet(frozen, guide, {"features": x}, objective=elbo, steps=1, optimizer=sgd, beta=beta, seed=1).loss
        return loss * N, guide

    slope = (run(0.01, 0.0)[0] - run(-0.01, 0.0)[0]) / 0.02
    moved = (start.log_diagonal - run(0.0, rate)[1].log_diagonal)[0].item() / rate
    assert abs(slope) > 1
    assert moved == pytest.approx(slope, rel=0.01)


@pytest.mark.parametrize("beta", [0.4, 3.0, 1000.0])
def test_summed_out_labels_are_tempered(beta: float) -> None:
    """A label, and a second one that follows it: -T log of the sum over both of p(k, l, y)^beta, by datum."""
    weights, follows = torch.tensor([0.3, 0.7]), torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    y, noise = torch.tensor([-3.0, -2.9, 3.1, 0.4, 2.8]), 0.5

    def labels(y: Tensor) -> None:
        loc = pyro.param("locations", torch.tensor([-1.5, 2.0]))
        with pyro.plate("data", len(y)):
            first = pyro.sample("first", dist.Categorical(weights))
            pyro.sample("y", dist.Normal(loc[first], noise), obs=y)
            second = pyro.sample("second", dist.Categorical(follows[first]))
            pyro.sample("minus_y", dist.Normal(loc[second], noise), obs=-y)

    def guide(y: Tensor) -> None:
        pass

    likelihood = dist.Normal(torch.tensor([-1.5, 2.0]), noise).log_prob(torch.stack([y, -y])[..., None])
    joint = weights.log()[:, None] + follows.log() + likelihood[0, :, :, None] + likelihood[1, :, None, :]
    expected = -torch.logsumexp(beta * joint, (1, 2)) / beta
    settings = {"objective": TraceEnum_ELBO(), "steps": 1, "optimizer": STILL, "beta": beta}
    result = quiet(config_enumerate(labels), guide, {"y": y}, **settings)
    pyro.clear_param_store()
    assert result.loss == pytest.approx(expected.mean().item(), rel=1e-5)


def test_a_function_with_an_argument_beta_is_passed_it(model: FactorAnalysis, x: Tensor) -> None:
    seen = []

    def objective(model: Callable, guide: Callable, beta: float, progress: float, features: Tensor) -> Tensor:
        seen.append((progress, beta))
        return Trace_ELBO().differentiable_loss(temper(model, beta), guide, features) / beta

    guide = LinearGaussian(D, K)
    by_function = quiet(model, copy.deepcopy(guide), {"features": x}, objective=objective, steps=3, beta=0.4, seed=1)
    by_fit = quiet(model, copy.deepcopy(guide), {"features": x}, steps=3, beta=0.4, seed=1)
    assert by_function.history == by_fit.history
    seen.clear()
    quiet(model, guide, {"features": x}, objective=objective, steps=2, beta=lambda done: 1 + done, seed=1)
    assert seen[-2:] == [(0.0, 1.0), (0.5, 1.5)]
    quiet(model, guide, {"features": x}, objective=objective, steps=1, seed=1)
    assert seen[-1] == (0.0, 1.0)


class OfTwo(LinearGaussian):
    """A guide whose program has an argument of the name ``beta``."""

    def forward(self, features: Tensor, beta: Tensor) -> None:  # noqa: ARG002
        """The program."""
        super().forward(features)


def test_data_called_beta_are_data(model: FactorAnalysis, x: Tensor) -> None:
    data, seen = {"features": x, "beta": 2 * torch.ones(N)}, []

    def of_two(features: Tensor, beta: Tensor) -> None:  # noqa: ARG001
        model(features)

    def objective(model: Callable, guide: Callable, features: Tensor, beta: Tensor) -> Tensor:
        seen.append(beta)
        return Trace_ELBO().differentiable_loss(model, guide, features, beta)

    quiet(of_two, OfTwo(D, K), data, objective=objective, steps=1, seed=1)
    assert torch.equal(seen[-1], data["beta"])
    with pytest.raises(ValueError, match="rename the entry"):
        quiet(of_two, OfTwo(D, K), data, objective=objective, steps=1, seed=1, beta=0.4)
    torch.manual_seed(4)
    ours = quiet(of_two, OfTwo(D, K), data, steps=2, seed=1, beta=0.4)
    torch.manual_seed(4)
    assert ours.history == quiet(model, LinearGaussian(D, K), {"features": x}, steps=2, seed=1, beta=0.4).history


# Resuming.


def cooling(done: float) -> float:
    return 0.4 + 2.6 * done


def warming(done: float) -> float:
    return 3.0 - 2.6 * done


@pytest.mark.parametrize("step", [0, 3])
def test_a_resumed_run_is_the_uninterrupted_one(
    model: FactorAnalysis, x: Tensor, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    start, original = LinearGaussian(D, K), training.Training._step

    def run(out: str, resume: bool = False) -> tuple[list, LinearGaussian]:
        result = quiet(
            model,
            copy.deepcopy(start),
            {"features": x},
            epochs=6,
            beta=cooling,
            seed=1,
            out=tmp_path / out,
            resume=resume,
        )
        return result.history, result.guide

    def interrupted(self: training.Training, *arguments: Any) -> float:
        if self.step == step:
            raise KeyboardInterrupt
        return original(self, *arguments)

    whole, weights = run("whole")
    monkeypatch.setattr(training.Training, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("part")
    monkeypatch.setattr(training.Training, "_step", original)
    history, resumed = run("part", resume=True)
    assert history == whole
    assert all(torch.equal(a, b) for a, b in zip(weights.parameters(), resumed.parameters(), strict=True))


def test_a_run_keeps_its_temperature(model: FactorAnalysis, x: Tensor, tmp_path: Path) -> None:
    def run(beta: Any, epochs: int, **arguments: Any) -> None:
        out = tmp_path / (beta.__name__ if callable(beta) else "constant")
        quiet(
            model,
            LinearGaussian(D, K),
            {"features": x},
            epochs=epochs,
            seed=1,
            **{"beta": beta, "out": out, **arguments},
        )

    run(0.4, 2)
    run(cooling, 2)
    for name, recorded in (("constant", 0.4), ("cooling", "cooling")):
        assert json.loads((tmp_path / name / "settings.json").read_text())["fit"]["beta"] == recorded
    with pytest.raises(ValueError, match=r"beta: 0.4 -> 3.0"):
        run(3.0, 2, resume=True)
    with pytest.raises(ValueError, match=r"beta: 'cooling' -> 'warming'"):
        run(warming, 2, out=tmp_path / "cooling", resume=True)
    with pytest.raises(ValueError, match="depends on how much of the training is done"):
        run(cooling, 3, resume=True)
    run(0.4, 3, resume=True)


# Refusals.


@pytest.mark.parametrize(
    ("beta", "error", "message"),
    [
        (0.0, ValueError, r"positive, finite inverse temperature, got beta = 0.0"),
        (-1, ValueError, r"got beta = -1"),
        (math.nan, ValueError, r"got beta = nan"),
        (math.inf, ValueError, r"got beta = inf.*AutoDelta.*zero_temperature"),
        (lambda done: 1 - done, ValueError, r"got beta\(1.0\) = 0.0"),
        (lambda done: 1 - 2 * (done == 0.25), ValueError, r"got beta\(0.25\) = -1"),
        ("cold", TypeError, r"beta must be a number, or a function .*; beta failed with ValueError"),
        (None, TypeError, r"beta failed with TypeError"),
        (lambda: 1.0, TypeError, r"beta\(0.0\) failed with TypeError"),
    ],
)
def test_what_is_no_inverse_temperature_is_refused(
    model: FactorAnalysis, x: Tensor, beta: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        quiet(model, LinearGaussian(D, K), {"features": x}, steps=1, beta=beta, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def plain(model: Callable, guide: Callable, **batch: Tensor) -> Tensor:
    return Trace_ELBO().differentiable_loss(model, guide, **batch)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (plain, "beta = 0.4 has no meaning for this objective, a function without an argument beta: give it one"),
        (SemiSupervised(0.1), "a function without an argument beta"),
        (TraceTMC_ELBO(), "with TraceTMC_ELBO, which draws from the model: pass TraceEnum_ELBO"),
        (JitTrace_ELBO(), "with JitTrace_ELBO, which compiles the model for good: pass Trace_ELBO"),
        (Trace_MMD(RBF(1)), "with Trace_MMD, which is no bound on the free energy: pass one such as Trace_ELBO"),
    ],
)
def test_an_objective_that_cannot_be_tempered_is_refused(
    model: FactorAnalysis, x: Tensor, objective: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        quiet(model, LinearGaussian(D, K), {"features": x}, objective=objective, steps=1, beta=0.4)
