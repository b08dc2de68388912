"""The settings of the recipe `ssvae`: who teaches its classifier about unlabelled images, and when."""

import pytest

from pyrometer.recipes.ssvae import recipe

PROGRESS = (0.05, 0.175, 0.25, 0.4, 0.7, 1.0)


def weights(**settings):
    """Of the bound and of agreement, along the training."""
    objective = recipe(labels=20, **settings).objective
    found = [objective.numbers(progress) for progress in PROGRESS]
    return [one["weight"] for one in found], [one["agreement"] for one in found]


def test_without_consistency_the_bound_teaches_to_the_end():
    """Oracle: by hand, half of the ramp at 0.175 and all of it at 0.25."""
    bound, agreement = weights()
    assert bound == pytest.approx([0, 0.5, 1, 1, 1, 1])
    assert agreement == [0] * 6


def test_beside_consistency_the_bound_teaches_at_first_and_decays_with_the_learning_rate():
    bound, agreement = weights(consistency=2.0)
    assert bound == pytest.approx([0, 0.15, 0.3, 0.3, 0.15, 0])
    assert agreement == pytest.approx([0, 1, 2, 2, 2, 2])


@pytest.mark.parametrize("consistency", [0.0, 1.0])
def test_how_much_the_bound_teaches_is_a_setting(consistency):
    usual, _ = weights(consistency=consistency)
    fivefold, _ = weights(consistency=consistency, self_training=5 * usual[2])
    assert fivefold == pytest.approx([5 * one for one in usual])
    assert weights(consistency=consistency, self_training=0.0)[0] == [0] * 6


def test_the_classifier_learns_from_copies_where_it_is_to_be_consistent():
    assert recipe(labels=20).objective.augment is None
    assert recipe(labels=20, consistency=1.0).objective.augment is not None
