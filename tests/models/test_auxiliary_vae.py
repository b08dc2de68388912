"""The auxiliary model's energy against its formula, and integrated over a against the model without it."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, linear, silu

from pyrometer import EnergyView
from pyrometer.models import AuxiliaryVAE, SemiSupervisedVAE

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim


def made(kind, auxiliary=2):
    return AuxiliaryVAE((8, 9), classes=4, style=3, auxiliary=auxiliary, hidden=5, kind=kind).double()


def latents(auxiliary=2):
    drawn = {"style": torch.randn(6, 3).double(), "auxiliary": 0.7 * torch.randn(6, auxiliary).double()}
    return torch.rand(6, 8, 9).double(), {"digit": torch.randint(4, (6,)), **drawn}


def normal_energy(x, loc, log_scale):
    return ((x - loc).square() / (2 * (2 * log_scale).exp()) + log_scale + math.log(2 * math.pi) / 2).sum(-1)


def two_layers(first, second, x, digit):
    """The network of one digit, from its own weights."""
    hidden = linear(x, first.weight[digit], first.bias[digit]).relu()
    return linear(hidden, second.weight[digit], second.bias[digit])


@pytest.mark.parametrize("kind", ["auxiliary", "skip", "stacked"])
def test_the_energy_is_the_formula(kind):
    model = made(kind)
    image, drawn = latents()
    terms = EnergyView(model).bind(image).terms(drawn)
    assert set(terms) == {"digit", "style", "auxiliary", "image"}
    torch.testing.assert_close(terms["digit"], torch.full((6,), math.log(4)).double())
    torch.testing.assert_close(terms["style"], normal_energy(drawn["style"], 0.0, torch.zeros(3).double()))
    for n in range(6):
        digit, style, auxiliary = (drawn[name][n] for name in ("digit", "style", "auxiliary"))
        if kind == "stacked":
            one, _, two = model.decoder
            logits = linear(silu(linear(auxiliary, one.weight, one.bias)), two.weight, two.bias)
        else:
            seen = torch.cat([style, auxiliary]) if kind == "skip" else style
            logits = two_layers(model.first, model.second, seen, digit)
        cost = binary_cross_entropy_with_logits(logits, image[n].flatten(), reduction="sum")
        torch.testing.assert_close(terms["image"][n], cost)
        known = torch.cat([model.features(image[n]), style]) if kind == "auxiliary" else style
        loc, log_scale = two_layers(model.third, model.moments, known, digit).chunk(2)
        torch.testing.assert_close(terms["auxiliary"][n], normal_energy(auxiliary, loc, log_scale))


def test_without_skip_integrating_the_auxiliary_latent_leaves_the_model_of_kingma():
    """Oracle: the energies of SemiSupervisedVAE with the same decoder; the integral by a sum on a grid."""
    model = made("auxiliary", auxiliary=1)
    plain = SemiSupervisedVAE((8, 9), classes=4, style=3, hidden=5).double()
    plain.first, plain.second = model.first, model.second
    image, drawn = latents()
    grid = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    draws = {name: value.expand(4001, *value.shape) for name, value in drawn.items()}
    draws["auxiliary"] = grid[:, None, None].expand(4001, 6, 1)
    with torch.no_grad():
        energies = EnergyView(model).bind(image).energy_per_datum(draws)
        integrated = -((-energies).logsumexp(0) + (grid[1] - grid[0]).log())
        del drawn["auxiliary"]
        torch.testing.assert_close(integrated, EnergyView(plain).bind(image).energy_per_datum(drawn))


@pytest.mark.parametrize(
    ("kind", "seen"),
    [("auxiliary", {"digit", "style"}), ("skip", {"digit", "style", "auxiliary"}), ("stacked", {"auxiliary"})],
)
def test_what_the_image_depends_on(kind, seen):
    image, drawn = latents()
    bound = EnergyView(made(kind)).bind(image)
    moved = {"digit": (drawn["digit"] + 1) % 4, "style": drawn["style"] + 0.5, "auxiliary": drawn["auxiliary"] + 0.5}
    before = bound.terms(drawn)["image"]
    after = {name: bound.terms(drawn | {name: value})["image"] for name, value in moved.items()}
    assert {name for name, energy in after.items() if not torch.equal(energy, before)} == seen


def test_another_kind_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match="kind must be one of auxiliary, skip, stacked, got 'deep'"):
        made("deep")


def test_a_simulated_image_has_the_mean_that_the_decoder_gives():
    model = made("skip")
    digit = torch.full((4000,), 2)
    with torch.no_grad():
        images = model(digit=digit)
        style = torch.randn(4000, 3).double()
        auxiliary = model.auxiliary_distribution(digit, style).sample()
        means = model.decode(digit, style, auxiliary).sigmoid()
    error = ((images.var(0) + means.var(0)) / 4000).sqrt()
    assert ((images.mean(0) - means.mean(0)).abs() < SIGMAS * error).all()
