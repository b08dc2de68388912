"""Seeded splits of a labelled set: training and test, and the few labels of semi-supervised learning.

Every split draws from a generator of its own, so it depends on its arguments alone and disturbs no other random number.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .images import ImageDataset, TrainTest


def train_test_split(dataset: ImageDataset, test_fraction: float = 0.25, seed: int = 0) -> TrainTest:
    """Splits off a test set that holds the same fraction of every digit, to the nearest whole image.

    Args:
        dataset: N labelled images.
        test_fraction: of each digit's images, strictly between 0 and 1.
        seed: which of the possible splits.

    Returns:
        The two parts, disjoint and together everything, each in random order.

    Raises:
        ValueError: where the fraction is not between 0 and 1, or so extreme that a digit would be missing from a part.

    Example:
        >>> from pyrometer.data import digits, train_test_split
        >>> train_test_split(digits(), test_fraction=0.25, seed=3)
        TrainTest(train=ImageDataset(1347 images of 8 x 8), test=ImageDataset(450 images of 8 x 8))
    """
    if not 0 < test_fraction < 1:
        raise ValueError(
            f"test_fraction must lie strictly between 0 and 1, got {test_fraction}; for a number of images n, "
            f"pass n / {len(dataset)}."
        )
    order = _shuffled(len(dataset), seed, dataset.digit.device)
    test = torch.zeros(len(dataset), dtype=torch.bool, device=order.device)
    for digit, places in _by_digit(dataset.digit[order]).items():
        count = round(len(places) * test_fraction)
        if count in (0, len(places)):
            raise ValueError(
                f"test_fraction must leave every digit in both parts, got {test_fraction}, which takes {count} of the "
                f"{len(places)} images of digit {digit}; choose one nearer to 0.5, or add images."
            )
        test[places[:count]] = True
    return TrainTest(dataset.subset(order[~test]), dataset.subset(order[test]))


@dataclass(frozen=True, eq=False)
class SemiSupervisedSplit:
    """Images of which only a few may show their label.

    Attributes:
        unlabelled: (M, H, W), every image outside the validation set, the labelled ones included: an image is evidence
            about p(image) whether or not its label is known, so the unlabelled stream runs over all of them.
        labelled: the few with labels, the same number of each digit.
        validation: held out from both, to choose hyper-parameters by; ``None`` where none were asked for.
    """

    unlabelled: Tensor
    labelled: ImageDataset
    validation: ImageDataset | None

    def streams(self) -> dict[str, dict[str, Tensor]]:
        """The two streams for `fit`, by name: ``unlabelled`` has ``image``, ``labelled`` ``image`` and ``digit``."""
        return {"unlabelled": {"image": self.unlabelled}, "labelled": self.labelled.batch()}


def semi_supervised_split(dataset: ImageDataset, labels: int, seed: int, validation: int = 0) -> SemiSupervisedSplit:
    """Keeps the labels of a few images, as many of each digit, and forgets the rest.

    For one seed the validation set does not depend on ``labels``, and fewer labels are a subset of more: what changes
    with the number of labels is their number alone.

    Args:
        dataset: N labelled images, for training only: give no test images.
        labels: how many keep theirs, over all digits together: a positive multiple of the number of digits present, or
            all there are outside the validation set.
        seed: which of the possible splits.
        validation: how many images to hold out, with their labels, drawn evenly from all.

    Raises:
        ValueError: where the labels cannot be shared evenly, a digit has too few images, or none are left to train on.

    Example:
        >>> from pyrometer.data import digits, semi_supervised_split
        >>> split = semi_supervised_split(digits(), labels=100, seed=5, validation=297)
        >>> split.labelled.digit.bincount()
        tensor([10, 10, 10, 10, 10, 10, 10, 10, 10, 10])
        >>> {name: tuple(stream["image"].shape) for name, stream in split.streams().items()}
        {'unlabelled': (1500, 8, 8), 'labelled': (100, 8, 8)}
    """
    if not 0 <= validation < len(dataset):
        raise ValueError(
            f"validation must be between 0 and {len(dataset) - 1}, so that images are left to train on, "
            f"got {validation}; hold out fewer."
        )
    order = _shuffled(len(dataset), seed, dataset.digit.device)
    held_out, training = order[:validation], order[validation:]
    places = _labelled_places(dataset.digit[training], labels)
    return SemiSupervisedSplit(
        unlabelled=dataset.image[training],
        labelled=dataset.subset(training[places]),
        validation=dataset.subset(held_out) if validation else None,
    )


def _labelled_places(digit: Tensor, labels: int) -> Tensor:
    """The first places of each digit, the same number of each; ``digit`` (M,) comes shuffled."""
    if labels == len(digit):
        return torch.arange(len(digit), device=digit.device)
    places = _by_digit(digit)
    if labels <= 0 or labels % len(places):
        raise ValueError(
            f"labels must be a positive multiple of {len(places)}, the number of digits present, so that each gets as "
            f"many, got {labels}; ask for {_nearest(labels, places)}. (All {len(digit)} can be kept, too.)"
        )
    each = labels // len(places)
    fewest = min(places, key=lambda one: len(places[one]))
    if each > len(places[fewest]):
        raise ValueError(
            f"labels must be at most {len(places[fewest]) * len(places)} here, got {labels}, {each} for each digit, "
            f"but outside the validation set digit {fewest} has only {len(places[fewest])} images; ask for fewer "
            "labels or a smaller validation set."
        )
    return torch.cat([where[:each] for where in places.values()])


def _nearest(labels: int, places: dict[int, Tensor]) -> int:
    """The number of labels nearest to that asked for that can be shared evenly."""
    most = min(len(where) for where in places.values())
    return min(most, max(1, round(labels / len(places)))) * len(places)


def _shuffled(size: int, seed: int, device: torch.device) -> Tensor:
    """A permutation of 0..size-1, the same on every device."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed)).to(device)


def _by_digit(digit: Tensor) -> dict[int, Tensor]:
    """The places of each digit that occurs, in order: {digit: (n,)}."""
    return {value: (digit == value).nonzero().squeeze(1) for value in digit.unique().tolist()}
