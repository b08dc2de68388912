r"""Free energies by the trapezoidal rule:  Z = h^D |det L| sum over k of f(m + h L k),  k on the lattice Z^D."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .base_measure import Base
from .free_energy import FreeEnergy
from .grouped_result import by_group
from .landscape import Landscape, landscape
from .modes import Modes, find_modes
from .problem import Problem
from .rung import Rung, totals

__all__ = ["Integral", "integrate", "quadrature_free_energy"]

DROP = 32.0
"""Where the log density is so far below its maximum, the lattice ends: about e^-32 of the mass lies beyond."""
POINTS = 1_000_000
"""The most points that the lattice of a group may have."""
LONGEST_REACH = 1 << 17
"""So many points of a line are tried at once, at most."""
ROWS_AT_ONCE = 50_000
TOLERANCE = 1e-9
HALVINGS = 6
NARROW = 3.0
"""The first spacing of lattice points, at most, in standard deviations of the narrowest mode."""

Evaluate = Callable[[Tensor], tuple[Tensor, ...]]


class Integral(NamedTuple):
    """F, U, H and c by group with their last changes, the points evaluated, and the modes of each group, (G,)."""

    rung: Rung
    points: int
    modes: Tensor


def quadrature_free_energy(problem: Problem, guide: Callable | None = None) -> FreeEnergy:
    r"""F_beta by the trapezoidal rule in unconstrained coordinates, for one to three of them by datum (or in all).

    On the whole line the rule converges exponentially for analytic integrands. The lattice is laid along the axes of
    the curvature at the highest mode, grown from every mode found to where the density is e^-32 of its maximum, and
    halved until log Z moves by less than 1e-9 (in float32 by no more than rounding). ``standard_error`` is the last
    change, a bound on the error if the modes found are all there are; where six halvings do not settle log Z, as at a
    kink of the density, it is twice the largest of the last three. ``evidence`` has ``modes`` and ``points``, and the
    ``mean_energy``, ``entropy`` and ``heat_capacity`` of p_beta.

    Raises:
        ValueError: if there are more than three dimensions, or the lattice outgrows a million points a group: the
            integral may not converge.

    Reference: L. N. Trefethen, J. A. C. Weideman (2014), The exponentially convergent trapezoidal rule, SIAM Review 56.
    """
    beta, base = problem.beta, problem.base
    land = landscape(problem.program, problem.given)
    found = integrate(land, find_modes(land, guide, beta, base), beta, base)
    table = totals(land, found.rung)
    evidence = {name: value for name, value in table.items() if not name.startswith("free_energy")}
    evidence |= {"modes": found.modes, "points": found.points}
    kind: dict[str, Any] = {"bound": "estimate", "method": "quadrature", "beta": beta, "base": base}
    return by_group(land, found.rung.free_energy, found.rung.free_energy_error, kind, evidence)


def integrate(land: Landscape, modes: Modes, beta: float, base: Base) -> Integral:
    """log Z and the moments of the energy under p_beta, by group.

    Raises:
        ValueError: as ``quadrature_free_energy``.
    """
    if land.dimension > 3:
        raise ValueError(
            f"quadrature takes one to three dimensions, and the latents {land.continuous} have {land.dimension}"
            f"{' by datum' if land.by_datum else ', the data being coupled'}; use method='annealing'."
        )
    lattice = Lattice(land, modes, beta, base)
    now, changes = lattice.quantities(), []
    settled = rounding = torch.zeros_like(now[0])
    for _ in range(HALVINGS):
        lattice.halve()
        before, now = now, lattice.quantities()
        changes.append(torch.stack([(new - old).abs() for new, old in zip(now, before, strict=True)]))
        rounding = 10 * torch.finfo(land.dtype).eps * now[0].abs().clamp(min=1 / beta)
        settled = changes[-1][0] <= TOLERANCE / beta + rounding
        if settled.all():
            break
    # Where f_beta has a kink or a jump the changes shrink slowly and by chance: one small change proves nothing.
    errors = torch.where(settled.bool(), changes[-1], 2 * torch.stack(changes[-3:]).amax(0))
    errors[0] += rounding
    return Integral(Rung(*now, *errors), lattice.evaluations, modes.log_density.isfinite().sum(0))


class Lattice:
    """Lattice points of every group at which log f and the energy are known.

    A point is a row of integers k for u = m + h L k. Groups have different points, so that each evaluation pads the
    groups to one length.
    """

    def __init__(self, land: Landscape, modes: Modes, beta: float, base: Base) -> None:
        self.land, self.beta = land, beta
        self.base: Base = base
        self.origin = modes.points[0].double()
        # The Lebesgue measure alone bounds nothing: f_beta is as wide as the temperature makes it.
        widening = 1.0 if base == "prior" else max(1.0, beta**-0.5)
        self.axes = _root(modes.precision[0], widening * modes.spread.double())
        self.spacing = _first_spacing(self.axes, modes)
        self.evaluations = 0
        empty = np.zeros((0, land.dimension), dtype=np.int64)
        self.points = [empty for _ in range(land.groups)]
        self.values = [np.zeros((0, 3)) for _ in range(land.groups)]  # log f, mean and variance of E at u
        offsets = torch.linalg.solve(self.axes, (modes.points.double() - self.origin).unsqueeze(-1)).squeeze(-1)
        known = modes.log_density.isfinite()
        nearest = (offsets / self.spacing).round()
        self._grow([nearest[known[:, g], g].numpy() for g in range(land.groups)])

    def halve(self) -> None:
        """Twice as many points along each axis."""
        self.spacing /= 2
        self.points = [2 * points for points in self.points]
        around = _box(self.land.dimension)
        self._grow([_around(points[self._inside(g)], around) for g, points in enumerate(self.points)])

    def quantities(self) -> list[Tensor]:
        """F, U, H and c of p_beta, (G,)."""
        cell = self.land.dimension * math.log(self.spacing) + torch.linalg.slogdet(self.axes).logabsdet
        log_z = torch.stack([torch.from_numpy(v[:, 0]).logsumexp(0) for v in self.values]) + cell
        mean, variance = torch.tensor([_moments(v) for v in self.values], dtype=torch.float64).unbind(-1)
        value = -log_z / self.beta
        return [value, mean, self.beta * (mean - value), self.beta**2 * variance]

    def _inside(self, group: int) -> np.ndarray:
        log_f = self.values[group][:, 0]
        return log_f > log_f.max() - DROP

    def _grow(self, frontier: list[np.ndarray]) -> None:
        """Evaluates the frontier, then the neighbours of what lies inside, until nothing new does."""
        star = _star(self.land.dimension)
        for reach in _reaches():
            farthest = max(np.abs(points).max(initial=0) for points in frontier)
            if farthest >= _half(self.land.dimension):
                raise ValueError(
                    f"the modes of the latents {self.land.continuous} are {farthest * self.spacing:.0e} of their own "
                    f"widths apart at beta={self.beta:g}, too many for a lattice; use method='annealing'."
                )
            frontier = [_without(new.astype(np.int64), known) for new, known in zip(frontier, self.points, strict=True)]
            longest = max(map(len, frontier))
            if longest == 0:
                return
            if longest + max(map(len, self.points)) > POINTS:
                raise ValueError(
                    f"the lattice of the latents {self.land.continuous} has outgrown {POINTS:,} points at "
                    f"beta={self.beta:g}, base={self.base!r}: the integral may not converge, or the density is too "
                    f"rough; use method='annealing'."
                )
            values = self._evaluate(frontier, longest)
            first = [len(points) for points in self.points]
            self.points = [np.concatenate(pair) for pair in zip(self.points, frontier, strict=True)]
            self.values = [np.concatenate(pair) for pair in zip(self.values, values, strict=True)]
            fresh = [
                points[start:][self._inside(g)[start:]]
                for g, (points, start) in enumerate(zip(self.points, first, strict=True))
            ]
            frontier = [np.concatenate([_around(p, star), self._ahead(g, reach)]) for g, p in enumerate(fresh)]

    def _ahead(self, group: int, reach: int) -> np.ndarray:
        """In one dimension, where neighbours alone are slow, the points beyond an end that lies inside."""
        points, steps = self.points[group], np.arange(1, reach + 1)[:, None]
        if points.shape[1] > 1:
            return points[:0]
        inside, first, last = self._inside(group), points.argmin(), points.argmax()
        below = points[first] - steps[: reach * inside[first]]
        return np.concatenate([below, points[last] + steps[: reach * inside[last]]])

    def _evaluate(self, frontier: list[np.ndarray], longest: int) -> list[np.ndarray]:
        padded = np.zeros((longest, len(frontier), self.land.dimension))
        for g, points in enumerate(frontier):
            padded[: len(points), g] = points
        offsets = torch.einsum("gde,sge->sgd", self.axes, torch.from_numpy(padded))
        u = (self.origin + self.spacing * offsets).to(self.land.dtype)
        chunk = max(1, ROWS_AT_ONCE // self.land.groups)
        with torch.no_grad():
            parts = [torch.stack(self.land.moments(p, self.beta, self.base), -1).double() for p in u.split(chunk)]
        values = torch.cat(parts)
        values[..., 0] = torch.where(values[..., 0].isnan(), -math.inf, values[..., 0])
        self.evaluations += values.shape[0] * values.shape[1]
        return [values[: len(points), g].numpy() for g, points in enumerate(frontier)]


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and variance of the energy, from rows of log f, and of the energy's mean and variance at a point."""
    log_f, energy, variance = values[np.isfinite(values[:, 0])].T
    weights = np.exp(log_f - log_f.max())
    weights /= weights.sum()
    mean = (weights * energy).sum()
    return mean, (weights * (variance + (energy - mean) ** 2)).sum()


