"""M2 of Kingma et al. (2014) as its users train it with Pyro alone: plain SVI, and a classification loss beside.

The rate and the weight of that loss are those of Pyro's ``ss_vae_M2.py``. Every labelled image is seen once an epoch.
"""

import time
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from torch import Tensor, nn
from torch.nn import functional as F

from pyrometer.data import SemiSupervisedSplit, mnist, semi_supervised_split

from .m2 import DIGITS, M2, M2Guide, M2Networks

__all__ = ["Epoch", "classify", "train"]

BATCH, RATE, WEIGHT = 200, 4.2e-4, 46.0


class Epoch(NamedTuple):
    """After an epoch: CPU seconds of the training so far, and the error on validation images."""

    cpu_seconds: float
    validation_error: float


def classify(classifier: nn.Module, image: Tensor, digit: Tensor) -> None:
    """The weighed likelihood of labels, as a program."""
    pyro.module("classifier", classifier)
    with pyro.plate("data", len(image)), poutine.scale(scale=WEIGHT):
        pyro.sample("label", dist.OneHotCategorical(logits=classifier(image)), obs=digit)


def train(labels: int, seed: int, epochs: int) -> list[Epoch]:
    """The epochs of a training on the labels and the validation images that the recipe `ssvae` has with this seed."""
    split = semi_supervised_split(mnist().train, labels, seed, validation=10_000)
    with pyro.get_param_store().scope(), pyro.validation_enabled(False):  # Bernoulli pixels may be grey
        return list(_trained(split, seed, epochs))


def _trained(split: SemiSupervisedSplit, seed: int, epochs: int) -> Iterator[Epoch]:
    assert split.validation is not None
    pyro.set_rng_seed(seed)
    networks, adam = M2Networks(), pyro.optim.Adam({"lr": RATE, "betas": (0.9, 0.999)})  # pyright: ignore[reportAttributeAccessIssue]
    guide = M2Guide(networks.classifier, networks.encoder)
    bound = SVI(M2(networks.decoder), guide, adam, TraceEnum_ELBO(max_plate_nesting=1))
    classification = SVI(partial(classify, networks.classifier), lambda image, digit: None, adam, Trace_ELBO())  # noqa: ARG005
    known = split.labelled.image.flatten(1), F.one_hot(split.labelled.digit, DIGITS).float()
    began, measuring = time.process_time(), 0.0
    for _ in range(epochs):
        for batch in _epoch(split.unlabelled.flatten(1), known):
            bound.step(*batch)
            if len(batch) > 1:
                classification.step(*batch)
        paused = time.process_time()
        with torch.no_grad():
            wrong = networks.classifier(split.validation.image.flatten(1)).argmax(-1) != split.validation.digit
        measuring += time.process_time() - paused
        yield Epoch(time.process_time() - began - measuring, wrong.double().mean().item())


def _epoch(unlabelled: Tensor, labelled: tuple[Tensor, Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """All batches without labels, with those that have labels spread evenly among them."""
    plain = unlabelled[torch.randperm(len(unlabelled))].split(BATCH)
    order = torch.randperm(len(labelled[0]))
    known = list(zip(*(part[order].split(BATCH) for part in labelled), strict=True))
    for index, image in enumerate(plain):
        yield (image,)
        due = range(index * len(known) // len(plain), (index + 1) * len(known) // len(plain))
        yield from (known[place] for place in due)
