"""Disentangling: a VAE with a discrete latent and a code, by an ELBO whose terms are weighed apart."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..data import FactorDataset, ImageDataset, digits, mnist, shapes, train_test_split
from ..guides import KindAndCode
from ..inference.diagnostics import mutual_information_gap
from ..inference.svi import Decomposed
from ..models import KindAndCodeVAE
from .class_matching import agreement, match_classes
from .recipe import Recipe
from .traversal_pictures import MOST, traversal_pictures
from .vae import VALIDATION, decay

__all__ = ["recipe"]


class Suits(NamedTuple):
    """Settings that depend on the data."""

    kinds: int
    latents: int
    hidden: int
    epochs: int
    learning_rate: float
    batch_size: int


SUITS = {
    "digits": Suits(10, 5, 100, 60, 5e-3, 100),
    "mnist": Suits(10, 10, 200, 20, 1e-3, 100),
    "shapes": Suits(3, 5, 100, 60, 3e-3, 100),
}
"""Those of digits were chosen on validation images, as the weights below; those of MNIST and shapes were not."""


def recipe(
    *,
    data: str = "digits",
    kinds: int = 0,
    latents: int = 0,
    hidden: int = 0,
    epochs: int = 0,
    learning_rate: float = 0.0,
    kind_information: float = 0.3,
    code_information: float = 1.0,
    between: float = 4.0,
    within: float = 4.0,
    seed: int = 0,
) -> Recipe:
    """Disentangling: a VAE with a discrete latent and a code, by an ELBO whose terms are weighed apart.

    ``data`` is digits (8 x 8, embedded), mnist or shapes (16 x 16, of known factors). ``kind_information`` weighs what
    the kind knows of the image, ``code_information`` what the code adds, ``between`` what kind and code have in
    common, ``within`` what the dimensions of the code have in common; with all four 1 the objective is minus the ELBO.
    At 1 the first leaves the kind all but unused, as the code comes cheaper. Where ``kinds``, ``latents``, ``hidden``,
    ``epochs`` or ``learning_rate`` is 0, it is what suits the data. Labels and factors judge the result, and do nothing
    else.
    """
    train, validation, test = _images(data, seed)
    suits = SUITS[data]
    kinds, latents, hidden = kinds or suits.kinds, latents or suits.latents, hidden or suits.hidden
    shape = (test.image.shape[-2], test.image.shape[-1])
    known = {"information/kind": kind_information, "information/code": code_information}
    weights = {**known, "between": between, "within": within}
    return Recipe(
        model=KindAndCodeVAE(shape, kinds, latents, hidden),
        guide=KindAndCode(shape, kinds, latents, hidden),
        data={"image": train.image},
        held_out={"image": test.image},
        epochs=epochs or suits.epochs,
        objective=Decomposed(len(train), {"kind": ["kind"], "code": ["code"]}, weights),
        batch_size=suits.batch_size,
        optimizer=partial(torch.optim.Adam, lr=learning_rate or suits.learning_rate),
        schedule=decay,
        validate=partial(_terms, "validation", validation.image),
        score=partial(_score, validation, test, shapes() if data == "shapes" else None),
        pictures=traversal_pictures(test),
    )


def _images(data: str, seed: int) -> tuple[ImageDataset, ImageDataset, ImageDataset]:
    """What is trained on, what is looked at meanwhile, and what judges the result."""
    if data == "digits":
        train, test = train_test_split(digits(), seed=seed)
    elif data == "mnist":
        train, test = mnist()
    elif data == "shapes":
        made = shapes()
        train, test = train_test_split(ImageDataset(made.image, made.factors["kind"]), VALIDATION, seed)
    else:
        raise ValueError(f"setting 'data' must be digits, mnist or shapes, got {data!r}.")
    kept, validation = train_test_split(train, VALIDATION, seed)
    return kept, validation, test


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
