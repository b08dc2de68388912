"""Digit and style with an auxiliary latent: the recipe `ssvae`, whose guide may mix over what it conditions on."""

from dataclasses import replace

import torch
from matplotlib.figure import Figure

from ..guides import AuxiliaryEncoder
from ..models import AuxiliaryVAE
from ..networks import ImageClassifier
from .image_grid import draw_grid
from .recipe import Recipe
from .ssvae import SUITS
from .ssvae import recipe as ssvae

__all__ = ["auxiliary_digits", "recipe"]


def recipe(
    *,
    data: str = "digits",
    labels: int = 100,
    kind: str = "auxiliary",
    style: int = 0,
    auxiliary: int = 0,
    hidden: int = 0,
    epochs: int = 0,
    learning_rate: float = 0.0,
    labelled_fraction: float = 0.25,
    classification_weight: float = 1.0,
    self_training: float = -1.0,
    consistency: float = -1.0,
    seed: int = 0,
) -> Recipe:
    """Digit and style with an auxiliary latent: the recipe `ssvae`, whose guide may mix over what it conditions on.

    ``kind`` is auxiliary; skip, where the image depends on the auxiliary latent too; or stacked, where it does on that
    alone (M1+M2, both trained at once). The auxiliary latent has ``auxiliary`` dimensions, by default as many as the
    style. Data, objective and the other settings are those of `ssvae`. Accuracies are those of the guide at the mean of
    the auxiliary latent.
    """
    shared = {"data": data, "labels": labels, "style": style, "hidden": hidden, "seed": seed}
    made = ssvae(
        **shared,
        epochs=epochs,
        learning_rate=learning_rate,
        labelled_fraction=labelled_fraction,
        classification_weight=classification_weight,
        self_training=self_training,
        consistency=consistency,
    )
    shape = (made.held_out["image"].shape[-2], made.held_out["image"].shape[-1])
    suits = SUITS[data]
    style, hidden = style or suits.style, hidden or suits.hidden
    sizes = {"style": style, "auxiliary": auxiliary or style}
    evidence = ImageClassifier(shape, 2 * hidden, channels=suits.channels, strides=suits.strides)
    return replace(
        made,
        model=AuxiliaryVAE(shape, **sizes, hidden=hidden, kind=kind),
        guide=AuxiliaryEncoder(shape, **sizes, hidden=2 * hidden, evidence=evidence),
        pictures={"digit_by_style": auxiliary_digits},
    )


@torch.no_grad()
def auxiliary_digits(recipe: Recipe, rows: int = 8, seed: int = 0) -> Figure:
    """Generated images: in a row one style, the first the prior's mean and the others drawn from it; ten digits.

    Where the image depends on the auxiliary latent, that is at its mean given digit and style.
    """
    model, _ = recipe.pair(AuxiliaryVAE, AuxiliaryEncoder, "pictures")
    drawn = torch.randn(rows - 1, model.style, generator=torch.Generator().manual_seed(seed))
    style, digit = torch.cat([torch.zeros(1, model.style), drawn])[:, None], torch.arange(model.classes)
    known = (model.auxiliary_distribution(digit, style).mean,) if model.deep else ()
    figure = Figure(figsize=(6.5, 0.7 + 0.58 * rows), layout="constrained")
    axes = figure.subplots()
    images, names = model.decode(digit, style, *known).sigmoid(), [str(k) for k in digit.tolist()]
    draw_grid(axes, images, ["mean", *[f"draw {row}" for row in range(1, rows)]], names)
    axes.set(xlabel="digit", ylabel="style, from its prior")
    figure.suptitle("Images the model generates: a style in each row, a digit in each column")
    return figure
