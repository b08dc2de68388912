"""Draws from a guide with their log densities, many at once where the guide allows it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pyro.poutine as poutine
import torch
from torch import Tensor

from .scoring import Term, run, site_terms
from .structure import Structure, probe, sample_sites
from .vectorize import Vectorization, differing_site, from_plates, stack_terms

__all__ = ["Guide", "GuideDraws"]

DRAWN = ("drawn",)
"""Under this name a guide's way of drawing is kept."""


class GuideDraws(NamedTuple):
    """S draws: the latents, (S, *own) each, and the terms -log q of the guide's sites."""

    latents: dict[str, Tensor]
    terms: dict[str, Term]


class Guide:
    """A guide called with the arguments of a bound view, that can be drawn from many times at once.

    Draws are taken along an outer plate if, for two of them, the densities equal those of the plain guide at the same
    values; else one by one. ``vectorized`` reports which, once several draws are taken.

    Args:
        guide: q(z | x), any Pyro callable.
        plate: the name of the data plate.
        args, kwargs: the guide's arguments.
        given: latents held fixed: the guide's other sites are drawn given these, whose density is left out.
        chosen: how a view of the guide vectorises, which remembers what is found out here too.
    """

    def __init__(
        self,
        guide: Callable,
        plate: str | None,
        args: tuple,
        kwargs: dict,
        given: Mapping[str, Tensor],
        chosen: dict[tuple, Vectorization] | None = None,
    ) -> None:
        self.guide, self.call, self.given = guide, (args, kwargs), dict(given)
        self.structure: Structure = probe(guide, plate, args, kwargs)
        self.chosen = {} if chosen is None else chosen

    @property
    def vectorized(self) -> bool | None:
        """Whether several draws are taken along an outer plate; None before there were any."""
        return None if DRAWN not in self.chosen else self.chosen[DRAWN] == "plate"

    def draw(self, draws: int, gradient: bool = False) -> GuideDraws:
        """``draws`` independent draws; with ``gradient``, differentiable where the guide is reparameterised."""
        if draws > 1 and DRAWN not in self.chosen:
            with torch.no_grad():
                self.chosen[DRAWN] = "plate" if self._plate_is_right() else "loop"
        with torch.enable_grad() if gradient else torch.no_grad():
            return self._along_plate(draws) if draws > 1 and self.vectorized else self._one_by_one(draws)

    def point_masses(self, latents: Mapping[str, Tensor]) -> list[str]:
        """Continuous sites that are the same in all draws: they have no density, so that weights mean nothing."""
        computed = [name for name in self._computed(latents) if latents[name].is_floating_point()]
        return [name for name in computed if (latents[name] == latents[name][:1]).all()]

    def _computed(self, latents: Mapping[str, Tensor]) -> list[str]:
        return [name for name in latents if self.structure.sites[name].computed]

    def _along_plate(self, draws: int) -> GuideDraws:
        trace = run(self.guide, self.structure, self.call, self.given, draws=draws)
        latents = from_plates(self.structure, self._drawn(trace), draws)
        return GuideDraws(latents, self._terms(trace, draws))

    def _one_by_one(self, draws: int) -> GuideDraws:
        traces = [run(self.guide, self.structure, self.call, self.given) for _ in range(draws)]
        drawn = [self._drawn(trace) for trace in traces]
        latents = {name: torch.stack([values[name] for values in drawn]) for name in drawn[0]}
        return GuideDraws(latents, stack_terms([self._terms(trace) for trace in traces]))

    def _drawn(self, trace: poutine.Trace) -> dict[str, Tensor]:
        return {name: site["value"] for name, site in sample_sites(trace).items() if name not in self.given}

    def _terms(self, trace: poutine.Trace, draws: int = 0) -> dict[str, Term]:
        terms = site_terms(trace, self.structure, draws=draws)
        return {name: term for name, term in terms.items() if name not in self.given}

    def _plate_is_right(self) -> bool:
        try:
            pair = self._along_plate(2)
        except Exception:  # a guide may fail in any way where it does not broadcast
            return False
        rows = [self._plain({name: value[i] for name, value in pair.latents.items()}) for i in range(2)]
        if any(row is None for row in rows):
            return False
        plain = stack_terms([row for row in rows if row is not None])
        return differing_site(plain, pair.terms) is None

    def _plain(self, latents: dict[str, Tensor]) -> dict[str, Term] | None:
        """The plain guide's terms at the random values of one draw; None if what it computes from them differs."""
        computed = self._computed(latents)
        random = {name: value for name, value in latents.items() if name not in computed}
        trace = run(self.guide, self.structure, self.call, {**self.given, **random})
        again = self._drawn(trace)
        if any(not torch.allclose(again[name], latents[name], rtol=1e-4, atol=1e-5) for name in computed):
            return None
        return self._terms(trace)
