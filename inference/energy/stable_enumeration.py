"""Pyro's own sums over discrete sites, without their underflow: our ring in place of its, inside a block."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro.infer.traceenum_elbo
import pyro.ops.contract
import pyro.ops.rings
import torch
from torch import Tensor

from .log_ring import StableLogRing, dims_of, with_dims

__all__ = ["stable_enumeration"]

IMPOSSIBLE = -1e30
"""Stands for log 0 in sums, where -inf would make gradients nan."""


@contextmanager
def stable_enumeration() -> Iterator[None]:
    r"""A block in which Pyro sums discrete sites out without underflow, for ``TraceEnum_ELBO`` and NUTS.

    Pyro shifts each factor by its own maximum before it multiplies them. Where factors disagree by a few hundred nats
    (a hundred in float32) every path can underflow, and the sum is then infinite, or finite and wrong: a chain at
    high beta, or likelihoods of images that prefer other states than their neighbours. Inside the block

    .. math:: \log \sum_z \exp \sum_i \log f_i(z)

    is computed as it stands, for the value and the gradient of ``TraceEnum_ELBO``, its ``compute_marginals`` and
    ``sample_posterior``, the potential energy of HMC and NUTS, and Pyro's ``einsum`` in log space, which
    ``TraceTMC_ELBO`` uses. ``infer_discrete`` keeps its own sums. The price is a table of the joint size of the factors
    that share a summed variable.

    Pyro has no setting for this, so its modules are changed for the length of the block, for all threads, and put
    back when the last block is left. Processes started inside it (chains of ``MCMC``) see it where they are forked.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from pyro.infer import TraceEnum_ELBO, config_enumerate
        >>> @config_enumerate
        ... def model():
        ...     a, b = pyro.sample("a", dist.Bernoulli(0.25)), pyro.sample("b", dist.Bernoulli(0.25))
        ...     pyro.factor("left", 900.0 * a)
        ...     pyro.factor("both", -700.0 * (a - b).abs())
        ...     pyro.factor("right", -901.0 * b)
        >>> elbo = TraceEnum_ELBO(max_plate_nesting=0)
        >>> elbo.loss(model, lambda: None)
        inf
        >>> with stable_enumeration():
        ...     elbo.loss(model, lambda: None)  # -900 + 700 - log(1/4 * 3/4)
        -198.326019...
    """
    _SWAP.enter()
    try:
        yield
    finally:
        _SWAP.leave()


class _Ring(StableLogRing):
    """For any use in Pyro: sizes are read from the terms, and an impossible path has gradient 0."""

    def sumproduct(self, terms: Iterable[Tensor], dims: Iterable[str]) -> Tensor:
        terms = [with_dims(term.clamp(min=IMPOSSIBLE), dims_of(term)) for term in terms]
        sizes = {dim: int(size) for term in terms for dim, size in zip(dims_of(term), term.shape, strict=True)}
        self._dim_to_size = {**self._dim_to_size, **sizes}
        total = super().sumproduct(terms, dims)
        return with_dims(torch.where(total < IMPOSSIBLE / 10, -torch.inf, total), dims_of(total))


class _Swap:
    """Blocks may overlap, in several threads too: the first that is entered swaps, the last that is left swaps back."""

    def __init__(self, *places: tuple[Any, str]) -> None:
        self.places, self.found = places, []
        self.blocks, self.lock = 0, threading.Lock()

    def enter(self) -> None:
        with self.lock:
            if not self.blocks:
                self.found = [names[name] for names, name in self.places]
                self._put([_Ring] * len(self.places))
            self.blocks += 1

    def leave(self) -> None:
        with self.lock:
            self.blocks -= 1
            if not self.blocks:
                self._put(self.found)

    def _put(self, rings: list[type]) -> None:
        for (names, name), ring in zip(self.places, rings, strict=True):
            names[name] = ring


_SWAP = _Swap(
    (vars(pyro.infer.traceenum_elbo), "SampleRing"),
    (vars(pyro.ops.contract), "LogRing"),
    (pyro.ops.rings.BACKEND_TO_RING, "pyro.ops.einsum.torch_log"),
)
