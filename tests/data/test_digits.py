"""The embedded digits are scikit-learn's, as fractions of ink."""

import numpy as np
import torch
from sklearn.datasets import load_digits

from pyrometer.data import digits


def test_the_digits_are_scikit_learns_divided_by_sixteen() -> None:
    pixels, labels = load_digits(return_X_y=True)
    ours = digits()
    assert np.array_equal(ours.image.numpy().reshape(-1, 64) * 16, pixels)
    assert np.array_equal(ours.digit.numpy(), labels)


def test_the_digits_have_the_documented_shapes_and_types() -> None:
    ours = digits()
    assert ours.image.shape == (1797, 8, 8)
    assert (ours.image.dtype, ours.digit.dtype) == (torch.float32, torch.int64)
    assert (ours.image.min(), ours.image.max()) == (0.0, 1.0)
    assert len(ours) == 1797


def test_every_digit_occurs_some_180_times() -> None:
    counts = digits().digit.bincount(minlength=10)
    assert len(counts) == 10
    assert counts.min() >= 170
    assert counts.max() <= 190


def test_two_calls_share_no_memory() -> None:
    first = digits()
    first.image.zero_()
    assert digits().image.sum() > 0
