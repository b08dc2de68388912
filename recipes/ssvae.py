"""Digit and style: a semi-supervised VAE on digit images of which few are labelled."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..data import Distortion, ImageDataset, semi_supervised_split
from ..guides import DigitAndStyle
from ..inference.svi import SemiSupervised
from ..models import SemiSupervisedVAE
from ..networks import ImageClassifier
from .digit_images import train_and_test
from .digit_pictures import digit_pictures
from .recipe import Recipe

__all__ = ["classify", "recipe"]


class Suits(NamedTuple):
    """Settings that depend on the data."""

    style: int
    hidden: int
    epochs: int
    learning_rate: float
    batch_size: int
    labelled_batch: int
    held_back: int
    consistency: float
    distortion: Distortion
    channels: tuple[int, ...]
    strides: tuple[int, ...]


SUITS = {
    "digits": Suits(5, 100, 150, 5e-3, 100, 20, 0, 0.0, Distortion(10, 0.1, 0.1, 0.1, 0.05), (16, 32, 64), (2, 2, 2)),
    "mnist": Suits(
        *(10, 200, 30, 2e-3, 200, 50, 10_000, 1.0),
        *(Distortion(15, 0.15, 0.15, 0.1, 1 / 14), (32, 64, 64, 64), (2, 2, 1, 2)),
    ),
}


def recipe(
    *,
    data: str = "digits",
    labels: int = 100,
    style: int = 0,
    hidden: int = 0,
    epochs: int = 0,
    learning_rate: float = 0.0,
    labelled_fraction: float = 0.25,
    classification_weight: float = 1.0,
    self_training: float = -1.0,
    consistency: float = -1.0,
    seed: int = 0,
) -> Recipe:
    """Digit and style: a semi-supervised VAE on digit images of which few are labelled.

    ``data`` is digits (8 x 8, embedded) or mnist; ``labels`` images keep their label, as many of each digit. Where
    ``style``, ``hidden``, ``epochs`` or ``learning_rate`` is 0, or ``consistency`` below 0, it is what suits the data,
    chosen on validation images. With a ``consistency`` above 0 the classifier learns from copies of the images,
    rotated, sheared, scaled and shifted a little, anew at each step, and it weighs that a copy of an unlabelled image
    be classified as the image is. ``self_training`` weighs what the bound itself teaches the classifier about
    unlabelled images: below 0 it is 1 to the end, or, beside consistency, 0.3 that decays to 0 with the learning rate,
    for the model's guesses help at first, and are worse than the classifier's in the end.
    """
    train, test = train_and_test(data, seed)
    suits = SUITS[data]
    style, hidden = style or suits.style, hidden or suits.hidden
    consistency = suits.consistency if consistency < 0 else consistency
    if self_training < 0:
        self_training = 0.3 if consistency else 1.0
    split = semi_supervised_split(train, labels, seed, validation=suits.held_back)
    shape = (test.image.shape[-2], test.image.shape[-1])
    return Recipe(
        model=SemiSupervisedVAE(shape, style=style, hidden=hidden),
        guide=DigitAndStyle(
            shape,
            style=style,
            hidden=2 * hidden,
            classifier=ImageClassifier(shape, channels=suits.channels, strides=suits.strides),
        ),
        data=split.streams(),
        held_out={"image": test.image},
        validation=None if split.validation is None else split.validation.batch(),
        labels={"digit": test.digit},
        epochs=epochs or suits.epochs,
        objective=SemiSupervised(
            labelled_fraction,
            "digit",
            classification_weight,
            self_training=partial(ramp_and_decay if consistency else ramp, self_training),
            augment=partial(distorted, suits.distortion) if consistency else None,
            consistency=partial(ramp, consistency) if consistency else 0.0,
        ),
        batch_size={"unlabelled": suits.batch_size, "labelled": suits.labelled_batch},
        optimizer=partial(torch.optim.Adam, lr=learning_rate or suits.learning_rate, betas=(0.9, 0.99)),
        schedule=decay,
        validate=None if split.validation is None else partial(_accuracy, "validation_accuracy", split.validation),
        score=partial(_accuracy, "test_accuracy", test),
        pictures=digit_pictures(test),
    )


def distorted(distort: Distortion, image: Tensor) -> dict[str, Tensor]:
    """Copies of the images, each distorted anew."""
    return {"image": distort(image)}


def ramp(weight: float, progress: float) -> float:
    """Nothing for a tenth of the training, while the classifier learns from labels alone; then more and more of it."""
    return weight * min(1.0, max(0.0, (progress - 0.1) / 0.15))


def ramp_and_decay(weight: float, progress: float) -> float:
    """The ramp, down to nothing at the end, when only agreement is left."""
    return ramp(weight, progress) * decay(progress)


def decay(progress: float) -> float:
    """The learning rate's factor: 1, then down to 0 over the last 60 % of the training."""
    return min(1.0, (1 - progress) / 0.6)


def _accuracy(name: str, images: ImageDataset, model: Any, guide: DigitAndStyle) -> Mapping[str, float]:  # noqa: ARG001
    return {name: (classify(guide, images.image) == images.digit).double().mean().item()}


@torch.no_grad()
def classify(guide: Any, image: Tensor) -> Tensor:
    """The most probable digit of each image under the guide, (N,)."""
    device = next(guide.parameters()).device
    parts = [guide.digit_distribution(part.to(device)).logits.argmax(-1) for part in image.split(1000)]
    return torch.cat(parts).to(image.device)
