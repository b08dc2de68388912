"""Cases that end their process, or are wrong, so that what looks for such can be shown to find it."""

import os
import signal
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor

from .exactness_case import Case

__all__ = ["PLANTED"]


def killing(y: Tensor) -> None:
    """A mean; where torch has two threads its process ends, as by a fault in memory."""
    if torch.get_num_threads() == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


def threaded(y: Tensor) -> None:
    """A mean whose prior depends on the number of threads."""
    mean = pyro.sample("mean", dist.Normal(0.0, float(torch.get_num_threads())))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


def _of(model: Callable) -> Callable[[], Case]:
    return lambda: Case(model, AutoNormal(model), {"y": torch.linspace(-1.0, 2.0, 5)}, {"batch_size": None})


PLANTED: dict[str, Callable[[], Case]] = {"ends its process": _of(killing), "depends on threads": _of(threaded)}
