"""What an image and its digit must be, checked once before anything is computed from them."""

import torch
from torch import Tensor

CLASSES = 10


def check_images(image: Tensor, digit: Tensor | None = None) -> None:
    """Refuses images and digits that no Bernoulli image model of the ten digits can explain.

    Args:
        image: (N, H, W), floating point, each pixel in [0, 1], nothing missing.
        digit: (N,), int64, each in 0-9; ``None`` where the images carry no labels.

    Raises:
        TypeError: where one of them is no tensor, or has the wrong kind of number.
        ValueError: for a wrong shape, a pixel outside [0, 1] or NaN, or a label outside 0-9; the message gives the
            first offender, its place and how many there are.

    Example:
        >>> import torch
        >>> check_images(torch.full((2, 8, 8), 0.25), torch.tensor([3, 9]))
        >>> check_images(torch.full((2, 8, 8), 16.0))
        Traceback (most recent call last):
        ...
        ValueError: image must have every pixel in [0, 1]: 128 of 128 lie outside, the first is 16.0 at (0, 0, 0); ...
    """
    _check_pixels(image)
    if digit is not None:
        _check_labels(digit, len(image))


def _check_pixels(image: Tensor) -> None:
    if not isinstance(image, Tensor) or not image.is_floating_point():
        raise TypeError(
            f"image must be a floating-point tensor with pixels in [0, 1], got {_kind(image)}; "
            "convert it, for bytes by image.float() / 255."
        )
    if image.ndim != 3 or image.numel() == 0:
        raise ValueError(
            f"image must have shape (N, H, W) with at least one pixel, got {tuple(image.shape)}; "
            "drop a channel axis by image.squeeze(1), add a data axis by image[None]."
        )
    outside = ~((image >= 0) & (image <= 1))  # written so that NaN, which fails every comparison, counts as outside
    if outside.any():
        place = tuple(int(i) for i in outside.nonzero()[0])
        raise ValueError(
            f"image must have every pixel in [0, 1]: {int(outside.sum())} of {image.numel()} lie outside, "
            f"the first is {image[place].item()} at {place}; scale the images (bytes by 1/255), and drop or "
            "repair those with missing values."
        )


def _check_labels(digit: Tensor, size: int) -> None:
    if not isinstance(digit, Tensor) or digit.dtype != torch.int64:
        raise TypeError(f"digit must be an int64 tensor of labels 0-9, got {_kind(digit)}; convert it by digit.long().")
    if digit.shape != (size,):
        raise ValueError(
            f"digit must have shape ({size},), one label for each image, got {tuple(digit.shape)}; "
            "pass the labels of exactly these images, as class numbers (one-hot rows by one_hot.argmax(-1))."
        )
    outside = (digit < 0) | (digit >= CLASSES)
    if outside.any():
        place = int(outside.nonzero()[0])
        raise ValueError(
            f"digit must lie in 0-9: {int(outside.sum())} of {size} labels do not, the first is "
            f"{int(digit[place])} at {place}; remove those images or renumber the classes from 0."
        )


def _kind(value: object) -> str:
    """What came instead, in words."""
    return f"a tensor of {value.dtype}" if isinstance(value, Tensor) else f"{type(value).__name__}"
