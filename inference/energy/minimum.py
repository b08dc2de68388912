r"""Zero temperature:  F_inf(x) = min over z of E(x, z), with its minimisers."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .enumeration import discrete_minimiser, enumerated_trace, log_partition
from .guide_draws import Guide
from .landscape import Landscape, landscape
from .lbfgs import Minimised, minimise
from .problem import Problem
from .starts import NoPrior

__all__ = ["Minimum", "distinct", "zero_temperature"]

ROWS_AT_ONCE = 8192
NEAR_END = 5.0
"""Coordinates of bounded latents beyond this are at the end of a support: within e^-5 of its width."""
AT_END = 8.0
"""Beyond this they are at the end itself."""
NEAR = 0.02
"""Minimisers closer than this part of the starting points' spread, in every coordinate, are one."""
COLD = 1e9
"""An inverse temperature at which only the lowest assignments of discrete latents count."""


@dataclass(frozen=True)
class Minimum:
    """The lowest energy found, in nats, and every distinct minimum beside it.

    K counts distinct minima; where data are independent each has its own, and those with fewer than K are filled with
    energy +inf. Of continuous latents it is what the starts have found, an upper bound on the global minimum; of
    discrete ones it is exact.

    Attributes:
        latents: the minimiser, by site, in the site's own shape.
        energy: the total energy, ().
        per_datum: (N,), or None where latents couple the data.
        converged: whether the lowest minimum is a stationary point, (N,) or ().
        minima: every distinct minimum by site, (K, *site.shape), the lowest first.
        minima_energy: their energies, (K, N) or (K,).
        ties: how many are as low as the lowest, within rounding, (N,) or (); 0 where every assignment of discrete
            latents is impossible, and the energy +inf.
    """

    latents: dict[str, Tensor]
    energy: Tensor
    per_datum: Tensor | None
    converged: Tensor
    minima: dict[str, Tensor]
    minima_energy: Tensor
    ties: Tensor


def zero_temperature(
    problem: Problem,
    starts: int = 16,
    guide: Callable | None = None,
    points: Mapping[str, Tensor] | None = None,
) -> Minimum:
    r"""F_inf(x) = min over z of E(x, z), for all data at once, by L-BFGS from many starts in unconstrained space.

    Discrete latents are minimised exactly, by max-product, at every point. The minimum is that of the energy of z,
    not of a density of the coordinates: no Jacobian enters.

    Args:
        problem: the program, its data and the latents held fixed; temperature and measure do not enter.
        starts: how many draws of the prior to start from, and of the guide if there is one.
        guide: q(z | x).
        points: more points to start from: every free continuous latent, (S, *site.shape).

    Raises:
        ValueError: if ``starts`` is not positive, or the energy is finite at no start of some datum.
    """
    if starts < 1:
        raise ValueError(f"starts must be at least 1, got {starts}.")
    if problem.discrete:
        return _discrete_minimum(problem)
    land = landscape(problem.program, problem.given)
    return _continuous_minimum(land, starting_points(land, starts, guide, points))


def starting_points(
    land: Landscape, starts: int, guide: Callable | None, points: Mapping[str, Tensor] | None = None
) -> Tensor:
    """Coordinates (S, G, D) to start minimising from: of the prior, of the guide and of the user's points."""
    parts = []
    try:
        parts.append(land.prior_draws(starts))
    except NotImplementedError as error:
        if guide is None and points is None:
            raise NoPrior(
                f"the prior of the latents {land.continuous} cannot be drawn from: {error}. Pass a guide, or points."
            ) from error
    if guide is not None:
        q = Guide(guide, land.structure.data_plate, *land.program.call, given=land.given)
        parts.append(land.coordinates(q.draw(starts).latents))
    if points is not None:
        missing = [name for name in land.continuous if name not in points]
        if missing:
            raise ValueError(f"points lack {missing}: pass every free continuous latent, {land.continuous}.")
        parts.append(land.coordinates(points))
    u = torch.cat(parts)
    return torch.where(u.isfinite(), u, u.new_zeros(()))


def _continuous_minimum(land: Landscape, starts: Tensor) -> Minimum:
    reached = _off_the_ends(land, _minimised(land, starts))
    if not reached.values.isfinite().any(0).all():
        raise ValueError(
            f"the energy is finite at none of the {len(starts)} starts; pass points=..., values of the latents "
            f"{land.continuous} that the program can explain the data with."
        )
    points, energies = distinct(reached, starts.std(0) if len(starts) > 1 else torch.ones_like(starts[0]), land.bounded)
    rounding = (100 * torch.finfo(points.dtype).eps + 1e-8) * energies[0].abs().clamp(min=1)
    ties = (energies <= energies[0] + rounding).sum(0)
    best = reached.values.argmin(0, keepdim=True)
    converged = reached.converged.gather(0, best)[0]
    minima = _with_discrete(land, points)
    latents = {name: value[0] for name, value in minima.items()}
    energy = energies[0].double()
    common = land.common_energy(1.0, "lebesgue")
    if land.by_datum:
        total = common + land.structure.subsampling * energy.sum()
        return Minimum(latents, total, energy, converged, minima, energies.double(), ties)
    return Minimum(latents, energy[0], None, converged[0], minima, energies[:, 0].double(), ties[0])


