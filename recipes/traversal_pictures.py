"""Pictures of what latents mean: one dimension moved while the others are held, and how much each knows of the data."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..data import ImageDataset
from ..guides import GaussianEncoder, KindAndCode
from ..inference.diagnostics import mutual_information
from ..inference.svi.random_state import preserved_random_state
from ..models import VAE, KindAndCodeVAE
from .digit_pictures import first_of_each
from .image_grid import draw_grid, frame
from .recipe import Recipe

__all__ = ["information", "kinds", "traversal_pictures", "traversals"]

MOST = 500
"""Images of which the information is taken: time grows as their square."""
FARTHEST = 2.0
"""From 0 to either side, in standard deviations of the prior."""


def traversal_pictures(test: ImageDataset, kinds_too: bool = True) -> Mapping[str, Callable[[Recipe], Figure]]:
    """The pictures by file name; each is a function of the recipe, whose model and guide hold the weights.

    Args:
        test: images that were not trained on.
        kinds_too: there is a discrete latent to draw.

    Raises:
        TypeError: from a picture, where the pair is neither `VAE` and `GaussianEncoder` nor one with a kind as well.

    Example:
        >>> from pyrometer.data import digits
        >>> list(traversal_pictures(digits()))
        ['traversals', 'information', 'kinds']
    """
    pictures = {"traversals": partial(traversals, test), "information": partial(information, test)}
    return pictures | {"kinds": partial(kinds, test)} if kinds_too else pictures


@torch.no_grad()
def traversals(test: ImageDataset, recipe: Recipe, steps: int = 9, seed: int = 0) -> Figure:
    """The first test image with each dimension of its code moved from -2 to 2, those that know most first.

    The kind, where there is one, is the most probable of the image, and is held. What is random, draws by which the
    information is estimated, comes from a seed of its own.
    """
    model, guide = _pair(recipe)
    kind, code = _explained(guide, test.image[:1])
    found = _information(guide, test, seed)
    order = sorted(range(model.latents), key=lambda d: -found[f"code[{d}]"][0])
    places = torch.linspace(-FARTHEST, FARTHEST, steps)
    moved = code.expand(model.latents, steps, -1).clone()
    for row, dimension in enumerate(order):
        moved[row, :, dimension] = places
    figure = Figure(figsize=(1.6 + 0.62 * steps, 1.1 + 0.62 * model.latents), layout="constrained")
    axes = figure.subplots()
    names = [f"{d}: {found[f'code[{d}]'][0]:.2f} nats" for d in order]
    draw_grid(axes, _rendered(model, kind, moved), names, [f"{place:.1f}" for place in places.tolist()])
    axes.set(xlabel="value of the dimension, the others held", ylabel="dimension: what it knows")
    figure.suptitle("A test image's code, one dimension moved in each row")
    return figure


@torch.no_grad()
def kinds(test: ImageDataset, recipe: Recipe, blocks: int = 1) -> Figure:
    """The first test images of each digit, and their mean codes rendered as every kind.

    Raises:
        TypeError: where the pair has no discrete latent.
    """
    model, guide = recipe.pair(KindAndCodeVAE, KindAndCode, "kinds")
    chosen = test.subset(first_of_each(test.digit, blocks))
    kind, code = guide.distributions(chosen.image)
    images = _rendered(model, torch.arange(model.kinds), code.mean.unsqueeze(1))
    figure = Figure(figsize=(max(5.5, 2.2 + 0.55 * model.kinds), 0.9 + 0.55 * len(chosen)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, model.kinds])
    draw_grid(left, chosen.image[:, None], columns=["image"])
    draw_grid(right, images, columns=[str(k) for k in range(model.kinds)])
    for row, found in enumerate(kind.logits.argmax(-1).tolist()):
        frame(right, images, row, found, "#0072b2")
    left.set_ylabel("test images")
    right.set_xlabel("the same code as each kind (framed: the kind inferred)")
    figure.suptitle("The kind changed, the code held")
    return figure


def information(test: ImageDataset, recipe: Recipe, seed: int = 0) -> Figure:
    """What each latent knows of which test image it codes, in nats, with two standard errors of the draws."""
    _, guide = _pair(recipe)
    found = dict(sorted(_information(guide, test, seed).items(), key=lambda item: -item[1][0]))
    figure = Figure(figsize=(6.0, 1.1 + 0.26 * len(found)), layout="constrained")
    axes = figure.subplots()
    values, errors = zip(*found.values(), strict=True)
    axes.barh(list(found), values, xerr=[2 * error for error in errors], color="#0072b2", height=0.7)
    axes.invert_yaxis()
    axes.set(xlabel=f"mutual information with the datum, nats ({min(MOST, len(test))} test images)", xlim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("What each latent knows of the image")
    return figure


def _pair(recipe: Recipe) -> tuple[VAE | KindAndCodeVAE, GaussianEncoder | KindAndCode]:
    if isinstance(recipe.guide, KindAndCode):
        return recipe.pair(KindAndCodeVAE, KindAndCode, "traversal_pictures")
    return recipe.pair(VAE, GaussianEncoder, "traversal_pictures")


def _information(guide: GaussianEncoder | KindAndCode, test: ImageDataset, seed: int) -> dict[str, tuple[float, float]]:
    """Information and its error by element."""
    with preserved_random_state():
        torch.manual_seed(seed)
        found = mutual_information(guide, {"image": test.image[:MOST]})
    values = zip(found.information.values.tolist(), found.error.values.tolist(), strict=True)
    return dict(zip(found.latent.values.tolist(), values, strict=True))


def _explained(guide: GaussianEncoder | KindAndCode, image: Tensor) -> tuple[Tensor | None, Tensor]:
    """The most probable kind of each image, if there are kinds, and the mean code."""
    if isinstance(guide, GaussianEncoder):
        return None, guide.distribution(image).mean
    kind, code = guide.distributions(image)
    return kind.logits.argmax(-1), code.mean


def _rendered(model: VAE | KindAndCodeVAE, kind: Tensor | None, code: Tensor) -> Tensor:
    """The mean image of each code."""
    if isinstance(model, VAE):
        return model.decode(code).sigmoid()
    assert kind is not None  # as a guide of this model gives it
    return model.decode(kind, code).sigmoid()
