"""Effect handlers that fix latents without calling them observed, by value or by unconstrained coordinates."""

from collections.abc import Mapping
from typing import Any

import pyro.poutine as poutine
import torch
from pyro.distributions import Delta, Independent, MaskedDistribution
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor
from torch.distributions import biject_to, constraints

__all__ = [
    "DrawData",
    "FromCoordinates",
    "LiftMasks",
    "Substitute",
    "hide_samples",
    "innermost",
    "is_real",
    "is_subsample",
]


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


class DrawData(Messenger):
    """Draws observed sites as if they were latent; what ``pyro.deterministic`` has computed stays as it is."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] and not isinstance(innermost(msg["fn"]), Delta):
            msg["is_observed"], msg["value"], msg["done"] = False, None, False


class FromCoordinates(Messenger):
    """Gives latent sites the values z = t(u) of unconstrained coordinates u, by the bijection t onto their support.

    A support may depend on values drawn before, so the map is part of the run. ``infer["_log_jacobian"]`` of a site
    is log |dz / du| by batch element, or None where z = u.
    """

    def __init__(self, coordinates: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.coordinates = coordinates

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        if name not in self.coordinates or msg["is_observed"] or is_subsample(msg):
            return
        fn, _ = lifted(msg["fn"])
        if isinstance(fn, Independent) and isinstance(fn.base_dist, MaskedDistribution):
            raise ValueError(
                f"the mask of the latent {name!r} leaves out parts of one event, which then have no density to be "
                f"integrated under; make these dimensions a plate rather than .to_event, and mask the site."
            )
        u, log_jacobian = self.coordinates[name], None
        transform = biject_to(fn.support)
        value = transform(u)
        if not is_real(fn.support):
            # A support that depends on enumerated values has more dimensions than u.
            batch = value.shape[: value.dim() - transform.codomain.event_dim]
            wide = u.expand(batch + u.shape[u.dim() - transform.domain.event_dim :])
            log_jacobian = transform.log_abs_det_jacobian(wide, value)
        msg["value"], msg["done"] = value, True
        msg["infer"] = {**(msg["infer"] or {}), "_given": True, "_log_jacobian": log_jacobian}


def innermost(fn: Any) -> Any:
    """A distribution without ``.to_event`` and ``.mask``."""
    while isinstance(fn, Independent | MaskedDistribution):
        fn = fn.base_dist
    return fn


def lifted(fn: Any) -> tuple[Any, Tensor | None]:
    """A distribution without its masks, and these as one mask by batch element, or None.

    A mask inside ``.to_event`` that differs within an event stays where it is.
    """
    if isinstance(fn, MaskedDistribution):
        inner, mask = lifted(fn.base_dist)
        own = torch.as_tensor(fn._mask)
        return inner, own if mask is None else own & mask
    if isinstance(fn, Independent):
        inner, mask = lifted(fn.base_dist)
        if mask is not None:
            count = fn.reinterpreted_batch_ndims
            flat = mask.expand(inner.batch_shape).flatten(-count) if count else mask
            if count and not (flat == flat[..., :1]).all():
                return fn, None
            mask = flat[..., 0] if count else mask
        return inner.to_event(fn.reinterpreted_batch_ndims), mask
    return fn, None


def is_real(support: Any) -> bool:
    """Whether every real value, element by element, is in the support: then z = u."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.real


class LiftMasks(Messenger):
    """Turns ``dist.mask(m)`` at a site into ``poutine.mask(m)``, so that one rule serves both."""

    def _pyro_sample(self, msg: Any) -> None:
        fn, mask = lifted(msg["fn"])
        if mask is not None:
            msg["fn"] = fn
            msg["mask"] = mask if msg["mask"] is None else mask & msg["mask"]