def _minimised(land: Landscape, starts: Tensor) -> Minimised:
    chunk = max(1, ROWS_AT_ONCE // land.groups)
    found = [minimise(land.lowest_energy, part) for part in starts.split(chunk)]
    return Minimised(*[torch.cat(values) for values in zip(*found, strict=True)])


def _off_the_ends(land: Landscape, reached: Minimised) -> Minimised:
    """Starts again where it is downhill from the end of a support inwards.

    Coordinates move the value ever less there, so that the energy looks stationary though it is not.
    """
    inwards, downhill = _inwards(land, reached)
    if not downhill.any():
        return reached
    again = _minimised(land, torch.where(downhill.unsqueeze(-1), inwards, reached.points))
    _, still = _inwards(land, again)
    return again._replace(converged=again.converged & ~still)


@torch.no_grad()
def _inwards(land: Landscape, reached: Minimised) -> tuple[Tensor, Tensor]:
    """Points moved in from the ends of supports, and where the energy is lower there."""
    inwards = torch.where(land.bounded, reached.points.clamp(-NEAR_END, NEAR_END), reached.points)
    chunk = max(1, ROWS_AT_ONCE // land.groups)
    values = torch.cat([land.lowest_energy(part) for part in inwards.split(chunk)])
    return inwards, values < reached.values - 1e-6 * reached.values.abs().clamp(min=1)


def distinct(reached: Minimised, spread: Tensor, bounded: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct converged minima by group, the lowest first: points (K, G, D) and energies (K, G), filled with inf.

    The lowest point is among them whether it has converged or not. All points at one end of a support are one.
    """
    order = reached.values.argsort(0)
    values = reached.values.gather(0, order)
    points = reached.points.gather(0, order.unsqueeze(-1).expand_as(reached.points))
    converged = reached.converged.gather(0, order)
    converged[0] = True
    new = torch.zeros_like(converged)
    places = torch.where(bounded, points.clamp(-AT_END, AT_END), points)
    for index in range(len(values)):
        near = ((places[:index] - places[index]).abs() <= NEAR * spread + 1e-6).all(-1)
        new[index] = converged[index] & ~(near & new[:index]).any(0)
    count = int(new.sum(0).amax())
    first = (~new).to(torch.int8).argsort(dim=0, stable=True)[:count]
    energies = torch.where(new, values, math.inf).gather(0, first)
    return points.gather(0, first.unsqueeze(-1).expand(-1, -1, points.shape[-1])), energies


def _with_discrete(land: Landscape, points: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        latents = land.latents(points)
        if not land.discrete:
            return latents
        found = [
            discrete_minimiser(land.program, land.given, {name: value[k] for name, value in land.split(points).items()})
            for k in range(len(points))
        ]
    return latents | {name: torch.stack([values[name] for _, values in found]) for name in land.discrete}


@torch.no_grad()
def _discrete_minimum(problem: Problem) -> Minimum:
    program, given, structure = problem.program, problem.given, problem.program.structure
    lowest, latents = discrete_minimiser(program, given)
    cold = log_partition(enumerated_trace(program, given), structure, COLD, "lebesgue")
    by_datum = lowest.per_datum is not None and all(structure.data_plate in structure.sites[n].plates for n in latents)
    if by_datum:
        assert lowest.per_datum is not None
        assert cold.per_datum is not None
        energy, log_z = lowest.per_datum, cold.per_datum
        total = lowest.common + structure.subsampling * energy.sum()
    else:
        energy = total = lowest.common + (0 if lowest.per_datum is None else lowest.per_datum.sum())
        log_z = cold.common + (0 if cold.per_datum is None else cold.per_datum.sum())
    # At so low a temperature Z is exp(-beta E_min) times the number of assignments that have it.
    possible = energy.isfinite()
    ties = torch.where(possible, log_z + COLD * energy, -math.inf).exp().round().long()
    minima = {name: value.unsqueeze(0) for name, value in latents.items()}
    converged = possible
    return Minimum(latents, total, energy if by_datum else None, converged, minima, energy.unsqueeze(0), ties)
