"""Splits are disjoint, balanced, fixed by their seed, and disturb no other random number."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyrometer.data import ImageDataset, digits, semi_supervised_split, train_test_split

DIGITS = digits()


def numbered(counts: list[int]) -> ImageDataset:
    """``counts[k]`` images of digit k, each of which shows its own place, so that no two are alike."""
    digit = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return ImageDataset((torch.arange(len(digit)) / len(digit)).reshape(-1, 1, 1), digit)


def places(part: ImageDataset, size: int) -> list[int]:
    """Where the images of a part of `numbered` stood."""
    return (part.image.flatten() * size).round().int().tolist()


@given(
    counts=st.lists(st.integers(4, 20), min_size=2, max_size=10),
    test_fraction=st.floats(0.2, 0.8),
    seed=st.integers(0, 2**32),
)
def test_train_and_test_are_disjoint_together_everything_and_stratified(
    counts: list[int], test_fraction: float, seed: int
) -> None:
    whole = numbered(counts)
    train, test = train_test_split(whole, test_fraction, seed)
    assert sorted(places(train, len(whole)) + places(test, len(whole))) == list(range(len(whole)))
    for digit, count in enumerate(counts):
        assert abs(int((test.digit == digit).sum()) - test_fraction * count) <= 0.5 + 1e-9
    for part in (train, test):
        assert torch.equal(part.digit, whole.digit[places(part, len(whole))])


@given(
    each=st.integers(1, 6),
    validation=st.integers(0, 20),
    seed=st.integers(0, 2**32),
)
def test_a_semi_supervised_split_is_balanced_and_its_validation_set_is_apart(
    each: int, validation: int, seed: int
) -> None:
    whole = numbered([30, 31, 32])
    split = semi_supervised_split(whole, labels=3 * each, seed=seed, validation=validation)
    held_out = places(split.validation, len(whole)) if split.validation else []
    streams = split.streams()
    unlabelled = places(ImageDataset(streams["unlabelled"]["image"], torch.zeros(len(whole) - validation).long()), 93)
    assert split.labelled.digit.bincount().tolist() == [each] * 3
    assert len(held_out) == validation
    assert sorted(unlabelled + held_out) == list(range(len(whole)))
    assert set(places(split.labelled, len(whole))) <= set(unlabelled)  # the labelled images are in both streams
    assert torch.equal(streams["labelled"]["digit"], whole.digit[places(split.labelled, len(whole))])


def test_the_streams_are_named_as_fit_takes_them() -> None:
    split = semi_supervised_split(DIGITS, labels=100, seed=3)
    assert {name: sorted(stream) for name, stream in split.streams().items()} == {
        "unlabelled": ["image"],
        "labelled": ["digit", "image"],
    }
    assert split.validation is None


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    first, again, other = (semi_supervised_split(DIGITS, 50, seed, 200).labelled.image for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    train, again, other = (train_test_split(DIGITS, 0.3, seed).train.image for seed in (7, 7, 8))
    assert torch.equal(train, again)
    assert not torch.equal(train, other)


def test_more_labels_contain_the_fewer_and_leave_validation_alone() -> None:
    whole = numbered([40] * 5)
    few, many = (semi_supervised_split(whole, labels, seed=11, validation=60) for labels in (10, 75))
    assert set(places(few.labelled, 200)) < set(places(many.labelled, 200))
    assert few.validation is not None
    assert many.validation is not None
    assert torch.equal(few.validation.image, many.validation.image)


def test_labels_are_drawn_from_all_images_of_a_digit() -> None:
    """Over 400 seeds each of 8 images is drawn 100 times, give or take 4.3 binomial standard deviations of 8.7."""
    whole = numbered([8, 8])
    drawn = torch.zeros(16)
    for seed in range(400):
        drawn[places(semi_supervised_split(whole, labels=4, seed=seed).labelled, 16)] += 1
    assert ((drawn - 100).abs() <= 4.3 * (400 * 0.25 * 0.75) ** 0.5).all()


def test_splitting_draws_no_global_random_number() -> None:
    before = torch.get_rng_state()
    semi_supervised_split(DIGITS, 100, seed=5, validation=100)
    train_test_split(DIGITS, 0.25, seed=5)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("labels", "remedy"), [(7, 10), (97, 100), (0, 10), (-20, 10)])
def test_labels_that_cannot_be_shared_evenly_are_refused(labels: int, remedy: int) -> None:
    with pytest.raises(ValueError, match=rf"positive multiple of 10, .* got {labels}; ask for {remedy}\."):
        semi_supervised_split(DIGITS, labels, seed=5)


def test_more_labels_than_a_digit_has_are_refused_with_the_most_there_are() -> None:
    with pytest.raises(ValueError, match=r"at most 15 here, got 18, 6 for each digit, .* digit 1 has only 5 images"):
        semi_supervised_split(numbered([9, 5, 7]), labels=18, seed=5)


@pytest.mark.parametrize("validation", [-1, 1797, 5000])
def test_a_validation_set_that_leaves_nothing_is_refused(validation: int) -> None:
    with pytest.raises(ValueError, match=f"validation must be between 0 and 1796, .* got {validation};"):
        semi_supervised_split(DIGITS, 100, seed=5, validation=validation)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 450.0])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=f"test_fraction .* got {fraction}"):
        train_test_split(DIGITS, fraction)


def test_a_fraction_that_leaves_a_digit_out_is_refused() -> None:
    with pytest.raises(ValueError, match=r"takes 0 of the 3 images of digit 1"):
        train_test_split(numbered([90, 3]), 0.1)
