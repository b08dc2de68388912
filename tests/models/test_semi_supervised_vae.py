"""The digit-and-style model's energy against its formula, term by term."""

import math

import pyro
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from pyrometer import EnergyView
from pyrometer.guides import DigitAndStyle
from pyrometer.models import GreyBernoulli, SemiSupervisedVAE


@pytest.fixture
def model():
    return SemiSupervisedVAE((8, 9), classes=4, style=3, hidden=5).double()


def test_the_energy_is_the_formula(model):
    image, digit = torch.rand(6, 8, 9, dtype=torch.float64), torch.randint(4, (6,))
    style = torch.randn(6, 3, dtype=torch.float64)
    terms = EnergyView(model).bind(image).terms({"digit": digit, "style": style})
    torch.testing.assert_close(terms["digit"], torch.full((6,), math.log(4), dtype=torch.float64))
    torch.testing.assert_close(terms["style"], (style**2).sum(-1) / 2 + 1.5 * math.log(2 * math.pi))
    logits = model.decode(digit, style)
    pixels = binary_cross_entropy_with_logits(logits, image, reduction="none").sum((-1, -2))
    torch.testing.assert_close(terms["image"], pixels)


def test_the_decoder_has_weights_for_each_digit(model):
    style = torch.randn(3, dtype=torch.float64)
    hidden = (model.first.weight[2] @ style + model.first.bias[2]).relu()
    logits = (model.second.weight[2] @ hidden + model.second.bias[2]).reshape(8, 9)
    torch.testing.assert_close(model.decode(torch.tensor(2), style), logits)


def test_the_free_energy_of_an_image_is_the_sum_over_its_digits(model):
    guide = DigitAndStyle((8, 9), classes=4, style=3, hidden=5).double().eval()
    image = torch.rand(1, 8, 9, dtype=torch.float64)
    view = EnergyView(model)
    whole = view.bind(image).free_energy(method="importance", guide=guide, draws=4000)
    hypotheses = [view.bind(image, torch.tensor([k])) for k in range(4)]
    each = [one.free_energy(method="importance", guide=guide, draws=4000) for one in hypotheses]
    total = -torch.logsumexp(-torch.stack([one.value for one in each]), 0)
    error = torch.stack([whole.standard_error, *(one.standard_error for one in each)]).norm()
    assert (whole.value - total).abs() < 4.3 * error
    assert error < 0.1


def test_grey_pixels_interpolate_the_bernoulli():
    logits = torch.tensor([-2.0, 0.5, 3.0])
    for bit in (0.0, 1.0):
        expected = torch.distributions.Bernoulli(logits=logits).log_prob(torch.tensor(bit))
        torch.testing.assert_close(GreyBernoulli(logits=logits).log_prob(torch.tensor(bit)), expected)


def test_pixels_outside_the_unit_interval_are_refused(model):
    with pytest.raises(ValueError, match="support"):
        pyro.poutine.trace(model).get_trace(torch.full((2, 8, 9), 1.5, dtype=torch.float64)).compute_log_prob()
