"""The relaxed ELBO against the exact one, which enumeration gives."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyrometer
from pyrometer import Relaxed

COPIES = 20_000
SHARES, MEANS = torch.tensor([0.2, 0.5, 0.3]).double(), torch.tensor([-1.0, 0.5, 2.0]).double()
Y = torch.full((COPIES,), 0.6, dtype=torch.float64)
START = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)


def model(y):
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.OneHotCategorical(SHARES))
        z = pyro.sample("z", dist.Normal(k @ MEANS, 0.6))
        pyro.sample("y", dist.Normal(z, 0.7), obs=y)


class Guide(nn.Module):
    """Logits for every copy, and z given k as it is a posteriori."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(START.expand(COPIES, 3).clone())

    def forward(self, y):
        with pyro.plate("data", len(y)):
            k = pyro.sample("k", dist.OneHotCategorical(logits=self.logits))
            precision = 1 / 0.6**2 + 1 / 0.7**2
            loc = (k @ MEANS / 0.6**2 + y / 0.7**2) / precision
            pyro.sample("z", dist.Normal(loc, precision**-0.5))


def exact_gradient():
    """-ELBO = KL(q(k), p(k)) - sum_k q(k) log p(y | k), since z given k is exact."""
    logits = START.clone().requires_grad_()
    log_q = logits.log_softmax(-1)
    log_p = SHARES.log() + dist.Normal(MEANS, math.hypot(0.6, 0.7)).log_prob(Y[0])
    value = (log_q.exp() * (log_q - log_p)).sum()
    return value.item(), torch.autograd.grad(value, logits)[0]


def relaxed(tau):
    guide = Guide()
    loss = Relaxed(tau)(model, guide, y=Y)
    (rows,) = torch.autograd.grad(loss, guide.parameters())
    return loss.item() / COPIES, rows.mean(0), rows.std(0) / math.sqrt(COPIES)


def test_its_bias_falls_with_the_temperature_and_its_noise_grows():
    value, gradient = exact_gradient()
    warm, cold = relaxed(1.0), relaxed(0.02)
    assert abs(warm[0] - value) > 0.5
    assert abs(cold[0] - value) < 0.1
    assert ((warm[1] - gradient).abs() > 5 * warm[2]).any()
    assert ((cold[1] - gradient).abs() < 4.3 * cold[2] + 0.02).all()
    assert (cold[2] > 2 * warm[2]).all()


def test_where_the_likelihood_is_linear_in_the_category_it_is_exact():
    """log p(y | k) = k . a then has the mean q . a at any temperature; only the draws' noise is left."""
    slopes = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)

    def linear(y):
        with pyro.plate("data", len(y)):
            k = pyro.sample("k", dist.OneHotCategorical(SHARES))
            pyro.factor("linear", 0 * y + k @ slopes)

    class Categories(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(START.clone())

        def forward(self, y):
            with pyro.plate("data", len(y)):
                pyro.sample("k", dist.OneHotCategorical(logits=self.logits))

    guide = Categories()
    with torch.no_grad():
        found = Relaxed(0.3)(linear, guide, y=Y).item() / COPIES
        log_q = START.log_softmax(-1)
        divergence = (log_q.exp() * (log_q - SHARES.log())).sum().item()
        draws = dist.RelaxedOneHotCategorical(torch.tensor(0.3).double(), logits=START).sample((COPIES,)) @ slopes
    error = draws.std().item() / math.sqrt(COPIES)
    assert abs(found - (divergence - draws.mean().item())) < 4.3 * error * math.sqrt(2)


def test_fit_takes_it_along_a_schedule_of_temperatures():
    seen = []

    def cooling(progress):
        seen.append(progress)
        return 1.0 - 0.9 * progress

    fitted = pyrometer.fit(
        model, Guide(), {"y": Y}, objective=Relaxed(cooling), steps=4, batch_size=None, progress=False
    )
    assert math.isfinite(fitted.loss)
    assert {0.0, 0.25, 0.5, 0.75} <= set(seen)


def integer(y):
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(SHARES))
        pyro.sample("y", dist.Normal(MEANS[k], 0.7), obs=y)


def integer_guide(y):
    with pyro.plate("data", len(y)):
        pyro.sample("k", dist.Categorical(logits=START))


def test_what_cannot_be_relaxed_is_refused():
    with pytest.raises(ValueError, match=r"no OneHotCategorical site to be relaxed, its sites are \['k'\]"):
        Relaxed()(integer, integer_guide, y=Y[:3])
    with pytest.raises(ValueError, match="temperature must be positive, got -1"):
        Relaxed(-1.0)
