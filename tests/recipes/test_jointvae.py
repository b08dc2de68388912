"""Digit and style without labels, on the embedded digits: what it sees, what it reaches, and what its picture says."""

import numpy as np
import pytest
import torch

from pyrometer.data import digits
from pyrometer.inference.svi import SummedLabel
from pyrometer.models import FactorAnalysis
from pyrometer.recipes import Recipe
from pyrometer.recipes.class_matching import agreement, contingency, match_classes
from pyrometer.recipes.jointvae import found_classes, recipe
from pyrometer.recipes.run import run


def test_no_label_is_trained_on_and_every_image_is_seen_once():
    made = recipe(hidden=10, seed=3)
    assert set(made.data) == {"image"}
    validation, test = made.score.args[1:]
    parts = torch.cat([made.data["image"], validation.image, test.image])
    assert sorted(parts.flatten(1).tolist()) == sorted(digits().image.flatten(1).tolist())
    assert torch.equal(made.held_out["image"], test.image)


def test_a_short_training_finds_most_digits(tmp_path):
    """Ten classes found by chance agree with a tenth of the digits, and k-means with some eight tenths."""
    how = {"epochs": 16, "progress": False, "compile": False}
    made, result, summary = run("jointvae", {"hidden": 40, "seed": 1}, tmp_path / "run", **how)
    assert isinstance(made.objective, SummedLabel)
    first, last = (result.history[i]["validation_accuracy"] for i in (0, -1))
    assert first < 0.4 < 0.55 < last
    assert 0.5 < summary["test_accuracy"] < 1
    assert 0.5 < summary["test_mutual_information"] < 1
    assert (tmp_path / "run" / "pictures" / "found_classes.png").exists()
    validation, test = made.score.args[1:]
    with torch.no_grad():
        named, found = (made.guide.digit_distribution(one.image).logits.argmax(-1) for one in (validation, test))
    reached = agreement(found, test.digit, match_classes(named, validation.digit))
    assert summary["test_accuracy"] == reached.accuracy
    assert summary["test_mutual_information"] == pytest.approx(reached.mutual_information)


def test_the_picture_has_classes_in_the_order_of_their_digits_and_counts_all_test_images():
    made = recipe(hidden=10, seed=3)
    validation, test = made.score.args[1:]
    model, guide = made.model.eval(), made.guide.eval()
    above, below = found_classes(validation, test, made).axes
    with torch.no_grad():
        named, found = (guide.digit_distribution(one.image).logits.argmax(-1) for one in (validation, test))
        order = match_classes(named, validation.digit).argsort()
        mean_style = model.decode(order, torch.zeros(10, 3)).sigmoid()
    shown = np.asarray(above.images[0].get_array())
    np.testing.assert_allclose(shown[:8, 27:35], mean_style[3], atol=1e-6)
    counts = contingency(found, test.digit)[order].T
    written = [int(text.get_text() or 0) for text in below.texts]
    assert written == counts.flatten().tolist()
    assert sum(written) == len(test)


def test_a_setting_of_zero_is_what_suits_the_data_and_another_is_taken():
    assert (recipe().model.style, recipe().epochs) == (3, 60)
    made = recipe(style=2, hidden=11, epochs=7, learning_rate=0.02, price=5.0)
    assert (made.model.style, made.epochs, made.objective.price) == (2, 7, 5.0)
    assert made.model.first.bias.shape == (10, 11)
    assert made.optimizer(list(made.model.parameters())).param_groups[0]["lr"] == 0.02


def test_unknown_data_and_other_pairs_are_refused():
    with pytest.raises(ValueError, match="'data' must be digits or mnist, got 'letters'"):
        recipe(data="letters")
    made = recipe(hidden=10)
    other = Recipe(model=FactorAnalysis(4, 2), guide=made.guide, data={}, held_out={}, epochs=1)
    with pytest.raises(TypeError, match="got FactorAnalysis and DigitAndStyle"):
        found_classes(*made.score.args[1:], other)
