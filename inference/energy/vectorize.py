"""Energies of many draws at once: by ``torch.vmap``, else along an outer plate, else draw by draw."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from pyro.util import get_rng_state, set_rng_state
from torch import Tensor

from .checks_by_value import checks_by_value
from .scoring import Term, run, site_terms
from .structure import Site, Structure, sample_sites

__all__ = ["Program", "Scoring", "Vectorization", "beside_plates", "differing_site", "from_plates", "stack_terms"]

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

    @property
    def call(self) -> tuple[tuple, dict[str, Any]]:
        """The arguments that the callable is called with."""
        return self.args, self.kwargs

    def terms(self, latents: Mapping[str, Tensor]) -> dict[str, Term]:
        """Per-site energies, with the leading dimensions of the latents in front: (…, N) or (…)."""
        lead = self.leading_shape(latents)
        if not lead:
            if ("reproducible",) not in self.chosen and checks_by_value():
                self._check_reproducible(self._one(latents), self._one(latents))
                self.chosen["reproducible",] = "loop"
            return self._one(latents)
        flat = {name: self._flatten(name, value, lead) for name, value in latents.items()}
        terms = self.many(flat, self.by_site)
        return {n: t._replace(energy=t.energy.reshape(lead + t.energy.shape[1:])) for n, t in terms.items()}

    @property
    def by_site(self) -> "Scoring":
        """The energies of every site."""
        return Scoring("terms", self._one, self._along_plate)

    def many(self, flat: Mapping[str, Tensor], scoring: "Scoring") -> dict[str, Term]:
        """The terms of many draws, (S, …) each, from values with one leading dimension S of draws."""
        return self.in_mode(self._choose(flat, scoring), flat, scoring)

    @property
    def broadcasts(self) -> bool:
        """Whether many runs can be one along an outer plate: two prior draws have the same energies there."""
        key = ("broadcasts",)
        if key not in self.chosen:
            state = get_rng_state()
            try:
                self.chosen[key] = "plate" if self._plate_is_right() else "loop"
            finally:
                set_rng_state(state)
        return self.chosen[key] == "plate"

    @torch.no_grad()
    def _plate_is_right(self) -> bool:
        try:
            runs = [sample_sites(run(self.callable, self.structure, self.call, {})) for _ in range(2)]
            pair = {name: torch.stack([nodes[name]["value"] for nodes in runs]) for name in self.structure.latents}
            plain, plated = (self.in_mode(mode, pair, self.by_site) for mode in MODES[:0:-1])
            return differing_site(plain, plated) is None
        except Exception:  # a program may fail in any way where it does not broadcast
            return False

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
        return site_terms(run(self.callable, self.structure, self.call, latents), self.structure)

    def _along_plate(self, flat: Mapping[str, Tensor], draws: int) -> dict[str, Term]:
        latents = beside_plates(self.structure, flat)
        trace = run(self.callable, self.structure, self.call, latents, draws=draws)
        return site_terms(trace, self.structure, draws=draws)

    def in_mode(self, mode: Vectorization, flat: Mapping[str, Tensor], scoring: "Scoring") -> dict[str, Term]:
        """The terms of many draws in one way, whether it is right or not."""
        draws = len(next(iter(flat.values())))
        match mode:
            case "vmap":
                return _vmapped(scoring.one, flat)
            case "plate":
                assert scoring.plated is not None
                return scoring.plated(flat, draws)
            case "loop":
                rows = [scoring.one({name: value[i] for name, value in flat.items()}) for i in range(draws)]
                return stack_terms(rows)

    def _choose(self, flat: Mapping[str, Tensor], scoring: "Scoring") -> Vectorization:
        """The first way whose energies of two different draws equal those of the plain trace."""
        shapes = sorted((name, tuple(value.shape[1:]), str(value.dtype)) for name, value in flat.items())
        key = (scoring.name, *shapes)
        if key in self.chosen:
            return self.chosen[key]
        pair = _two_different_draws(flat)
        if pair is None:  # nothing to compare, and nothing to gain
            return "loop"
        state = get_rng_state()
        try:
            with torch.no_grad():
                self.chosen[key] = self._first_right_mode(pair, scoring)
        finally:
            set_rng_state(state)
        return self.chosen[key]

    def _first_right_mode(self, pair: Mapping[str, Tensor], scoring: "Scoring") -> Vectorization:
        state = get_rng_state()
        plain = self.in_mode("loop", pair, scoring)
        # The random state has moved on, if the program draws anything.
        self._check_reproducible(plain, self.in_mode("loop", pair, scoring))
        for mode in MODES[:-1]:
            if mode == "plate" and scoring.plated is None:
                continue
            set_rng_state(state)
            try:
                difference = differing_site(plain, self.in_mode(mode, pair, scoring))
            except Exception as error:  # a program may fail in any way where it does not broadcast
                difference = f"{type(error).__name__}: {error}".splitlines()[0]
            if difference is None:
                return mode
            self.refused[mode] = difference
        return "loop"

    def _check_reproducible(self, once: dict[str, Term], again: dict[str, Term]) -> None:
        difference = differing_site(once, again)
        if difference is not None:
            raise ValueError(
                f"the program is not reproducible: at the same latents, {difference} the second time. It draws random "
                f"numbers, or changes something, outside its sample sites; make each random number a pyro.sample site."
            )


class Scoring(NamedTuple):
    """What is computed of each draw: ``one`` for a single draw, ``plated`` (None: never) for S along an outer plate."""

    name: str
    one: Callable[[Mapping[str, Tensor]], dict[str, Term]]
    plated: Callable[[Mapping[str, Tensor], int], dict[str, Term]] | None


def _vmapped(one: Callable[[Mapping[str, Tensor]], dict[str, Term]], flat: Mapping[str, Tensor]) -> dict[str, Term]:
    described: dict[str, Term] = {}

    def energies(latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
        terms = one(latents)
        described.update(terms)
        return {name: term.energy for name, term in terms.items()}

    # Whatever is random in the program itself must be the same for all draws.
    values = torch.vmap(energies, randomness="same")(dict(flat))
    return {name: described[name]._replace(energy=value) for name, value in values.items()}


def beside_plates(structure: Structure, flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values (S, *own) as (S, 1, ..., *own): the draws to the left of every batch dimension of the program."""

    def spread(site: Site, value: Tensor) -> Tensor:
        return value.reshape((len(value),) + (1,) * (structure.depth - site.batch) + tuple(value.shape[1:]))

    return {name: spread(structure.sites[name], value) for name, value in flat.items()}


def from_plates(structure: Structure, values: Mapping[str, Tensor], draws: int) -> dict[str, Tensor]:
    """The inverse of ``beside_plates``, for values of which some lack dimensions that they do not vary along."""

    def gathered(site: Site, value: Tensor) -> Tensor:
        ones = (1,) * (structure.depth - site.batch)
        return value.expand((draws, *ones, *site.shape)).reshape(draws, *site.shape)

    return {name: gathered(structure.sites[name], value) for name, value in values.items()}


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
            return f"site {name!r} has other energies"
    return None
