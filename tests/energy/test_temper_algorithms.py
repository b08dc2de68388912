"""Algorithms of Pyro on tempered programs, against closed forms of Gaussians and sums over all paths."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import MCMC, NUTS, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO, config_enumerate
from pyro.infer.autoguide import AutoNormal, init_to_value
from pyro.ops.stats import effective_sample_size

from pyrometer import stable_enumeration, temper

Y = torch.tensor([0.3, -0.1, 1.2, 2.0, 0.7])
WEIGHTS = torch.tensor([0.2, 0.3, 0.5])


def normal_mean(y):
    mean = pyro.sample("mean", dist.Normal(0.4, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


# Algorithms of Pyro on the tempered mean of normal data. -log f is quadratic in the mean, with the curvature PRECISION
# and the minimum LOCATION; so p_beta is normal, and -log of the integral is -log f(LOCATION) - log(2 pi / PRECISION)/2.
BETA = 0.3
PRECISION = {"lebesgue": BETA * (0.25 + 5 * 4.0), "prior": 0.25 + BETA * 5 * 4.0}
LOCATION = {
    "lebesgue": BETA * (0.25 * 0.4 + 4.0 * Y.sum().item()) / PRECISION["lebesgue"],
    "prior": (0.25 * 0.4 + BETA * 4.0 * Y.sum().item()) / PRECISION["prior"],
}


def log_f(mean, base):
    prior, likelihood = dist.Normal(0.4, 2.0).log_prob(mean), dist.Normal(mean[..., None], 0.5).log_prob(Y).sum(-1)
    return (1.0 if base == "prior" else BETA) * prior + BETA * likelihood


def minus_log_integral(base):
    peak = log_f(torch.tensor(LOCATION[base]), base)
    return -peak - 0.5 * math.log(2 * math.pi / PRECISION[base])


def gaussian_guide(loc, scale):
    def guide(y):  # noqa: ARG001
        pyro.sample("mean", dist.Normal(loc, scale))

    return guide


@pytest.mark.parametrize("base", ["lebesgue", "prior"])
def test_nuts_draws_from_the_tempered_posterior(base):
    mcmc = MCMC(NUTS(temper(normal_mean, BETA, base)), num_samples=500, warmup_steps=150, disable_progbar=True)
    mcmc.run(Y)
    draws, scale = mcmc.get_samples()["mean"], PRECISION[base] ** -0.5

    def error(values):
        return 4.3 * values.std() / effective_sample_size(values[None], sample_dim=1).clamp(max=500.0).sqrt()

    squares = (draws - LOCATION[base]) ** 2
    assert (draws.mean() - LOCATION[base]).abs() < error(draws)
    assert (squares.mean() - scale**2).abs() < error(squares)


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
@pytest.mark.parametrize("base", ["lebesgue", "prior"])
def test_an_elbo_at_the_tempered_posterior_is_the_free_energy(base, elbo):
    """There log q - log f is the same number for every draw, so one draw measures it without noise."""
    guide = gaussian_guide(LOCATION[base], PRECISION[base] ** -0.5)
    loss = elbo().loss(temper(normal_mean, BETA, base), guide, Y)
    if (elbo, base) == (TraceMeanField_ELBO, "prior"):  # an analytic KL leaves the noise of the likelihood
        losses = torch.tensor([elbo().loss(temper(normal_mean, BETA, base), guide, Y) for _ in range(1000)])
        assert (losses.mean() - minus_log_integral(base)).abs() < 4.3 * losses.std() / 1000**0.5
    else:
        assert loss == pytest.approx(minus_log_integral(base).item(), abs=1e-4)


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
def test_an_elbo_elsewhere_is_larger_by_the_divergence(elbo):
    q, p = dist.Normal(1.4, 0.3), dist.Normal(LOCATION["lebesgue"], PRECISION["lebesgue"] ** -0.5)
    guide = gaussian_guide(q.loc, q.scale)
    losses = torch.tensor([elbo().loss(temper(normal_mean, BETA), guide, Y) for _ in range(1000)])
    expected = minus_log_integral("lebesgue") + torch.distributions.kl_divergence(q, p)
    assert (losses.mean() - expected).abs() < 4.3 * losses.std() / 1000**0.5


def test_an_automatic_guide_is_made_for_a_tempered_program():
    cold = temper(normal_mean, BETA)
    start = init_to_value(values={"mean": torch.tensor(LOCATION["lebesgue"])})
    guide = AutoNormal(cold, init_loc_fn=start, init_scale=PRECISION["lebesgue"] ** -0.5)
    assert Trace_ELBO().loss(cold, guide, Y) == pytest.approx(minus_log_integral("lebesgue").item(), abs=1e-4)


# Discrete latents, summed out by Pyro.

PROBS = torch.tensor([[0.7, 0.3], [0.4, 0.6]], dtype=torch.float64)


def switching(y):
    state = torch.tensor(0)
    for t in pyro.markov(range(len(y))):
        state = pyro.sample(f"state_{t}", dist.Categorical(PROBS[state]))
        with pyro.plate(f"copies_{t}", 2):
            pyro.sample(f"y_{t}", dist.Normal(2.0 * state.double(), 0.7), obs=y[t].expand(2))


def path_energies():
    """-log p(z) and -log p(y | z) of every path of `switching`."""
    priors, likelihoods, y = [], [], Y.double()
    for path in itertools.product(range(2), repeat=len(y)):
        steps = zip((0, *path[:-1]), path, strict=True)
        priors.append(sum(-PROBS[a, b].log() for a, b in steps))
        likelihoods.append(-2 * dist.Normal(2.0 * torch.tensor(path), 0.7).log_prob(y).sum())
    return torch.stack(priors), torch.stack(likelihoods)


def enumerated(program, y=Y):
    with stable_enumeration():
        return TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(program, lambda _: None, y)


@pytest.mark.parametrize("beta", [1e-3, 0.3, 1.0, 50.0])
@pytest.mark.parametrize("base", ["lebesgue", "prior", "uniform"])
def test_enumeration_of_a_tempered_program_is_the_sum_over_all_paths(base, beta):
    prior, likelihood = path_energies()
    of_latents = {"lebesgue": beta * prior, "prior": prior, "uniform": beta * prior + 5 * math.log(2)}[base]
    beta = torch.tensor(beta, dtype=torch.float64, requires_grad=True)
    loss = enumerated(temper(config_enumerate(switching), beta, base), Y.double())
    torch.testing.assert_close(loss, -torch.logsumexp(-of_latents - beta * likelihood, 0), rtol=1e-6, atol=1e-9)


def test_the_derivative_of_beta_f_by_beta_is_the_mean_energy():
    beta = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(enumerated(config_enumerate(temper(switching, beta)), Y.double()), beta)
    energy = sum(path_energies())
    torch.testing.assert_close(slope, (torch.softmax(-1.7 * energy, 0) * energy).sum())


def labels(y, mask, scale, lift=False):
    with (
        pyro.plate("data", len(y)),
        poutine.mask(mask=torch.tensor(True) if lift else mask),
        poutine.scale(scale=scale),
    ):
        fn = dist.Categorical(WEIGHTS).expand([len(y)])
        k = pyro.sample("k", fn.mask(mask) if lift else fn)
        with poutine.mask(mask=mask):
            pyro.sample("y", dist.Normal(2.0 * k, 0.7), obs=y)


@pytest.mark.parametrize("lift", [False, True])
@pytest.mark.parametrize("base", ["lebesgue", "prior"])
def test_a_masked_label_is_averaged_under_its_prior_and_scales_belong_to_the_energy(base, lift):
    mask, scale, beta = torch.tensor([True, False, True, True, False]), 0.4, 3.0
    log_prior, log_y = WEIGHTS.log(), dist.Normal(torch.tensor([0.0, 2.0, 4.0]), 0.7).log_prob(Y[:, None])
    power = beta * scale if base == "lebesgue" else 1 + beta * (scale - 1)
    by_hand = -torch.logsumexp(power * log_prior + beta * scale * log_y, -1)[mask].sum()
    beta = torch.tensor(beta, requires_grad=True)
    cold = temper(lambda y: labels(y, mask, scale, lift), beta, base)
    torch.testing.assert_close(enumerated(config_enumerate(cold)), by_hand)


def test_a_mask_of_false_leaves_the_prior():
    cold = temper(lambda y: labels(y, False, 0.4), torch.tensor(3.0, requires_grad=True))
    total = poutine.trace(cold).get_trace(Y)
    total.compute_log_prob()
    torch.testing.assert_close(total.nodes["k"]["unscaled_log_prob"], WEIGHTS.log()[total.nodes["k"]["value"]])
    assert total.log_prob_sum() == 0
