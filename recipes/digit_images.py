"""Digit images by the name of their data, in the parts that recipes train on, choose by and are judged by."""

from typing import NamedTuple

from ..data import ImageDataset, TrainTest, digits, mnist, train_test_split

__all__ = ["VALIDATION", "Parts", "parts", "train_and_test"]

VALIDATION = 1 / 6
"""The part of the training images that is held back, for choosing settings and naming classes."""


class Parts(NamedTuple):
    """What is trained on, what settings are chosen by, and what judges the result."""

    train: ImageDataset
    validation: ImageDataset
    test: ImageDataset


def train_and_test(data: str, seed: int) -> TrainTest:
    """``digits`` (8 x 8, embedded), split by the seed, or ``mnist``, whose test images are its own.

    Raises:
        ValueError: if there are no data of that name.
    """
    if data == "digits":
        return train_test_split(digits(), seed=seed)
    if data == "mnist":
        return mnist()
    raise ValueError(f"setting 'data' must be digits or mnist, got {data!r}.")


def parts(data: TrainTest, seed: int) -> Parts:
    """Images with a part of those for training held back."""
    return Parts(*train_test_split(data.train, VALIDATION, seed), data.test)
