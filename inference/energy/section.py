r"""Energies in one or two coordinates of a latent, with everything else held at a minimiser of the energy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from .minimum import Minimum
from .scoring import run
from .structure import Site, sample_sites
from .view import BoundView

__all__ = ["Section", "section"]

RISE = 8.0
"""A section reaches to where the energy is so many nats above the minimum."""
WIDEST = 4.0
"""A bounded support that is no longer than so many reaches is shown whole."""
NUMBERS_AT_ONCE = 2_000_000

Limits = tuple[float, float]


@dataclass(frozen=True)
class Section:
    """The energy as a function of some elements of one latent.

    Attributes:
        view: the bound view.
        site: the latent's name.
        flat: the places of the elements in the flattened value.
        elements: the places in the value of one datum (or of the site, where it has no data plate).
        datum: the datum, or None where the latent lies outside the data plate.
        by_datum: whether the energy is that of the datum, E_n, or the total.
        held: values of all latents.
        minimum: the minimum that they are held at.
    """

    view: BoundView
    site: str
    flat: list[int]
    elements: tuple[int, ...]
    datum: int | None
    by_datum: bool
    held: dict[str, Tensor]
    minimum: Minimum

    @property
    def labels(self) -> list[str]:
        """The name of each coordinate."""
        of = "" if self.datum is None else f" of datum {self.datum}"
        alone = len(self._of_one_datum()) == 1
        return [f"{self.site}{'' if alone else f'[{element}]'}{of}" for element in self.elements]

    @property
    def alone(self) -> bool:
        """Whether nothing else that this energy depends on is held at the minimiser."""
        free = [site for name, site in self.view.structure.sites.items() if name in self.minimum.latents]
        shared = self.by_datum or self.datum is None or self.view.structure.size == 1
        return len(free) == 1 and shared and len(self._of_one_datum()) == len(self.elements)

    @torch.no_grad()
    def energy(self, points: Tensor) -> Tensor:
        """E at points (S, D) of the coordinates, (S,)."""
        rows = max(1, NUMBERS_AT_ONCE // sum(value.numel() for value in self.held.values()))
        return torch.cat([self._energy(part) for part in points.split(rows)])

    def minima(self) -> tuple[Tensor, Tensor]:
        """The distinct minima in these coordinates, (K, D), and their energies, (K,), the lowest first."""
        energies = self.minimum.minima_energy
        energies = energies[:, self.datum] if self.by_datum else energies
        found = energies.isfinite()
        values = self.minimum.minima[self.site].reshape(len(found), -1)[:, self.flat]
        return values[found].double(), energies[found]

    def outcome(self) -> tuple[int, bool]:
        """How many minima are the lowest, and whether the lowest has converged."""
        ties, converged = self.minimum.ties, self.minimum.converged
        if self.by_datum:
            ties, converged = ties[self.datum], converged[self.datum]
        return int(ties), bool(converged)

    def limits(self) -> list[Limits]:
        """Where the energy has risen by 8 nats on each side of the minima, inside the support.

        Raises:
            ValueError: if no other value of a coordinate has a finite energy.
        """
        found = [self._axis_limits(axis) for axis in range(len(self.flat))]
        return self._widened(found) if len(found) == 2 else found

    def grid(self, limits: Sequence[Limits], points: int) -> tuple[list[Tensor], Tensor]:
        """Coordinates (P,) along each axis, and E on their grid: (P,), or (P, P) with the first along the rows."""
        axes = [torch.linspace(low, high, points, dtype=torch.float64) for low, high in limits]
        return axes, self.energy(torch.cartesian_prod(*axes).reshape(-1, len(axes))).reshape([points] * len(axes))

    def _of_one_datum(self) -> Tensor:
        return _places(self.view.structure.sites[self.site], self.view.plate, self.datum)

    def _energy(self, points: Tensor) -> Tensor:
        latents = {name: value.expand(len(points), *value.shape) for name, value in self.held.items()}
        moved = self.held[self.site].flatten().repeat(len(points), 1)
        moved[:, self.flat] = points.to(moved.dtype)
        latents[self.site] = moved.reshape(len(points), *self.held[self.site].shape)
        if self.by_datum:
            return self.view.energy_per_datum(latents)[:, self.datum].double()
        return self.view.energy(latents).double()

    def _centre(self) -> Tensor:
        return self.held[self.site].flatten()[self.flat].double()

    def _axis_limits(self, axis: int) -> Limits:
        """From the minimum outwards in steps that grow by 2^(1/16), to the support's ends at most."""
        centre = self._centre()
        lower, upper = self._support(axis)
        steps = 2.0 ** torch.arange(-14, 20, 1 / 16, dtype=torch.float64)
        lowest = self.energy(centre[None])[0]
        ends, stuck = [], True
        for sign in (-1.0, 1.0):
            points = centre.repeat(len(steps), 1)
            points[:, axis] += sign * steps
            energies = self.energy(points)
            high = (energies - lowest > RISE) | ~energies.isfinite()
            first = int(high.to(torch.int8).argmax()) if high.any() else len(steps) - 1
            ends.append(float(points[first, axis]))
            stuck = stuck and not energies[0].isfinite()
        if stuck:
            raise ValueError(
                f"{self.labels[axis]} has a finite energy at the minimum alone: the support of {self.site!r} ties its "
                f"elements together, so that none can move by itself."
            )
        minima, _ = self.minima()
        margin = 0.1 * (ends[1] - ends[0])
        low = min(ends[0], float(minima[:, axis].min()) - margin)
        high = max(ends[1], float(minima[:, axis].max()) + margin)
        if upper - lower <= WIDEST * (high - low):
            low, high = lower, upper
        inside = 1e-6 * (high - low)  # at the very ends of a support densities may be 0 or infinite
        return max(low, lower + inside), min(high, upper - inside)

    def _widened(self, limits: list[Limits]) -> list[Limits]:
        """Sides on which the energy is low somewhere are moved outwards: coordinates may be correlated."""
        ends = [self._support(axis) for axis in range(2)]
        for _ in range(8):
            _, energies = self.grid(limits, 21)
            rise = energies - energies[energies.isfinite()].min()
            lows = [[rise[0].min(), rise[-1].min()], [rise[:, 0].min(), rise[:, -1].min()]]
            wider = [_wider(*numbers) for numbers in zip(limits, ends, lows, strict=True)]
            if wider == limits:
                break
            limits = wider
        return limits

    def _support(self, axis: int) -> Limits:
        """The bounds of one coordinate, infinite where it has none."""
        program = self.view.program
        node = sample_sites(run(program.callable, program.structure, program.call, self.held))[self.site]
        support = node["fn"].support
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        shape = self.held[self.site].shape

        def bound(name: str, without: float) -> float:
            value = torch.as_tensor(getattr(support, name, without))
            return float(value.expand(shape).flatten()[self.flat[axis]])

        return bound("lower_bound", -math.inf), bound("upper_bound", math.inf)


