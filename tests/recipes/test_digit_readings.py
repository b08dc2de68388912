"""Both readings against quadrature, against the energy view's estimates, and against distributions written by hand."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView
from pyrometer.data import digits
from pyrometer.guides import AuxiliaryEncoder, DigitAndStyle
from pyrometer.inference.svi.random_state import get_random_state
from pyrometer.models import AuxiliaryVAE, SemiSupervisedVAE
from pyrometer.recipes.digit_readings import Readings, digit_free_energies, digit_readings, guide_probabilities

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim


def pair(style=3):
    return SemiSupervisedVAE((8, 8), style=style, hidden=6), DigitAndStyle((8, 8), style=style, hidden=6).eval()


def auxiliary_pair(kind="auxiliary"):
    sizes = {"style": 3, "auxiliary": 2, "hidden": 6}
    return AuxiliaryVAE((8, 8), **sizes, kind=kind), AuxiliaryEncoder((8, 8), **sizes).eval()


def near_the_prior(guide):
    """The guide with latents a little wider than their priors, which untrained decoders leave nearly as they are."""
    last = [guide.moments, *([guide.proposal[-1]] if isinstance(guide, AuxiliaryEncoder) else [])]
    with torch.no_grad():
        for layer in last:
            layer.weight.zero_()
            half = layer.bias.shape[-1] // 2
            layer.bias[..., :half] = 0.1
            layer.bias[..., half:] = 0.3
    return guide


@pytest.fixture
def image():
    return digits().image[:5]


def test_free_energies_agree_with_quadrature(image):
    """Oracle: -log of the integral over a style of one dimension, on a grid."""
    model, guide = pair(style=1)
    style = torch.linspace(-8, 8, 2001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        logits = model.double().decode(torch.arange(10)[:, None], style)  # (K, S, H, W)
        cost = torch.nn.functional.softplus(logits) - image[:, None, None] * logits
        log_p = dist.Normal(0.0, 1.0).log_prob(style[:, 0]) - torch.tensor(10.0).log() - cost.sum((-1, -2))
    exact = -(log_p.logsumexp(-1) + (style[1] - style[0]).log())  # (N, K)
    found = torch.stack([digit_free_energies(model.float(), guide, image, 200) for _ in range(40)]).double()
    error = found.std(0) / 40**0.5
    bias = found.var(0) / 2  # of the logarithm of a mean, to the leading order
    assert ((found.mean(0) - bias - exact).abs() < SIGMAS * error).all()
    assert error.max() < 0.05


@pytest.mark.parametrize("kind", ["auxiliary", "skip", "stacked"])
def test_free_energies_agree_with_the_views_of_one_digit_at_a_time(image, kind):
    model, guide = auxiliary_pair(kind)
    near_the_prior(guide)
    found = digit_free_energies(model, guide, image, 3000)
    for k in (0, 7):
        bound = EnergyView(model).bind(image=image, digit=torch.full((5,), k))
        expected = bound.free_energy(method="importance", guide=guide, draws=3000)
        error = 2**0.5 * expected.per_datum_error
        assert ((found[:, k] - expected.per_datum).abs() < SIGMAS * error).all()
        assert error.max() < 0.15


def test_the_guides_probabilities_are_its_distributions(image):
    _, guide = pair()
    torch.testing.assert_close(guide_probabilities(guide, image, 3), guide.digit_distribution(image).probs.detach())


def test_probabilities_that_depend_on_another_latent_are_averaged_over_it(image):
    _, guide = auxiliary_pair()
    with torch.no_grad():
        guide.classifier[-1].weight.mul_(5)  # so that the average differs from what any one draw says
        auxiliary = guide.auxiliary_distribution(image).sample((4000,))
        each = guide.digit_distribution(image, auxiliary).probs
    found = guide_probabilities(guide, image, 4000)
    assert ((found - each.mean(0)).abs() < SIGMAS * each.std(0) * (2 / 4000) ** 0.5).all()
    assert each.std(0).max() > 0.05


def test_free_energies_rank_the_digits_that_made_the_images_first():
    """Oracle: the program itself, with decoders of ten clearly different images; a trained pair is not needed."""
    model, guide = pair(style=2)
    with torch.no_grad():
        model.second.bias.copy_(4 * torch.randn(10, 64).sign())
        digit = torch.arange(10).repeat(4)
        drawn = model(digit=digit)
    readings = digit_readings(model, guide, drawn, draws=20)
    reached = readings.accuracies(digit)
    assert reached["model"] == 1.0
    assert reached["guide"] < 0.5  # untrained
    assert (readings.model.argmax(-1) == digit).all()


def test_images_are_read_alike_alone_and_in_parts(image, monkeypatch):
    model, guide = pair()
    near_the_prior(guide)
    whole = torch.stack([digit_free_energies(model, guide, image, 200) for _ in range(20)])
    monkeypatch.setattr("pyrometer.recipes.digit_readings.MOST_PIXELS", 2 * 200 * 10 * 64)
    parts = torch.stack([digit_free_energies(model, guide, image, 200) for _ in range(20)])
    assert parts.shape == (20, 5, 10)
    error = ((whole.var(0) + parts.var(0)) / 20).sqrt()
    assert ((whole.mean(0) - parts.mean(0)).abs() < SIGMAS * error).all()
    assert error.max() < 0.1


def test_the_draws_depend_on_the_seed_alone_and_disturb_no_other(image):
    programs = pair()
    before = get_random_state()["torch"]
    first, second, other = (digit_readings(*programs, image, 5, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(get_random_state()["torch"], before)
    assert torch.equal(first.free_energy, second.free_energy)
    assert not torch.equal(first.free_energy, other.free_energy)


def test_accuracies_count_what_is_right():
    guide = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    energies = torch.tensor([[5.0, 3.0], [2.0, 9.0], [1.0, 1.5], [4.0, 0.0]])
    assert Readings(guide, energies).accuracies(torch.tensor([0, 0, 0, 1])) == {"guide": 0.75, "model": 0.75}
    assert Readings(guide, energies).accuracies(torch.tensor([0, 1, 1, 1])) == {"guide": 0.75, "model": 0.25}


def test_a_guide_in_training_mode_or_without_a_digit_is_refused(image):
    model, guide = pair()
    with pytest.raises(ValueError, match=r"evaluation mode.*guide.eval\(\)"):
        digit_free_energies(model, guide.train(), image)

    def other(image):
        with pyro.plate("data", len(image)):
            pyro.sample("kind", dist.Categorical(logits=torch.zeros(3)))

    with pytest.raises(ValueError, match=r"'digit'.*'kind'\]"):
        guide_probabilities(other, image)
