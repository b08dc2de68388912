"""Energies of many draws at once: by ``torch.vmap``, else along an outer plate, else draw by draw."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from pyro.util import get_rng_state, set_rng_state
from torch import Tensor

from .scoring import Term, run, site_terms
from .structure import Site, Structure

__all__ = ["Program", "Vectorization", "differing_site", "stack_terms"]

Vectorization = Literal["vmap", "plate", "loop"]
MODES: tuple[Vectorization, ...] = ("vmap", "plate", "loop")


@dataclass(frozen=True)
class Program:
    """A Pyro callable with its arguments and its structure, whose sites can be scored for many draws at once.

    ``chosen`` remembers, for each set of shapes, how draws are vectorised, and ``refused`` why the faster ways were
    not taken.
    """

    callable: Callable
    args: tuple
    kwargs: dict[str, Any]
    structure: Structure
    chosen: dict[tuple, Vectorization] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def terms(self, latents: Mapping[str, Tensor]) -> dict[str, Term]:
        """Per-site energies, with the leading dimensions of the latents in front: (…, N) or (…)."""
        lead = self.leading_shape(latents)
        if not lead:
            return self._one(latents)
        flat = {name: self._flatten(name, value, lead) for name, value in latents.items()}
        terms = self._many(self._choose(flat), flat)
        return {n: t._replace(energy=t.energy.reshape(lead + t.energy.shape[1:])) for n, t in terms.items()}

    def leading_shape(self, latents: Mapping[str, Tensor]) -> torch.Size:
        """The draw dimensions of the latents, after checking their names and shapes."""
        sites = self.structure.sites
        missing = [name for name in self.structure.latents if name not in latents]
        if missing:
            raise ValueError(
                f"latents lack {missing}: the program's latent sites are {self.structure.latents}, and none of them "
                f"is sampled or summed here; pass a tensor for each, or use free_energy to integrate them out."
            )
        lead = torch.Size()
        for name, value in latents.items():
            if name not in sites or sites[name].observed:
                what = "an observed site" if name in sites else "no site"
                raise ValueError(f"latents name {name!r}, which is {what}; latent are {self.structure.latents}.")
            own = sites[name].shape
            if value.dim() < len(own) or value.shape[value.dim() - len(own) :] != own:
                raise ValueError(
                    f"latents[{name!r}] has shape {tuple(value.shape)}; its trailing dimensions must be the site's "
                    f"own, {tuple(own)}, and any dimensions before them are draws."
                )
            lead = torch.broadcast_shapes(lead, value.shape[: value.dim() - len(own)])
        return torch.Size(lead)

    def _flatten(self, name: str, value: Tensor, lead: torch.Size) -> Tensor:
        own = self.structure.sites[name].shape
        return value.expand(lead + own).reshape((math.prod(lead), *own))

    def _one(self, latents: Mapping[str, Tensor]) -> dict[str, Term]:
        return site_terms(run(self.callable, self.structure, self.args, self.kwargs, latents), self.structure)

    def _many(self, mode: Vectorization, flat: Mapping[str, Tensor]) -> dict[str, Term]:
        draws = len(next(iter(flat.values())))
        match mode:
            case "vmap":
                terms = self._vmapped(flat)
            case "plate":
                terms = self._plated(flat, draws)
            case "loop":
                terms = stack_terms([self._one({name: value[i] for name, value in flat.items()}) for i in range(draws)])
        return terms

    def _vmapped(self, flat: Mapping[str, Tensor]) -> dict[str, Term]:
        described: dict[str, Term] = {}

        def energies(latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
            terms = self._one(latents)
            described.update(terms)
            return {name: term.energy for name, term in terms.items()}

        # Whatever is random in the program itself must be the same for all draws.
        values = torch.vmap(energies, randomness="same")(dict(flat))
        return {name: described[name]._replace(energy=value) for name, value in values.items()}

    def _plated(self, flat: Mapping[str, Tensor], draws: int) -> dict[str, Term]:
        latents = _beside_plates(self.structure, flat)
        trace = run(self.callable, self.structure, self.args, self.kwargs, latents, draws=draws)
        return site_terms(trace, self.structure, draws=draws)

    def _choose(self, flat: Mapping[str, Tensor]) -> Vectorization:
        """The first way whose energies of two different draws equal those of the plain trace."""
        key = tuple(sorted((name, tuple(value.shape[1:]), value.dtype) for name, value in flat.items()))
        if key in self.chosen:
            return self.chosen[key]
        pair = _two_different_draws(flat)
        if pair is None:  # nothing to compare, and nothing to gain
            return "loop"
        state = get_rng_state()
        try:
            with torch.no_grad():
                self.chosen[key] = self._first_right_mode(pair)
        finally:
            set_rng_state(state)
        return self.chosen[key]

    def _first_right_mode(self, pair: Mapping[str, Tensor]) -> Vectorization:
        state = get_rng_state()
        plain = self._many("loop", pair)
        for mode in MODES[:-1]:
            set_rng_state(state)
            try:
                difference = differing_site(plain, self._many(mode, pair))
            except Exception as error:  # a program may fail in any way where it does not broadcast
                difference = f"{type(error).__name__}: {error}".splitlines()[0]
            if difference is None:
                return mode
            self.refused[mode] = difference
        return "loop"


def _beside_plates(structure: Structure, flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values (S, *own) as (S, 1, ..., *own): the draws to the left of every batch dimension of the program."""

    def spread(site: Site, value: Tensor) -> Tensor:
        ones = structure.depth - (len(site.shape) - site.event_dim)
        return value.reshape((len(value),) + (1,) * ones + tuple(site.shape))

    return {name: spread(structure.sites[name], value) for name, value in flat.items()}


def stack_terms(rows: list[dict[str, Term]]) -> dict[str, Term]:
    """The terms of several draws as one, with the draws in front."""
    for row in rows[1:]:
        if row.keys() != rows[0].keys():
            differing = sorted(row.keys() ^ rows[0].keys())
            raise ValueError(f"the sites {differing} are in some draws only; score such draws one by one.")
    return {n: term._replace(energy=torch.stack([row[n].energy for row in rows])) for n, term in rows[0].items()}


def _two_different_draws(flat: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    draws = len(next(iter(flat.values())))
    for other in range(draws - 1, 0, -1):
        if any(not torch.equal(value[0], value[other]) for value in flat.values()):
            return {name: value[[0, other]].detach() for name, value in flat.items()}
    return None


def differing_site(plain: dict[str, Term], other: dict[str, Term]) -> str | None:
    """What differs between two scorings beyond rounding, or None."""
    for name, term in plain.items():
        expected, got = term.energy, other[name].energy
        if expected.shape != got.shape:
            return f"site {name!r} has energies of shape {tuple(got.shape)}, not {tuple(expected.shape)}"
        tolerance = 1e4 * torch.finfo(expected.dtype).eps
        if not torch.allclose(expected, got, rtol=tolerance, atol=tolerance, equal_nan=True):
            return f"site {name!r} has other energies than draw by draw"
    return None