def section(
    view: BoundView,
    latent: str | tuple[Any, ...] | None,
    datum: int | None,
    given: Mapping[str, Tensor],
    minimum: Minimum,
) -> Section:
    """The section that ``plot_energy`` draws; its arguments are described there.

    Raises:
        ValueError: if there is no such latent, datum or element, or it is not free and continuous.
    """
    name, *elements = (latent,) if latent is None or isinstance(latent, str) else latent
    site = _site(view, name, given)
    structure = view.structure
    local = view.plate is not None and view.plate in site.plate_dims
    if datum is not None and (not local or not 0 <= datum < structure.size):
        raise ValueError(
            f"datum must be None for {site.name!r}, which lies outside the data plate; got {datum}."
            if not local
            else f"datum must be one of the {structure.size} data, got {datum}."
        )
    datum = (datum or 0) if local else None
    places = _places(site, view.plate, datum)
    elements = elements or list(range(min(2, len(places))))
    if not 1 <= len(elements) <= 2 or not all(isinstance(e, int) and 0 <= e < len(places) for e in elements):
        raise ValueError(
            f"latent must name one or two of the {len(places)} elements of {site.name!r}, as in "
            f"({site.name!r}, 0, {min(1, len(places) - 1)}); got {latent!r}."
        )
    missing = [n for n in structure.latents if n not in given and n not in minimum.latents]
    if missing:
        raise ValueError(f"minimum has no values of the latents {missing}; pass them in given=, as for its search.")
    held = {name: (given[name] if name in given else minimum.latents[name]).detach() for name in structure.latents}
    flat = places[elements].tolist()
    by_datum = datum is not None and minimum.per_datum is not None
    return Section(view, site.name, flat, tuple(elements), datum, by_datum, held, minimum)


def _site(view: BoundView, name: str | None, given: Mapping[str, Tensor]) -> Site:
    sites = [view.structure.sites[n] for n in view.structure.latents if n not in given]
    free = {site.name: site for site in sites if not site.discrete and site.coordinates is not None}
    if not free:
        raise ValueError("the program has no free continuous latent, along which its energy could be drawn.")
    if name is not None and name not in free:
        raise ValueError(f"latent must be one of the free continuous latents {list(free)}, got {name!r}.")
    return free[name or next(iter(free))]


def _places(site: Site, plate: str | None, datum: int | None) -> Tensor:
    """The places that the elements of one datum have in the flattened value."""
    places = torch.arange(site.shape.numel()).reshape(site.shape)
    if datum is None or plate is None:
        return places.flatten()
    return places.select(site.batch + site.plate_dims[plate], datum).flatten()


def _wider(limits: Limits, ends: Limits, rises: Sequence[Tensor]) -> Limits:
    step = 0.25 * (limits[1] - limits[0])
    low = limits[0] - step if rises[0] < RISE else limits[0]
    high = limits[1] + step if rises[1] < RISE else limits[1]
    return max(low, ends[0]), min(high, ends[1])
