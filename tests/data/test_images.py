"""A set of images keeps each image beside its own label."""

import pytest
import torch

from pyrometer.data import ImageDataset


def small() -> ImageDataset:
    """Four images of 2 x 3, each filled with a tenth of its digit."""
    digit = torch.tensor([3, 0, 9, 5])
    return ImageDataset((digit / 10).float()[:, None, None].expand(4, 2, 3).clone(), digit)


def test_a_subset_keeps_images_and_labels_together_in_the_order_asked_for() -> None:
    part = small().subset(torch.tensor([2, 0]))
    assert part.digit.tolist() == [9, 3]
    assert torch.equal(part.image[:, 0, 0], torch.tensor([0.9, 0.3]))


def test_a_subset_is_a_copy() -> None:
    whole = small()
    whole.subset(torch.tensor([1])).image.fill_(1.0)
    assert whole.image[1].max() == 0.0


def test_a_batch_is_named_by_site() -> None:
    whole = small()
    assert {name: tuple(value.shape) for name, value in whole.batch().items()} == {"image": (4, 2, 3), "digit": (4,)}


def test_a_set_with_a_wrong_label_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="digit must lie in 0-9: .* 10 at 1"):
        ImageDataset(torch.zeros(2, 2, 3), torch.tensor([4, 10]))
