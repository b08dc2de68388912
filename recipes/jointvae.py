"""Digit and style without labels: the pair of `ssvae`, whose discrete latent is never supervised."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from matplotlib.figure import Figure

from ..data import ImageDataset
from ..guides import DigitAndStyle
from ..inference.svi import SummedLabel
from ..models import SemiSupervisedVAE
from .class_matching import agreement, contingency, match_classes
from .digit_images import parts, train_and_test
from .digit_pictures import render
from .image_grid import draw_grid
from .recipe import Recipe
from .ssvae import classify
from .vae import decay

__all__ = ["found_classes", "recipe"]


class Suits(NamedTuple):
    """Settings that depend on the data."""

    style: int
    hidden: int
    epochs: int
    learning_rate: float
    batch_size: int


SUITS = {"digits": Suits(3, 100, 60, 3e-3, 50), "mnist": Suits(10, 200, 20, 1e-3, 200)}
"""Those of digits were chosen on validation images, where they differ less than seeds do; those of MNIST were not."""


def recipe(
    *,
    data: str = "digits",
    style: int = 0,
    hidden: int = 0,
    epochs: int = 0,
    learning_rate: float = 0.0,
    price: float = 20.0,
    seed: int = 0,
) -> Recipe:
    """Digit and style without labels: the pair of `ssvae`, whose discrete latent is never supervised.

    ``data`` is digits (8 x 8, embedded) or mnist. The style costs ``price`` times its energy at first, and its own from
    the middle of the training on. The ten classes are matched with digits by the labels of validation images, a sixth
    of the training images, which the training does not see; test images then say how well. Where ``style``, ``hidden``,
    ``epochs`` or ``learning_rate`` is 0, it is what suits the data.
    """
    train, validation, test = parts(train_and_test(data, seed), seed)
    suits = SUITS[data]
    style, hidden = style or suits.style, hidden or suits.hidden
    shape = (test.image.shape[-2], test.image.shape[-1])
    return Recipe(
        model=SemiSupervisedVAE(shape, style=style, hidden=hidden),
        guide=DigitAndStyle(shape, style=style, hidden=2 * hidden),
        data={"image": train.image},
        held_out={"image": test.image},
        validation=validation.batch(),
        epochs=epochs or suits.epochs,
        objective=SummedLabel("digit", price),
        batch_size=suits.batch_size,
        optimizer=partial(torch.optim.Adam, lr=learning_rate or suits.learning_rate, betas=(0.9, 0.99)),
        schedule=decay,
        validate=partial(_agreement, "validation", validation, validation),
        score=partial(_agreement, "test", validation, test),
        pictures={"found_classes": partial(found_classes, validation, test)},
    )


@torch.no_grad()
def found_classes(naming: ImageDataset, test: ImageDataset, recipe: Recipe, rows: int = 4, seed: int = 0) -> Figure:
    """What each class generates, in the order of the digits it is matched with, and where the test images fall.

    Args:
        naming: images by whose digits classes are matched with digits.
        test: other images.
        recipe: of a `SemiSupervisedVAE` and a `DigitAndStyle`.
        rows: the mean style and draws from its prior, together.
        seed: of the draws.
    """
    model, guide = recipe.pair(SemiSupervisedVAE, DigitAndStyle, "pictures")
    matched = match_classes(classify(guide, naming.image), naming.digit, model.classes)
    order = matched.argsort()
    drawn = torch.randn(rows - 1, model.style, generator=torch.Generator().manual_seed(seed))
    images = render(model, torch.cat([torch.zeros(1, model.style), drawn]))[:, order]
    counts = contingency(classify(guide, test.image), test.digit, model.classes)[order]
    figure = Figure(figsize=(6.5, 1.2 + 0.58 * rows + 4.2), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[0.58 * rows, 4.2])
    names = [str(k) for k in matched[order].tolist()]
    draw_grid(above, images, ["mean", *[f"draw {row}" for row in range(1, rows)]], names)
    above.set(xlabel="class, by the digit it is matched with", ylabel="style")
    below.imshow(counts.T.sqrt().numpy(), cmap="Blues", aspect="auto")
    for place, count in enumerate(counts.T.flatten().tolist()):
        row, column = divmod(place, model.classes)
        dark = count > counts.max() / 3
        below.text(column, row, str(count or ""), ha="center", va="center", color="white" if dark else "black")
    below.set(xlabel="class, by the digit it is matched with", ylabel="true digit", yticks=range(counts.shape[1]))
    below.set_xticks(range(model.classes), names)
    below.set_title("test images: how many of a digit fall into a class", fontsize="medium")
    figure.suptitle("Classes that were found without labels")
    return figure


def _agreement(
    name: str,
    naming: ImageDataset,
    images: ImageDataset,
    model: SemiSupervisedVAE,
    guide: DigitAndStyle,
) -> Mapping[str, float]:
    matched = match_classes(classify(guide, naming.image), naming.digit, model.classes)
    reached = agreement(classify(guide, images.image), images.digit, matched)
    return {f"{name}_accuracy": reached.accuracy, f"{name}_mutual_information": reached.mutual_information}
