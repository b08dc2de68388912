"""What the classifiers are given is what they should be given; how well they do is scikit-learn's affair."""

import torch

from pyrometer.data import ImageDataset, digits, semi_supervised_split, train_test_split
from pyrometer.recipes.label_baselines import BASELINES, label_baselines


def test_both_classifiers_are_judged_on_the_test_images():
    """Oracle: with test labels that are wrong by one everywhere, an accuracy near one becomes one near zero."""
    both = train_test_split(digits(), seed=2)
    streams = semi_supervised_split(both.train, 200, seed=2).streams()
    right = label_baselines(streams, both.test)
    wrong = label_baselines(streams, ImageDataset(both.test.image, (both.test.digit + 1) % 10))
    assert list(right) == list(BASELINES)
    assert all(value > 0.85 for value in right.values())
    assert all(value < 0.05 for value in wrong.values())


def test_label_spreading_learns_from_the_unlabelled_images_and_logistic_regression_does_not():
    both = train_test_split(digits(), seed=2)
    streams = semi_supervised_split(both.train, 100, seed=2).streams()
    few = streams | {"unlabelled": {"image": streams["unlabelled"]["image"][:150]}}
    many, fewer = label_baselines(streams, both.test), label_baselines(few, both.test)
    assert many["logistic regression"] == fewer["logistic regression"]
    assert many["label spreading"] > fewer["label spreading"] + 0.02


def test_a_labelled_image_that_is_also_unlabelled_counts_once():
    both = train_test_split(digits(), seed=2)
    streams = semi_supervised_split(both.train, 200, seed=2).streams()
    image = streams["unlabelled"]["image"]
    labelled = streams["labelled"]["image"]
    others = torch.stack([one for one in image if not (one == labelled).flatten(1).all(1).any()])
    assert len(others) == len(image) - 200
    without = {"unlabelled": {"image": others}, "labelled": streams["labelled"]}
    assert label_baselines(streams, both.test) == label_baselines(without, both.test)
