"""A small convolutional classifier of images of any size."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["ImageClassifier"]


class ImageClassifier(nn.Module):
    r"""Logits of K classes from a grey image: convolutions, dropout, and one linear layer.

    In training mode Gaussian noise of scale ``noise`` is added to the pixels, which regularises it where labels are
    few. In evaluation mode it is a deterministic function of each image by itself.

    Args:
        shape: height and width of the images, each at least 8.
        classes: the number of classes K.
        channels: those of each convolution.
        strides: by how much each convolution makes the image smaller.
        dropout: the probability of leaving out a feature before the last layer.
        noise: the standard deviation of the noise on the pixels in training mode.

    Shapes: ``image`` (..., H, W) to logits (..., K).

    Example:
        >>> ImageClassifier((8, 8), classes=10)(torch.rand(5, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        shape: tuple[int, int],
        classes: int = 10,
        channels: Sequence[int] = (16, 32, 64),
        strides: Sequence[int] = (2, 2, 2),
        dropout: float = 0.5,
        noise: float = 0.3,
    ) -> None:
        super().__init__()
        if min(shape) < 8:
            raise ValueError(f"shape must be at least (8, 8) for the convolutions, got {tuple(shape)}.")
        if not 0 < len(channels) == len(strides):
            raise ValueError(f"channels and strides must have one number a convolution, got {channels} and {strides}.")
        self.noise = noise
        kernels = [5] + [3] * (len(channels) - 1)
        sizes = zip([1, *channels], channels, kernels, strides, strict=False)
        convolutions = [nn.Conv2d(old, new, kernel, stride, kernel // 2) for old, new, kernel, stride in sizes]
        blocks = [layer for convolution in convolutions for layer in _block(convolution)]
        self.features = nn.Sequential(*blocks, nn.Flatten(), nn.Dropout(dropout))
        with torch.no_grad():
            size = self.features.eval()(torch.zeros(1, 1, *shape)).shape[-1]
        self.features.train()
        self.logits = nn.Linear(size, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the classes, (..., K)."""
        if self.training:
            image = image + self.noise * torch.randn_like(image)
        flat = image.reshape(-1, 1, *image.shape[-2:])
        return self.logits(self.features(flat)).reshape(*image.shape[:-2], -1)


def _block(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]
