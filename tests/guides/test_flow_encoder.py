"""The flow as a guide: beside the Gaussian it starts as, and on a posterior that is no Gaussian."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch

from pyrometer import EnergyView, fit
from pyrometer.guides import FlowEncoder, GaussianEncoder

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim


def bend(guide, scale=0.3):
    """The guide with other weights than the flow starts with."""
    with torch.no_grad():
        for coupling in guide.couplings:
            coupling.network[-1].weight.normal_(0, scale)
    return guide


def parabola(image=None):
    """code ~ N(0, 4 I_2); one pixel, N(code_2 - code_1^2 / 2, 0.3^2): the posterior lies along a parabola."""
    with pyro.plate("data", 1 if image is None else len(image)):
        code = pyro.sample("code", dist.Normal(torch.zeros(2), 2.0).to_event(1))
        pixel = code[..., 1] - code[..., 0].square() / 2
        return pyro.sample("image", dist.Normal(pixel[..., None, None], 0.3).to_event(2), obs=image)


IMAGE = torch.tensor([-1.0, 0.5, 2.0]).reshape(3, 1, 1)


def free_energy():
    """-log p(IMAGE), by the midpoint rule in the plane of codes."""
    line = torch.arange(-400, 401, dtype=torch.float64) / 40
    code = torch.cartesian_prod(line, line)
    prior = dist.Normal(0.0, 2.0).log_prob(code).sum(-1)
    pixel = dist.Normal(code[:, 1] - code[:, 0].square() / 2, 0.3).log_prob(IMAGE.reshape(3, 1))
    return -(prior + pixel).logsumexp(-1) + 2 * math.log(40)


def divergence(guide, steps):
    """KL(q, posterior) by image and its standard error, in nats, after so many steps of training."""
    how = {"optimizer": partial(torch.optim.Adam, lr=0.02), "batch_size": None, "compile": False, "progress": False}
    many = IMAGE.repeat(30, 1, 1)  # as many draws of a step, for a gradient of less noise
    if steps:
        fit(parabola, guide, {"image": many}, steps=steps, schedule=lambda done: min(1.0, 2 - 2 * done), **how)
    bound = EnergyView(parabola).bind(IMAGE).variational_free_energy(guide, draws=4000)
    return (bound.value.item() - free_energy().sum().item()) / 3, bound.standard_error.item() / 3


def alike(guide):
    """The guide with the same moments for every image, from where both guides are trained."""
    last = guide.encoder[-1]
    with torch.no_grad():
        last.weight[:4], last.bias[:2], last.bias[2:4] = 0.0, 0.0, math.log(0.7)
    return guide


def test_it_fits_a_posterior_that_is_no_gaussian():
    gaussian = GaussianEncoder((1, 1), latents=2, hidden=15)
    flow = FlowEncoder((1, 1), latents=2, hidden=15, couplings=2)
    before, _ = divergence(alike(flow), 0)
    best, best_error = divergence(alike(gaussian), 200)
    after, error = divergence(flow, 200)
    assert after > -SIGMAS * error
    assert before > best  # false before the training
    assert after + SIGMAS * error < (best - SIGMAS * best_error) / 4


def test_it_starts_as_a_gaussian_encoder_and_contains_every_one():
    gaussian, flow = GaussianEncoder((4, 5), latents=3, hidden=7), FlowEncoder((4, 5), latents=3, hidden=7)
    with torch.no_grad():
        for ours, theirs in zip(flow.encoder, gaussian.encoder, strict=True):
            for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
                own[: len(other)] = other
    image = torch.rand(6, 4, 5)
    code = gaussian.distribution(image).sample((9,))
    torch.testing.assert_close(
        flow.distribution(image).log_prob(code), gaussian.distribution(image).log_prob(code), rtol=1e-4, atol=1e-4
    )


def test_an_image_has_the_same_density_in_any_company():
    guide = bend(FlowEncoder((4, 5), latents=3, hidden=7).double())
    image, code = torch.rand(2, 3, 4, 5, dtype=torch.float64), torch.randn(2, 3, 3, dtype=torch.float64)
    together, alone = guide.distribution(image).log_prob(code), guide.distribution(image[1, 2]).log_prob(code[1, 2])
    torch.testing.assert_close(together[1, 2], alone)


def test_the_densities_of_draws_in_an_outer_plate_are_those_of_one_at_a_time():
    guide = bend(FlowEncoder((4, 5), latents=3, hidden=7).double())
    image = torch.rand(6, 4, 5, dtype=torch.float64)
    with pyro.plate("draws", 4, dim=-2):
        trace = poutine.trace(guide).get_trace(image)
    trace.compute_log_prob()
    site = trace.nodes["code"]
    assert site["value"].shape == (4, 6, 3)
    for value, log_prob in zip(site["value"], site["log_prob"], strict=True):
        given = poutine.trace(poutine.condition(guide, {"code": value})).get_trace(image)
        given.compute_log_prob()
        torch.testing.assert_close(given.nodes["code"]["log_prob"], log_prob, rtol=1e-6, atol=1e-6)
    assert site["value"].std(0).min() > 0


def test_weights_read_back_give_the_same_density(tmp_path):
    guide, other = bend(FlowEncoder((4, 5), latents=3, hidden=7)), FlowEncoder((4, 5), latents=3, hidden=7)
    image, code = torch.rand(6, 4, 5), torch.randn(6, 3)
    before = other.distribution(image).log_prob(code)
    torch.save(guide.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    expected = guide.distribution(image).log_prob(code)
    assert torch.equal(other.distribution(image).log_prob(code), expected)
    assert not torch.allclose(before, expected)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(N, 4, 5\).*got \(6, 5, 4\)"):
        FlowEncoder((4, 5), latents=3, hidden=7)(torch.rand(6, 5, 4))
