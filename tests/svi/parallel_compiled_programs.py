"""What is trained by compiled steps in two processes for tests/svi/test_parallel_compiled.py."""

import functools
import os
import signal
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from parallel_programs import EPS, EQUAL, RANK, Decoder, Encoder, NanAt, X, neural, normalised
from pyro.optim.clipped_adam import ClippedAdam
from torch import Tensor, nn


class Drawing(Encoder):
    """The encoder with noise of its own."""

    def forward(self, x: Tensor, eps: Tensor) -> None:
        """The program."""
        super().forward(x, torch.randn_like(eps))


class Lopsided(Decoder):
    """A scale of its own for batches of few rows, so that one process has a gradient for it, and the other none."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-0.3))

    def forward(self, x: Tensor, eps: Tensor) -> None:  # noqa: ARG002
        """The program."""
        scale = self.log_scale.exp() if len(x) < 4 else 0.5
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
            pyro.sample("x", dist.Normal(self.net(z), scale).to_event(1), obs=x)


class Reading(Decoder):
    """A program that reads a number of its data, in the second process alone."""

    def forward(self, x: Tensor, eps: Tensor) -> None:
        """The program."""
        if RANK == 1:
            float(x.sum())
        super().forward(x, eps)


def interrupted_in_process_1(progress: float) -> float:
    """A schedule, which is called before each step."""
    if RANK == 1 and progress == 9 / 20:  # once: a second signal would not wait
        os.kill(os.getpid(), signal.SIGINT)
    return 1.0


def drawing(**changed: Any) -> dict[str, Any]:
    return neural(guide=Drawing(), **changed)


EXACT: dict[str, Callable[[], dict[str, Any]]] = {
    "noise of its own, in uneven shares": drawing,
    "an empty share": lambda: drawing(data={"x": X[:17], "eps": EPS[:17]}),
    "a gradient in one process alone": lambda: drawing(model=Lopsided(), batch_size=7),
    "a schedule and a temperature": lambda: drawing(schedule=lambda done: 1 - done / 2, beta=lambda done: 0.5 + done),
    "an optimizer that is not known": lambda: drawing(optimizer=functools.partial(torch.optim.SGD, lr=1e-3)),
    "a rate that decays": lambda: drawing(optimizer=lambda leaves: ClippedAdam(leaves, lr=0.05, lrd=0.9)),
    **{name: EQUAL[name] for name in ("rows", "a function that is a mean", "a subsampled plate", "streams")},
    **{name: EQUAL[name] for name in ("an ELBO that adds to gradients itself", "all rows, in Pyro's store")},
    **{name: EQUAL[name] for name in ("batch normalisation", "batch normalisation in a mean")},
}
EXCHANGED = "noise of its own, in uneven shares", "an empty share", "an optimizer that is not known"


def reading(**changed: Any) -> dict[str, Any]:
    return drawing(model=Reading(), **changed)


def nan_in_one(beside_normalisation: bool, **changed: Any) -> dict[str, Any]:
    model = NanAt()
    if beside_normalisation:
        model.net = normalised().net
    return neural(model=model, batch_size=4, data={"x": X[:20], "eps": EPS[:20]}, **changed)
