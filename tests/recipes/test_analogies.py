"""Analogies against the decoder at the styles that the guide infers."""

import numpy as np
import pytest
import torch

from pyrometer.data import digits, train_test_split
from pyrometer.guides import DigitAndStyle
from pyrometer.models import SemiSupervisedVAE
from pyrometer.recipes import Recipe
from pyrometer.recipes.analogies import analogies


@pytest.fixture
def test():
    return train_test_split(digits(), seed=3).test


def untrained():
    model, guide = SemiSupervisedVAE((8, 8), style=3, hidden=6), DigitAndStyle((8, 8), style=3, hidden=6)
    return Recipe(model=model.eval(), guide=guide.eval(), data={}, held_out={}, epochs=1)


def test_below_an_image_stands_its_style_as_another_digit(test):
    made = untrained()
    shown = np.asarray(analogies(test, made, step=3).axes[0].images[0].get_array())
    assert shown.shape == (4 * 9 - 1, 10 * 9 - 1)
    fours = test.image[test.digit == 4][:2]
    style = made.guide.style_distribution(fours, torch.tensor([4, 4])).mean
    sevens = made.model.decode(torch.tensor([7, 7]), style).sigmoid().detach()
    for row, expected in enumerate((fours[0], sevens[0], fours[1], sevens[1])):
        np.testing.assert_allclose(shown[9 * row : 9 * row + 8, 36:44], expected, atol=1e-6)


def test_a_digit_without_two_images_is_refused(test):
    few = test.subset((test.digit != 3).nonzero().squeeze(1))
    with pytest.raises(ValueError, match="two images of each digit for analogies, got 0 of 3"):
        analogies(few, untrained())
