"""Pictures of a variational auto-encoder: its test images decoded again, what it generates, the plane of its codes."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..data import ImageDataset
from ..guides import GaussianEncoder, PointEncoder
from ..models import VAE
from .digit_pictures import first_of_each
from .image_grid import draw_grid
from .recipe import Recipe

__all__ = ["code_pictures", "code_plane", "reconstructions", "samples"]


def code_pictures(test: ImageDataset, latents: int) -> Mapping[str, Callable[[Recipe], Figure]]:
    """The pictures by file name; each is a function of the recipe, whose model and guide hold the weights.

    What is random in them comes from a generator of their own: the same weights give the same pictures.

    Args:
        test: images and digits that were not trained on.
        latents: the dimensions of the code; where they are two there is a picture of their plane.

    Raises:
        TypeError: from a picture, where the recipe's model is not a `VAE`; from the reconstructions, where its guide is
            not one of those whose codes have a mean in closed form.

    Example:
        >>> from pyrometer.data import digits
        >>> list(code_pictures(digits(), latents=2))
        ['reconstructions', 'samples', 'code_plane']
    """
    pictures: dict[str, Callable[[Recipe], Figure]] = {
        "reconstructions": partial(reconstructions, test),
        "samples": samples,
    }
    return pictures | {"code_plane": code_plane} if latents == 2 else pictures


@torch.no_grad()
def reconstructions(test: ImageDataset, recipe: Recipe, blocks: int = 3) -> Figure:
    """The first test images of each digit above the mean images that their mean codes decode to; the digit below."""
    model, guide = code_pair(recipe)
    chosen = test.subset(first_of_each(test.digit, blocks))
    figure = Figure(figsize=(6.5, 0.7 + 1.45 * blocks), layout="constrained")
    places = list(figure.subplots(blocks, 1, squeeze=False).flat)
    for block, axes in enumerate(places):
        image, digit = chosen.image[block::blocks], chosen.digit[block::blocks]
        decoded = render(model, guide.distribution(image).mean)
        draw_grid(axes, torch.stack([image, decoded]), ["image", "decoded"], [str(k) for k in digit.tolist()])
    places[-1].set_xlabel("digit")
    figure.suptitle("Test images, and what the means of their codes decode to")
    return figure


@torch.no_grad()
def samples(recipe: Recipe, rows: int = 8, columns: int = 10, seed: int = 0) -> Figure:
    """The mean images of codes drawn from their prior."""
    model, _ = recipe.pair(VAE, nn.Module, "code_pictures")
    code = torch.randn(rows, columns, model.latents, generator=torch.Generator().manual_seed(seed))
    figure = Figure(figsize=(6.5, 0.5 + 0.65 * rows), layout="constrained")
    draw_grid(figure.subplots(), render(model, code))
    figure.suptitle("Images the model generates: the pixels' means for codes from the prior")
    return figure


@torch.no_grad()
def code_plane(recipe: Recipe, steps: int = 15) -> Figure:
    """The mean images of a code in the plane, at quantiles of its prior, so that each has the same probability.

    Raises:
        ValueError: if the code has more or fewer than two dimensions.
    """
    model, _ = recipe.pair(VAE, nn.Module, "code_pictures")
    if model.latents != 2:
        raise ValueError(f"model must have a code of 2 dimensions for a map of its plane, got {model.latents}.")
    across = quantiles(steps)
    code = torch.stack(torch.meshgrid(across, across.flip(0), indexing="xy"), -1)  # upwards as in a plot
    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    labels = [f"{value:.1f}" for value in across.tolist()]
    draw_grid(axes, render(model, code), labels[::-1], labels)
    axes.set(xlabel="code, first dimension", ylabel="code, second dimension")
    figure.suptitle("What each code decodes to, at even quantiles of the prior")
    return figure


def quantiles(steps: int) -> Tensor:
    """The middles of ``steps`` equally probable parts of a standard normal distribution, rising.

    Example:
        >>> quantiles(3)
        tensor([-0.9674,  0.0000,  0.9674])
    """
    return torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(steps) + 0.5) / steps)


def render(model: VAE, code: Tensor) -> Tensor:
    """The mean image of each code (..., D): (..., H, W)."""
    return model.decode(code).sigmoid()


def code_pair(recipe: Recipe) -> tuple[VAE, GaussianEncoder | PointEncoder]:
    """The recipe's model and guide; a TypeError where they are others than these pictures can draw."""
    encoder = PointEncoder if isinstance(recipe.guide, PointEncoder) else GaussianEncoder
    return recipe.pair(VAE, encoder, "code_pictures")
