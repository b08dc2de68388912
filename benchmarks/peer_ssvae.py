r"""M2 of Kingma et al. (2014) as its users train it with Pyro alone: plain SVI, and a classification loss beside.

q(y|x) is a network 784-500-10, q(z|x, y) one of (784 + 10)-500-(50, 50), p(x|y, z) one of (50 + 10)-500-784, each with
softplus between: the sizes, the rate and the weight of the classification loss of Pyro's ``ss_vae_M2.py``. The digit is
summed out where it is not observed. Every labelled image is seen once an epoch.
"""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, config_enumerate
from torch import Tensor, nn
from torch.nn import functional as F

from pyrometer.data import SemiSupervisedSplit, mnist, semi_supervised_split

__all__ = ["M2", "Epoch", "train"]

PIXELS, DIGITS, HIDDEN, STYLE, BATCH = 784, 10, 500, 50, 200
RATE, WEIGHT = 4.2e-4, 46.0


class Epoch(NamedTuple):
    """After an epoch: CPU seconds of the training so far, and the error on validation images."""

    cpu_seconds: float
    validation_error: float


class M2(nn.Module):
    """The model, the guide and the classification loss as Pyro programs, with the digit one-hot or to be summed out."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = _network(PIXELS, DIGITS)
        self.encoder = _network(PIXELS + DIGITS, 2 * STYLE)
        self.decoder = _network(STYLE + DIGITS, PIXELS)

    def model(self, image: Tensor, digit: Tensor | None = None) -> None:
        """y uniform, z ~ N(0, I), x ~ Bernoulli."""
        pyro.module("m2", self)
        with pyro.plate("data", len(image)):
            style = pyro.sample("style", dist.Normal(image.new_zeros(STYLE), 1.0).to_event(1))
            y = pyro.sample("digit", dist.OneHotCategorical(logits=image.new_zeros(DIGITS)), obs=digit)
            logits = self.decoder(_joined(style, y))
            pyro.sample("image", dist.Bernoulli(logits=logits, validate_args=False).to_event(1), obs=image)

    def guide(self, image: Tensor, digit: Tensor | None = None) -> None:
        """q(y|x) q(z|x, y)."""
        with pyro.plate("data", len(image)):
            if digit is None:
                digit = pyro.sample("digit", dist.OneHotCategorical(logits=self.classifier(image)))
            loc, log_scale = self.encoder(_joined(image, digit)).chunk(2, -1)
            pyro.sample("style", dist.Normal(loc, log_scale.exp()).to_event(1))

    def classify(self, image: Tensor, digit: Tensor) -> None:
        """The weighed likelihood of labels."""
        pyro.module("m2", self)
        with pyro.plate("data", len(image)), poutine.scale(scale=WEIGHT):
            pyro.sample("label", dist.OneHotCategorical(logits=self.classifier(image)), obs=digit)


def train(labels: int, seed: int, epochs: int) -> list[Epoch]:
    """The epochs of a training on the labels and the validation images that the recipe `ssvae` has with this seed."""
    split = semi_supervised_split(mnist().train, labels, seed, validation=10_000)
    with pyro.get_param_store().scope():
        return list(_trained(split, seed, epochs))


def _trained(split: SemiSupervisedSplit, seed: int, epochs: int) -> Iterator[Epoch]:
    assert split.validation is not None
    pyro.set_rng_seed(seed)
    m2, adam = M2(), pyro.optim.Adam({"lr": RATE, "betas": (0.9, 0.999)})  # pyright: ignore[reportAttributeAccessIssue]
    guide = config_enumerate(m2.guide, "parallel", expand=True)
    summed_out = TraceEnum_ELBO(max_plate_nesting=1, strict_enumeration_warning=False)  # with a label nothing is
    bound = SVI(m2.model, guide, adam, summed_out)
    classification = SVI(m2.classify, lambda image, digit: None, adam, Trace_ELBO())  # noqa: ARG005
    known = split.labelled.image.flatten(1), F.one_hot(split.labelled.digit, DIGITS).float()
    began, measuring = time.process_time(), 0.0
    for _ in range(epochs):
        for batch in _epoch(split.unlabelled.flatten(1), known):
            bound.step(*batch)
            if len(batch) > 1:
                classification.step(*batch)
        paused = time.process_time()
        with torch.no_grad():
            wrong = m2.classifier(split.validation.image.flatten(1)).argmax(-1) != split.validation.digit
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


def _network(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.Softplus(), nn.Linear(HIDDEN, outputs))


def _joined(*parts: Any) -> Tensor:
    shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*shape, -1) for part in parts], -1)
