"""The auxiliary recipe on the embedded digits: what it shares with `ssvae`, and what its numbers and picture are."""

import numpy as np
import pytest
import torch

from pyrometer.guides import AuxiliaryEncoder
from pyrometer.models import AuxiliaryVAE
from pyrometer.recipes.digit_readings import digit_readings
from pyrometer.recipes.run import run
from pyrometer.recipes.ssvae import recipe as ssvae
from pyrometer.recipes.ssvae_auxiliary import auxiliary_digits, recipe


def test_a_short_run_reaches_more_than_chance_and_leaves_its_numbers(tmp_path):
    settings = {"hidden": 20, "labels": 200, "kind": "skip", "seed": 3}
    made, result, summary = run("ssvae_auxiliary", settings, tmp_path / "run", epochs=2, progress=False, compile=False)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert summary["test_accuracy"] > 0.3
    assert summary["free_energy"] < -summary["elbo"] + 4.3 * summary["elbo_error"]
    assert (tmp_path / "run" / "pictures" / "digit_by_style.png").exists()
    image, digit = made.held_out["image"], made.labels["digit"]
    said = made.guide.digit_distribution(image).probs.argmax(-1)
    assert summary["test_accuracy"] == pytest.approx((said == digit).double().mean().item())
    reached = digit_readings(made.model, made.guide, image[:150], draws=10).accuracies(digit[:150])
    assert min(reached.values()) > 0.3


def test_data_labels_and_objective_are_those_of_ssvae():
    made, other = recipe(labels=200, seed=5), ssvae(labels=200, seed=5)
    for stream in ("unlabelled", "labelled"):
        for name, values in made.data[stream].items():
            assert torch.equal(values, other.data[stream][name])
    assert torch.equal(made.labels["digit"], other.labels["digit"])
    assert repr(made.objective) == repr(other.objective)  # which shows the settings of the distortion, if there is one
    assert made.batch_size == other.batch_size


def test_a_setting_of_zero_is_what_suits_the_data_and_another_is_taken():
    made = recipe()
    assert (made.model.style, made.model.auxiliary, made.model.kind) == (5, 5, "auxiliary")
    made = recipe(style=3, auxiliary=2, hidden=11, epochs=7, kind="skip")
    assert (made.model.style, made.guide.auxiliary, made.epochs, made.model.kind) == (3, 2, 7, "skip")
    assert made.model.first.bias.shape == (10, 11)
    assert made.guide.features[1].out_features == 22


@pytest.mark.parametrize("kind", ["auxiliary", "skip", "stacked"])
def test_the_grid_has_styles_down_and_digits_across(kind):
    made = recipe(hidden=10, kind=kind)
    assert isinstance(made.model, AuxiliaryVAE)
    assert isinstance(made.guide, AuxiliaryEncoder)
    shown = np.asarray(auxiliary_digits(made).axes[0].images[0].get_array())
    digit, style = torch.tensor(6), torch.zeros(5)
    known = (made.model.auxiliary_distribution(digit, style).mean,) if kind != "auxiliary" else ()
    expected = made.model.decode(digit, style, *known).sigmoid().detach().numpy()
    assert shown.shape == (8 * 9 - 1, 10 * 9 - 1)  # one white pixel between two images
    np.testing.assert_allclose(shown[:8, 54:62], expected, atol=1e-6)
    assert not np.allclose(shown[9:17, 54:62], expected)