def _root(precision: Tensor, spread: Tensor) -> Tensor:
    """Axes L with L L^T = H^-1, (G, D, D); where H hardly bends, no longer than the starting points are spread."""
    eigenvalues, vectors = torch.linalg.eigh(precision)
    flattest = (10 * spread.amax(-1, keepdim=True)).square().reciprocal()
    return vectors * eigenvalues.clamp(min=flattest).rsqrt().unsqueeze(-2)


def _first_spacing(axes: Tensor, modes: Modes) -> float:
    """The unit of the axes, or less where another mode is so narrow that the lattice would step over it."""
    curvature = axes.mT @ modes.precision @ axes
    narrowest = torch.linalg.eigvalsh(curvature.nan_to_num())[..., -1]
    return min(1.0, NARROW * narrowest[modes.log_density.isfinite()].clamp(min=1.0).rsqrt().amin().item())


def _reaches() -> Iterator[int]:
    """How far each round of growth looks ahead."""
    reach = 1
    while True:
        yield reach
        reach = min(2 * reach, LONGEST_REACH)


def _star(dimension: int) -> np.ndarray:
    """The 2 D nearest neighbours of the origin."""
    steps = np.eye(dimension, dtype=np.int64)
    return np.concatenate([steps, -steps])


def _box(dimension: int) -> np.ndarray:
    """The origin and everything within one step along every axis."""
    return np.stack(np.meshgrid(*[[-1, 0, 1]] * dimension), -1).reshape(-1, dimension).astype(np.int64)


def _around(points: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    return (points[:, None] + offsets).reshape(-1, offsets.shape[1])


def _without(new: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The distinct rows of ``new`` that are not among ``known``."""
    keys = np.setdiff1d(_keys(new), _keys(known))
    half = _half(new.shape[1])
    columns = [keys // (2 * half) ** axis % (2 * half) - half for axis in range(new.shape[1])]
    return np.stack(columns, -1) if len(keys) else np.zeros((0, new.shape[1]), dtype=np.int64)


def _keys(points: np.ndarray) -> np.ndarray:
    """One integer for each row, of coordinates below ``_half`` in size."""
    half = _half(points.shape[1])
    place = (2 * half) ** np.arange(points.shape[1], dtype=np.int64)
    return ((points + half) * place).sum(-1)


def _half(dimension: int) -> int:
    """Coordinates are below this in size, so that a row of them fits into 62 bits."""
    return 1 << (62 // dimension - 1)
