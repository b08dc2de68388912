"""Pictures of a digit-and-style model: what it generates, and how it explains images that it was not trained on."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from torch import Tensor

from ..data import ImageDataset
from ..guides import DigitAndStyle
from ..models import SemiSupervisedVAE
from .hypothesis_picture import energies_by_digit
from .image_grid import draw_grid, frame
from .recipe import Recipe

__all__ = ["digit_by_style", "digit_pictures", "reconstructions", "style_transfer", "styles"]

MOST_POINTS = 1000
# Ten colours dark enough for thin strokes. No ten differ for every colour-blind reader, so in the scatter each digit is
# its own marker, and nothing is said by colour alone.
COLOURS = (
    *("#332288", "#0077bb", "#2a9d8f", "#117733", "#8a8a00"),
    *("#b8860b", "#cc3311", "#882255", "#aa4499", "#000000"),
)
WRONG = "#d55e00"
INFERRED = "#0072b2"


class Explanation(NamedTuple):
    """What the guide makes of images: the most probable ``digit`` (N,), and the mean ``style`` (N, D) for it."""

    digit: Tensor
    style: Tensor


def digit_pictures(test: ImageDataset) -> Mapping[str, Callable[[Recipe], Figure]]:
    """The pictures by file name; each is a function of the recipe, whose model and guide hold the weights.

    What is random in them comes from a generator of their own: the same weights give the same pictures.

    Args:
        test: images and digits that were not trained on.

    Raises:
        TypeError: from a picture, where the recipe's pair is not `SemiSupervisedVAE` and `DigitAndStyle`.

    Example:
        >>> from pyrometer.data import digits
        >>> list(digit_pictures(digits()))
        ['digit_by_style', 'style_transfer', 'reconstructions', 'styles', 'energies_by_digit']
    """
    return {
        "digit_by_style": digit_by_style,
        "style_transfer": partial(style_transfer, test),
        "reconstructions": partial(reconstructions, test),
        "styles": partial(styles, test),
        "energies_by_digit": lambda recipe: energies_by_digit(test, *digit_pair(recipe)),
    }


@torch.no_grad()
def digit_by_style(recipe: Recipe, rows: int = 8, seed: int = 0) -> Figure:
    """Generated images: in a row one style, the first the prior's mean and the others drawn from it; ten digits."""
    model, _ = digit_pair(recipe)
    drawn = torch.randn(rows - 1, model.style, generator=torch.Generator().manual_seed(seed))
    images = render(model, torch.cat([torch.zeros(1, model.style), drawn]))
    figure = Figure(figsize=(6.5, 0.7 + 0.58 * rows), layout="constrained")
    axes = figure.subplots()
    draw_grid(axes, images, ["mean", *[f"draw {row}" for row in range(1, rows)]], _names(model))
    axes.set(xlabel="digit", ylabel="style, from its prior")
    figure.suptitle("Images the model generates: a style in each row, a digit in each column")
    return figure


@torch.no_grad()
def style_transfer(test: ImageDataset, recipe: Recipe) -> Figure:
    """The first test image of each digit, and the style inferred from it rendered as all ten digits.

    Digits share the style's prior and no decoder weights: nothing makes a slant of one digit a slant of another.
    """
    model, guide = digit_pair(recipe)
    chosen = test.subset(first_of_each(test.digit, 1))
    found = explain(guide, chosen.image)
    images = render(model, found.style)
    figure = Figure(figsize=(7, 0.7 + 0.58 * len(chosen)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, model.classes])
    draw_grid(left, chosen.image[:, None], columns=["image"])
    draw_grid(right, images, columns=_names(model))
    for row, digit in enumerate(found.digit.tolist()):
        frame(right, images, row, digit, INFERRED)
    left.set_ylabel("test images")
    right.set_xlabel(
        "the same style as each digit (framed: the digit inferred from the image);\n"
        "the decoder has weights for each digit, so one style may look different in two"
    )
    figure.suptitle("The style of a test image, rendered as all digits")
    return figure


