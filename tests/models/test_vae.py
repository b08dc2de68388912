"""The auto-encoder's energy against its formula, and its free energy against sums over fine grids of codes."""

import itertools
import math

import pyro
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from pyrometer import EnergyView
from pyrometer.guides import GaussianEncoder
from pyrometer.models import VAE

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim
SHAPE = (2, 3)


def make_model(latents, shape=SHAPE):
    """A decoder with other weights than those that it starts with, its biases among them."""
    model = VAE(shape, latents=latents, hidden=7).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.6 * torch.randn(parameter.shape))
    return model


def make_guide(latents):
    """Means of its own for each image, and one scale wider than the prior's, so that importance weights are bounded."""
    guide = GaussianEncoder(SHAPE, latents=latents, hidden=7).double()
    with torch.no_grad():
        guide.encoder[-1].weight[latents:] = 0.0
        guide.encoder[-1].bias[latents:] = 0.4
    return guide


def grid(latents):
    """Codes (S, D) on a grid, and the log of the volume that each stands for."""
    points = {1: 4001, 2: 301}[latents]
    line = torch.linspace(-8, 8, points, dtype=torch.float64)
    code = torch.cartesian_prod(*[line] * latents).reshape(-1, latents)
    return code, latents * math.log(16 / (points - 1))


def free_energies_on_grid(model, image):
    """-log of the integral of p(code) p(image | code), (N,), written without Pyro."""
    code, log_volume = grid(model.latents)
    logits = model.decode(code).detach().unsqueeze(1).expand(-1, len(image), *SHAPE)
    pixels = binary_cross_entropy_with_logits(logits, image.expand_as(logits), reduction="none").sum((-1, -2))
    prior = (code.square().sum(-1) + model.latents * math.log(2 * math.pi)) / 2
    return -((-prior[:, None] - pixels).logsumexp(0) + log_volume)


def every_image():
    """All binary images of the shape, (2 ** pixels, H, W)."""
    bits = itertools.product((0.0, 1.0), repeat=math.prod(SHAPE))
    return torch.tensor(list(bits), dtype=torch.float64).unflatten(-1, SHAPE)


def test_the_energy_is_the_formula():
    model = make_model(3, shape=(8, 9))
    image, code = torch.rand(6, 8, 9, dtype=torch.float64).round(), torch.randn(6, 3, dtype=torch.float64)
    terms = EnergyView(model).bind(image).terms({"code": code})
    torch.testing.assert_close(terms["code"], (code**2).sum(-1) / 2 + 1.5 * math.log(2 * math.pi))
    pixels = binary_cross_entropy_with_logits(model.decode(code), image, reduction="none").sum((-1, -2))
    torch.testing.assert_close(terms["image"], pixels)


def test_logits_are_the_decoder_s_rows_of_pixels():
    model = make_model(3, shape=(4, 5))
    code = torch.randn(3, dtype=torch.float64)
    torch.testing.assert_close(model.decode(code)[2], model.decoder(code)[10:15])


def test_all_draws_at_once_have_the_energies_of_one_after_the_other():
    model = make_model(3, shape=(8, 9))
    view = EnergyView(model).bind(image=torch.rand(5, 8, 9, dtype=torch.float64).round())
    code = 1.7 * torch.randn(4, 2, 5, 3, dtype=torch.float64)
    single = torch.stack([torch.stack([view.energy_per_datum({"code": one}) for one in row]) for row in code])
    torch.testing.assert_close(view.energy_per_datum({"code": code}), single)
    assert "vmap" in view.vectorization["taken"]


def test_all_draws_at_once_have_the_gradients_of_one_after_the_other():
    """What Hamiltonian Monte Carlo follows."""
    model = make_model(3, shape=(8, 9))
    view = EnergyView(model).bind(image=torch.rand(5, 8, 9, dtype=torch.float64).round())
    code = (1.7 * torch.randn(4, 5, 3, dtype=torch.float64)).requires_grad_()
    (together,) = torch.autograd.grad(view.energy({"code": code}).sum(), code)
    single = [torch.autograd.grad(view.energy({"code": one}), one)[0] for one in code.detach().requires_grad_()]
    torch.testing.assert_close(together, torch.stack(single))


@pytest.mark.parametrize("latents", [1, 2])
def test_importance_gives_the_free_energy_of_the_grid(latents):
    model, image = make_model(latents), every_image()[[0, 9, 37, 62]]
    exact = free_energies_on_grid(model, image)
    found = EnergyView(model).bind(image).free_energy(method="importance", guide=make_guide(latents), draws=4000)
    assert found.evidence["pareto_k"].max() < 0.7
    assert ((found.per_datum - exact).abs() < SIGMAS * found.per_datum_error).all()
    assert (found.value - exact.sum()).abs() < SIGMAS * found.standard_error
    assert found.per_datum_error.max() < 0.05
    assert exact.std() > 0.3  # images differ, so that a code or an image out of place would show


@pytest.mark.parametrize("latents", [1, 2])
def test_the_probabilities_of_all_binary_images_add_up_to_one(latents):
    """What makes their free energies those of a normalised model."""
    log_evidence = -free_energies_on_grid(make_model(latents), every_image())
    assert log_evidence.logsumexp(0).item() == pytest.approx(0.0, abs=1e-6)


def test_simulated_images_are_binary_with_the_decoder_s_means():
    """Oracle: the prior mean of the decoder's pixels on a grid."""
    model, count = make_model(2), 20_000
    drawn = pyro.poutine.uncondition(model)(torch.empty(count, *SHAPE, dtype=torch.float64))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    code, log_volume = grid(2)
    weight = torch.exp(log_volume - (code.square().sum(-1) + 2 * math.log(2 * math.pi)) / 2)
    mean = (weight[:, None, None] * model.decode(code).sigmoid()).sum(0)
    assert ((drawn.mean(0) - mean).abs() < SIGMAS * (mean * (1 - mean) / count).sqrt()).all()
    assert (mean - 0.5).abs().max() > 0.05


def test_pixels_outside_the_unit_interval_are_refused():
    with pytest.raises(ValueError, match="support"):
        pyro.poutine.trace(make_model(2)).get_trace(torch.full((2, *SHAPE), 1.5)).compute_log_prob()
