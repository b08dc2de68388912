"""Energies and log-probabilities by label, against Pyro's ELBO with the label given, and the guide's own classifier."""

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO

from pyrometer.guides import DigitAndStyle
from pyrometer.inference.svi.enumerated_label import (
    enumerate_label,
    label_log_prob,
    label_log_probs,
    log_probs_by_label,
    total,
)
from pyrometer.models import SemiSupervisedVAE


@pytest.fixture
def pair():
    model = SemiSupervisedVAE((8, 8), classes=4, style=3, hidden=6).double()
    return model, DigitAndStyle((8, 8), classes=4, style=3, hidden=6).double().eval()


@pytest.fixture
def image():
    return torch.rand(7, 8, 8, dtype=torch.float64)


def test_each_label_has_its_free_energy(pair, image):
    model, guide = pair
    pyro.set_rng_seed(3)
    free_energy, log_q = enumerate_label(model, guide, "digit", {"image": image})
    assert free_energy.shape == log_q.shape == (4, 7)
    torch.testing.assert_close(log_q.exp().sum(0), torch.ones(7, dtype=torch.float64))
    digit = torch.full((7,), 2)
    with torch.no_grad():
        draws = torch.stack([enumerate_label(model, guide, "digit", {"image": image})[0][2] for _ in range(300)])
        elbos = torch.stack(
            [torch.tensor(Trace_ELBO().loss(model, guide, image=image, digit=digit)) for _ in range(300)]
        )
    error = (draws.sum(-1).var() / 300 + elbos.var() / 300).sqrt()
    assert (draws.sum(-1).mean() - elbos.mean()).abs() < 4.3 * error


def test_the_label_is_scored_by_the_guide_without_seeing_it(pair, image):
    _, guide = pair
    digit = torch.tensor([0, 3, 1, 1, 2, 0, 3])
    q = guide.digit_distribution(image)
    torch.testing.assert_close(label_log_prob(guide, "digit", {"image": image, "digit": digit}), q.log_prob(digit))
    torch.testing.assert_close(label_log_probs(guide, "digit", {"image": image}), q.logits.T)


def test_the_parts_add_up_to_the_free_energy(pair, image):
    pyro.set_rng_seed(3)
    free_energy, log_q = enumerate_label(*pair, "digit", {"image": image})
    pyro.set_rng_seed(3)
    same, of_guide, of_model = log_probs_by_label(*pair, "digit", {"image": image})
    assert of_guide.keys() == {"style"}
    assert of_model.keys() == {"digit", "style", "image"}
    torch.testing.assert_close(total(of_guide) - total(of_model), free_energy)
    torch.testing.assert_close(same, log_q)


def test_a_label_that_the_guide_does_not_have_is_named(pair, image):
    with pytest.raises(ValueError, match="label must be a site of the guide, got 'kind'"):
        enumerate_label(*pair, "kind", {"image": image})
