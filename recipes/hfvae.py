"""Disentangling: a VAE with a discrete latent and a code, by an ELBO whose terms are weighed apart."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..data import FactorDataset, ImageDataset, shapes, train_test_split
from ..guides import KindAndCode
from ..inference.diagnostics import mutual_information_gap
from ..inference.svi import Decomposed
from ..models import KindAndCodeVAE
from .class_matching import agreement, match_classes
from .digit_images import VALIDATION, Parts, parts, train_and_test
from .recipe import Recipe
from .traversal_pictures import MOST, traversal_pictures
from .vae import decay

__all__ = ["recipe"]


class Suits(NamedTuple):
    """Settings that depend on the data."""

    kinds: int
    latents: int
    hidden: int
    epochs: int
    learning_rate: float
    batch_size: int
    weights: str


SUITS = {
    "digits": Suits(10, 5, 100, 60, 5e-3, 100, "information/kind=0.3,between=4,within=4"),
    "mnist": Suits(
        *(10, 10, 200, 10, 1e-3, 100),
        "information/kind=-5,information/code=3,marginal/kind=30,between=4,within=2",
    ),
    "shapes": Suits(3, 5, 100, 60, 3e-3, 100, "between=4,within=4"),
}
"""The weights of digits and MNIST were chosen among a few on validation images, by how far kinds are digits, for which
their labels are used. At 1 the kind is all but unused, as the code comes cheaper; on MNIST it falls to one value early,
unless what it knows is rewarded and all its values have to be used. Those of shapes were not chosen."""


def recipe(
    *,
    data: str = "digits",
    kinds: int = 0,
    latents: int = 0,
    hidden: int = 0,
    epochs: int = 0,
    learning_rate: float = 0.0,
    weights: str = "",
    seed: int = 0,
) -> Recipe:
    """Disentangling: a VAE with a discrete latent and a code, by an ELBO whose terms are weighed apart.

    ``data`` is digits (8 x 8, embedded), mnist or shapes (16 x 16, of known factors). ``weights`` are those of
    ``Decomposed``, as "between=4,information/kind=0.3": ``information/kind`` is what the kind knows of the image,
    ``information/code`` what the code adds, ``between`` what kind and code have in common, ``within`` what the
    dimensions of the code have in common; "between=1" leaves the ELBO. Where ``weights`` is empty, or ``kinds``,
    ``latents``, ``hidden``, ``epochs`` or ``learning_rate`` is 0, it is what suits the data. No training
    sees labels or factors.
    """
    train, validation, test = _images(data, seed)
    suits = SUITS[data]
    kinds, latents, hidden = kinds or suits.kinds, latents or suits.latents, hidden or suits.hidden
    shape = (test.image.shape[-2], test.image.shape[-1])
    return Recipe(
        model=KindAndCodeVAE(shape, kinds, latents, hidden),
        guide=KindAndCode(shape, kinds, latents, hidden),
        data={"image": train.image},
        held_out={"image": test.image},
        validation=validation.batch(),
        epochs=epochs or suits.epochs,
        objective=Decomposed(len(train), {"kind": ["kind"], "code": ["code"]}, _read(weights or suits.weights)),
        batch_size=suits.batch_size,
        optimizer=partial(torch.optim.Adam, lr=learning_rate or suits.learning_rate),
        schedule=decay,
        validate=partial(_terms, "validation", validation.image),
        score=partial(_score, validation, test, shapes() if data == "shapes" else None),
        pictures=traversal_pictures(test),
    )


def _read(weights: str) -> dict[str, float]:
    """Weights by name, from "name=value,name=value"."""
    try:
        return {name.strip(): float(value) for name, value in (part.split("=") for part in weights.split(","))}
    except ValueError:
        raise ValueError(
            f"setting 'weights' must be like 'between=4,information/kind=0.3', got {weights!r}; the terms are "
            f"reconstruction, information/kind, information/code, between, within and marginal."
        ) from None


def _images(data: str, seed: int) -> Parts:
    if data not in SUITS:
        raise ValueError(f"setting 'data' must be digits, mnist or shapes, got {data!r}.")
    if data != "shapes":
        return parts(train_and_test(data, seed), seed)
    made = shapes()
    return parts(train_test_split(ImageDataset(made.image, made.factors["kind"]), VALIDATION, seed), seed)


@torch.no_grad()
def _terms(name: str, image: Tensor, model: Any, guide: Any) -> Mapping[str, float]:
    """The terms of some images, in nats an image, those of the code's dimensions added up."""
    image = image[:MOST].to(next(guide.parameters()).device)
    terms = Decomposed(len(image)).terms(model, guide, image=image)
    kinds = ("reconstruction", "information/kind", "information/code", "between", "within/code", "marginal")
    found = {kind: sum(value.item() for term, value in terms.items() if term.startswith(kind)) for kind in kinds}
    return {f"{name}_elbo": -sum(found.values())} | {f"{name}_{kind.replace('/', '_')}": v for kind, v in found.items()}


def _score(
    naming: ImageDataset, test: ImageDataset, factors: FactorDataset | None, model: Any, guide: KindAndCode
) -> Mapping[str, float]:
    """The terms of test images, how far kinds are digits (or shapes), and the MIG where factors are known."""
    matched = match_classes(_found(guide, naming), naming.digit, model.kinds)
    reached = agreement(_found(guide, test), test.digit, matched)
    found = {
        **_terms("test", test.image, model, guide),
        "test_accuracy": reached.accuracy,
        "test_label_information": reached.mutual_information,
    }
    if factors is None:
        return found
    device = next(guide.parameters()).device
    gap = mutual_information_gap(guide, {"image": factors.image.to(device)}, factors.factors, draws=2)
    return found | {"mig": gap.mig.item(), "mig_error": gap.mig_error.item()}


@torch.no_grad()
def _found(guide: KindAndCode, images: ImageDataset) -> Tensor:
    """The most probable kind of each image, (N,)."""
    device = next(guide.parameters()).device
    return torch.cat([guide.distributions(p.to(device))[0].logits.argmax(-1).cpu() for p in images.image.split(1000)])