@torch.no_grad()
def reconstructions(test: ImageDataset, recipe: Recipe, blocks: int = 3) -> Figure:
    """The first test images of each digit above what their inferred digit and style render; the digit below."""
    model, guide = digit_pair(recipe)
    chosen = test.subset(first_of_each(test.digit, blocks))
    figure = Figure(figsize=(6.5, 0.7 + 1.45 * blocks), layout="constrained")
    places = list(figure.subplots(blocks, 1, squeeze=False).flat)
    for block, axes in enumerate(places):
        image, digit = chosen.image[block::blocks], chosen.digit[block::blocks]
        found = explain(guide, image)
        rendered = model.decode(found.digit, found.style).sigmoid()
        draw_grid(axes, torch.stack([image, rendered]), ["image", "rendered"], [str(k) for k in found.digit.tolist()])
        for label, right in zip(axes.get_xticklabels(), (found.digit == digit).tolist(), strict=True):
            label.set(color="black" if right else WRONG, weight="normal" if right else "bold")
    places[-1].set_xlabel("inferred digit (bold: wrong)")
    figure.suptitle("Test images, and what their inferred digit and style render")
    return figure


@torch.no_grad()
def styles(test: ImageDataset, recipe: Recipe) -> Figure:
    """The mean style inferred for each test image, in the plane in which they differ most, by true digit."""
    _, guide = digit_pair(recipe)
    points, labels = plane(explain(guide, test.image[:MOST_POINTS]).style)
    digit = test.digit[:MOST_POINTS]
    figure = Figure(figsize=(6.5, 5.2), layout="constrained")
    axes = figure.subplots()
    for name in sorted(set(digit.tolist())):
        of_digit = points[digit == name]
        axes.scatter(
            *of_digit.T.numpy(), s=36, marker=f"${name}$", color=COLOURS[name], linewidths=0.3, label=str(name)
        )
    axes.set(xlabel=labels[0], ylabel=labels[1], aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *axes.get_legend_handles_labels(), title="digit", loc="outside right center", frameon=False, handletextpad=0
    )
    figure.suptitle(f"The style inferred for each of {len(points)} test images")
    return figure


def digit_pair(recipe: Recipe) -> tuple[SemiSupervisedVAE, DigitAndStyle]:
    """The recipe's model and guide; a TypeError where they are others than these pictures can draw."""
    return recipe.pair(SemiSupervisedVAE, DigitAndStyle, "digit_pictures")


def explain(guide: DigitAndStyle, image: Tensor) -> Explanation:
    """The most probable digit of each image (N, H, W) under the guide, and the mean style given it."""
    digit = guide.digit_distribution(image).logits.argmax(-1)
    return Explanation(digit, guide.style_distribution(image, digit).mean)


def render(model: SemiSupervisedVAE, style: Tensor) -> Tensor:
    """The mean image of every digit in each style (N, D): (N, K, H, W)."""
    return model.decode(torch.arange(model.classes), style[:, None]).sigmoid()


def first_of_each(digit: Tensor, count: int) -> Tensor:
    """The places of the first ``count`` images of each digit, by digit; fewer where there are fewer.

    Example:
        >>> first_of_each(torch.tensor([2, 0, 0, 2, 0]), 2)
        tensor([1, 2, 0, 3])
    """
    return torch.cat([(digit == name).nonzero().squeeze(1)[:count] for name in digit.unique()])


def plane(style: Tensor) -> tuple[Tensor, tuple[str, str]]:
    """Styles (N, D) in two coordinates (N, 2), with what these are: the principal ones where D is not 2."""
    if style.shape[-1] == 2:
        return style, ("style, first dimension", "style, second dimension")
    padded = torch.nn.functional.pad(style, (0, max(0, 2 - style.shape[-1])))
    analysis = PCA(2).fit(padded.numpy())
    share = [f"{part:.0%} of the variance" for part in analysis.explained_variance_ratio_]
    points = torch.from_numpy(analysis.transform(padded.numpy()))
    return points, (f"style, first principal component ({share[0]})", f"second principal component ({share[1]})")


def _names(model: SemiSupervisedVAE) -> list[str]:
    return [str(digit) for digit in range(model.classes)]
