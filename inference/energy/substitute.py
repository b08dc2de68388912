"""Effect handlers that fix latents without calling them observed, and lift masks out of distributions."""

from collections.abc import Mapping
from typing import Any

import pyro.poutine as poutine
import torch
from pyro.distributions import MaskedDistribution
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

__all__ = ["LiftMasks", "Substitute", "hide_samples", "is_subsample"]


def hide_samples() -> Messenger:
    """A handler that hides sample sites from enclosing ones: a user's own trace must not see our runs."""

    def is_sample(site: Any) -> bool:
        return site["type"] == "sample"

    return poutine.block(hide_fn=is_sample)


def is_subsample(site: Mapping) -> bool:
    """Whether a site of a trace is the choice of a plate's subsample, which carries no energy."""
    return isinstance(site["fn"], _Subsample)


class Substitute(Messenger):
    """Gives latent sites the values passed, and plates the subsamples passed.

    Unlike ``poutine.condition`` it leaves the sites latent, since a free energy whose base measure is the prior must
    tell latents from data. ``used`` collects the names of the sites that took their value.
    """

    def __init__(self, values: Mapping[str, Tensor], subsamples: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.values = values
        self.subsamples = subsamples or {}
        self.used: set[str] = set()

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        if is_subsample(msg):
            if name in self.subsamples:
                msg["value"], msg["done"] = self.subsamples[name], True
        elif name in self.values and not msg["is_observed"]:
            msg["value"], msg["done"] = self.values[name], True
            msg["infer"] = {**(msg["infer"] or {}), "_given": True}
            self.used.add(name)


class LiftMasks(Messenger):
    """Turns ``dist.mask(m)`` at a site into ``poutine.mask(m)``, so that one rule serves both."""

    def _pyro_sample(self, msg: Any) -> None:
        while isinstance(msg["fn"], MaskedDistribution):
            mask = torch.as_tensor(msg["fn"]._mask)
            msg["fn"] = msg["fn"].base_dist
            msg["mask"] = mask if msg["mask"] is None else mask & msg["mask"]
