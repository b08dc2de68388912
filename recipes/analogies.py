"""Analogies of digits and styles:  a is to b as c is to d, where b and d change the digit and keep the style."""

import torch
from matplotlib.figure import Figure

from ..data import ImageDataset
from .digit_pictures import digit_pair, first_of_each
from .image_grid import draw_grid
from .recipe import Recipe

__all__ = ["analogies"]


@torch.no_grad()
def analogies(test: ImageDataset, recipe: Recipe, step: int = 5) -> Figure:
    """For each digit two test images of it, a and c, and what the model makes of their styles as another, b and d.

    Args:
        test: images and digits that were not trained on, at least two of each digit.
        recipe: of a `SemiSupervisedVAE` and a `DigitAndStyle`.
        step: the digit k is changed to k + step, modulo the number of digits.

    Raises:
        ValueError: if there are fewer than two images of a digit.
    """
    model, guide = digit_pair(recipe)
    counts = test.digit.bincount(minlength=model.classes)
    if counts.min() < 2:
        raise ValueError(
            f"test must have two images of each digit for analogies, got {int(counts.min())} of {int(counts.argmin())}."
        )
    chosen = test.subset(first_of_each(test.digit, 2))
    style = guide.style_distribution(chosen.image, chosen.digit).mean
    changed = (chosen.digit + step) % model.classes
    rendered = model.decode(changed, style).sigmoid()
    images = torch.stack([chosen.image[0::2], rendered[0::2], chosen.image[1::2], rendered[1::2]])
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    names = [f"{old}→{new}" for old, new in zip(chosen.digit[0::2].tolist(), changed[0::2].tolist(), strict=True)]
    draw_grid(axes, images, ["a, test image", "b, its style", "c, test image", "d, its style"], names)
    axes.set_xlabel("digit of a and c → digit of b and d")
    figure.suptitle("a is to b as c is to d: the digit changes, and the style stays")
    return figure
