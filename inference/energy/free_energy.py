r"""The result of every free-energy method:  F_beta(x) = -(1/beta) log of the integral of exp(-beta E(x, z)) over z."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from .base_measure import Base
from .scoring import Term

__all__ = ["Bound", "FreeEnergy", "exact", "reliable_pareto_k", "temper_terms"]

Bound = Literal["exact", "upper", "lower", "estimate"]


@dataclass(frozen=True)
class FreeEnergy:
    r"""A free energy in nats, and what kind of number it is.

    Attributes:
        value: the total, ().
        standard_error: its standard error, (); 0 where it is exact.
        per_datum: (N,) where every integrated latent lies inside the data plate, else None: a shared latent couples
            the data. Without the data plate's subsampling factor.
        per_datum_error: the standard errors of ``per_datum``, (N,), or None.
        common: the part of the total that belongs to no datum, ().
        bound: ``"exact"``; ``"estimate"`` of the number itself; ``"upper"`` or ``"lower"``: an estimate of a bound on
            it. In each case ``standard_error`` is that of the estimate.
        method: how it was computed.
        beta: the inverse temperature.
        base: the base measure, ``"lebesgue"``, ``"prior"`` or ``"uniform"``.
        evidence: the method's own evidence, such as ``pareto_k`` and ``ess``, (N,) or ().
    """

    value: Tensor
    standard_error: Tensor
    per_datum: Tensor | None
    per_datum_error: Tensor | None
    common: Tensor
    bound: Bound
    method: str
    beta: float
    base: Base
    evidence: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.value.dim():
            return f"F of {tuple(self.value.shape)} draws, {self.value.tolist()} nats ({self._kind()})"
        error = "" if self.bound == "exact" else f" ± {self.standard_error.item():.2g}"
        return f"F = {self.value.item():.6g}{error} nats ({self._kind()}){self._caveat()}"

    def _kind(self) -> str:
        kind = {"upper": "upper bound, estimated", "lower": "lower bound, estimated"}.get(self.bound, self.bound)
        of = " of simulated data" if self.method == "bidirectional" else ""
        return f"{kind}{of}; {self.method}, beta = {self.beta:g}, base {self.base}"

    def _caveat(self) -> str:
        if "pareto_k" in self.evidence:
            k = torch.as_tensor(self.evidence["pareto_k"]).max().item()
            if not k <= reliable_pareto_k(self.evidence["draws"]):
                return f"; not reliable: Pareto k is up to {k:.2f}"
        if self.method == "annealing" and self.standard_error.isnan():
            return "; error withheld: log weights spread too much, take more temperatures"
        return ""


def reliable_pareto_k(draws: int) -> float:
    """The largest reliable Pareto k of S draws, min(1 - 1 / log10 S, 0.7) (Vehtari et al. 2024, section 3.2.4)."""
    return min(1 - 1 / math.log10(draws), 0.7)


def temper_terms(terms: Mapping[str, Term], latents: Collection[str], beta: float, base: Base) -> dict[str, Term]:
    """The energies times beta; with ``base="prior"`` the latents' own terms, which are the measure, are left."""

    def factor(name: str) -> float:
        return 1.0 if base == "prior" and name in latents else beta

    return {name: term._replace(energy=factor(name) * term.energy) for name, term in terms.items()}


def exact(per_datum: Tensor | None, common: Tensor, subsampling: float, **kind: Any) -> FreeEnergy:
    """An exact free energy from its local and common parts."""
    value = common if per_datum is None else common + subsampling * per_datum.sum()
    error = None if per_datum is None else torch.zeros_like(per_datum)
    return FreeEnergy(value, torch.zeros_like(value), per_datum, error, common, bound="exact", **kind)
