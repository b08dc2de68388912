"""A set of digit images with their labels, held whole in memory."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from .checks import check_images


@dataclass(frozen=True, eq=False)  # equality of tensors is a tensor, so the generated one would not answer
class ImageDataset:
    """N grey images with the digit that each shows; checked when made.

    Attributes:
        image: (N, H, W), floating point, in [0, 1].
        digit: (N,), int64, in 0-9.

    Raises:
        TypeError, ValueError: from `check_images`, where a pixel or a label cannot be one.

    Example:
        >>> import torch
        >>> pair = ImageDataset(torch.tensor([[[0.0, 0.5]], [[1.0, 0.25]]]), torch.tensor([7, 2]))
        >>> pair
        ImageDataset(2 images of 1 x 2)
        >>> pair.subset(torch.tensor([1])).digit
        tensor([2])
    """

    image: Tensor
    digit: Tensor

    def __post_init__(self) -> None:
        """Refuses what no digit image can be."""
        check_images(self.image, self.digit)

    def __len__(self) -> int:
        """N, the number of images."""
        return len(self.image)

    def __repr__(self) -> str:
        """The sizes alone: the pixels of 60,000 images say nothing on a terminal."""
        size, height, width = self.image.shape
        return f"ImageDataset({size} images of {height} x {width})"

    def subset(self, index: Tensor) -> "ImageDataset":
        """The images at ``index`` (M,), int64, in that order, as copies."""
        return ImageDataset(self.image[index], self.digit[index])

    def batch(self) -> dict[str, Tensor]:
        """Everything as one batch by site name: ``{"image": (N, H, W), "digit": (N,)}``."""
        return {"image": self.image, "digit": self.digit}


class TrainTest(NamedTuple):
    """What a model may learn from, and what only its final judgement may see."""

    train: ImageDataset
    test: ImageDataset
