"""The 8 x 8 handwritten digits that scikit-learn carries: small, real, and there without a network."""

import torch
from sklearn.datasets import load_digits

from .images import ImageDataset

INK_LEVELS = 16


def digits() -> ImageDataset:
    """1,797 images of 8 x 8 pixels in [0, 1], some 180 of each digit; always the same, in the same order.

    Each pixel counts the inked points of a 4 x 4 cell of a 32 x 32 bitmap, 0-16, and is divided by 16 here, so that
    it is the fraction of its cell that is black.

    Source: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, https://doi.org/10.24432/C50P49 (its test part, as scikit-learn distributes it).

    Example:
        >>> from pyrometer.data import digits
        >>> digits()
        ImageDataset(1797 images of 8 x 8)
        >>> digits().digit[:5]
        tensor([0, 1, 2, 3, 4])
    """
    pixels, labels = load_digits(return_X_y=True)
    image = torch.as_tensor(pixels, dtype=torch.float32).reshape(-1, 8, 8) / INK_LEVELS
    return ImageDataset(image, torch.as_tensor(labels, dtype=torch.int64))
