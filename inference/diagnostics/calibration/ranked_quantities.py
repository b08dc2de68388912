r"""What is ranked of each draw: the elements of the latents, log p(x, z) and log p(x | z); and the rank itself."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...energy.log_weights import ELEMENTS_AT_ONCE
from ...energy.scoring import local_energy, total_energy
from ...energy.structure import Site, Structure
from ...energy.vectorize import Program
from ..dimensions import data_axis, element_names

__all__ = ["LOG_JOINT", "LOG_LIKELIHOOD", "Quantities", "randomised_pit"]

LOG_JOINT, LOG_LIKELIHOOD = "log p(x, z)", "log p(x | z)"
ROUNDING = 32
"""Log densities that are nearer than this many units of the last place are equal: the same draw, summed elsewhere."""


def randomised_pit(values: Tensor) -> Tensor:
    r"""Where the truth, ``values[0]``, stands among L draws, the other rows: (L + 1, ...) to (...), in (0, 1).

    .. math:: u = \frac{\#\{l: v_l < v_0\} + (1 + \#\{l: v_l = v_0\}) U}{L + 1}, \qquad U \sim U(0, 1)

    Ties are broken at random, so that u is exactly uniform where the draws are the posterior's: the truth and the draws
    are then exchangeable.

    Reference: S. Talts, M. Betancourt, D. Simpson, A. Vehtari, A. Gelman (2018), Validating Bayesian inference
    algorithms with simulation-based calibration. https://arxiv.org/abs/1804.06788; ties as by M. Modrák et al. (2023),
    whom ``Quantities`` cites.

    Example:
        >>> bool(0.5 < randomised_pit(torch.tensor([2.5, 1.0, 2.0, 3.0])) < 0.75)  # above two of three
        True
    """
    truth, draws = values[0], values[1:]
    below, ties = (draws < truth).sum(0), (draws == truth).sum(0)
    uniform = torch.rand(truth.shape, dtype=torch.float64)
    return (below + (1 + ties) * uniform) / (len(draws) + 1)


@dataclass(frozen=True)
class Quantities:
    r"""The quantities of a program's draws, each a number for every posterior that a simulation has.

    Where no latent is shared, the C = N data of a simulation have posteriors of their own, that are independent: their
    ranks are pooled. Else C = 1: ranks of the latents of several data would depend on each other, so that one datum
    ``datum`` stands for all, and log densities are of the total.

    Latents alone are not enough: a guide that is the prior ranks each uniformly. The log densities see the data.

    Reference: M. Modrák, A. H. Moon, S. Kim, P. Bürkner, N. Huurre, K. Faltejsková, A. Gelman, A. Vehtari (2023),
    Simulation-based calibration checking for Bayesian computation: the choice of test quantities shapes sensitivity,
    Bayesian Analysis. https://arxiv.org/abs/2211.02383
    """

    structure: Structure

    @property
    def by_datum(self) -> bool:
        """Whether the data have posteriors of their own: everything random lies inside a plate that has a dimension."""
        sites = [self.structure.sites[name] for name in self.structure.latents] + self.structure.data
        return all(self.structure.data_plate in site.plate_dims for site in sites)

    @property
    def posteriors(self) -> int:
        """C, how many independent posteriors one simulation has."""
        return self.structure.size if self.by_datum else 1

    @property
    def continuous(self) -> list[str]:
        """The latents that have distances."""
        return [name for name in self.structure.latents if not self.structure.sites[name].discrete]

    @property
    def names(self) -> list[str]:
        """Of what ``values`` has in its last dimension: ``SITE`` or ``SITE[i, j]``, without the data plate's index."""
        latents = [element_names(self.structure.sites[name], self.structure) for name in self.structure.latents]
        return [*(name for names in latents for name in names), LOG_JOINT, LOG_LIKELIHOOD]

    def values(self, program: Program, latents: Mapping[str, Tensor], datum: int) -> Tensor:
        """The quantities of S draws, (S, C, Q) in float64, from latents (S, *own); the first draw is the truth."""
        elements = self.elements(latents, self.structure.latents, datum)
        return torch.cat([elements, self._log_densities(program, latents)], -1)

    def elements(self, values: Mapping[str, Tensor], sites: list[str], datum: int | None) -> Tensor:
        """The elements of these sites side by side, (S, C, E) in float64, from values (S, *own).

        Where C = 1 they are those of one datum, or with None of all.
        """
        parts = [self._by_posterior(self.structure.sites[name], values[name], datum) for name in sites]
        return torch.cat([part.to("cpu", torch.float64) for part in parts], -1)

    def _by_posterior(self, site: Site, value: Tensor, datum: int | None) -> Tensor:
        axis = data_axis(site, self.structure)
        if axis is None or (datum is None and not self.by_datum):
            return value.reshape(len(value), 1, -1)
        value = value.movedim(1 + axis, 1)
        if not self.by_datum:
            value = value[:, [datum]]
        return value.reshape(len(value), self.posteriors, -1)

    def _log_densities(self, program: Program, latents: Mapping[str, Tensor]) -> Tensor:
        """log p(x, z) and log p(x | z), (S, C, 2)."""
        size = max(1, ELEMENTS_AT_ONCE // max(1, self.structure.size))
        starts = range(0, len(next(iter(latents.values()))), size)
        parts = [
            self._densities_at_once(program, {n: v[start : start + size] for n, v in latents.items()})
            for start in starts
        ]
        found = torch.cat(parts).cpu()
        rounding = ROUNDING * torch.finfo(found.dtype).eps * found[0].abs()
        return torch.where((found - found[0]).abs() <= rounding, found[0], found).double()

    def _densities_at_once(self, program: Program, latents: Mapping[str, Tensor]) -> Tensor:
        terms = program.terms(latents)
        lead = torch.Size([len(next(iter(latents.values())))])
        data = {site.name: terms[site.name] for site in self.structure.data}
        if self.by_datum:
            found = [local_energy(part).expand(*lead, self.structure.size) for part in (terms, data)]
        else:
            found = [total_energy(part, lead, self.structure).unsqueeze(-1) for part in (terms, data)]
        return -torch.stack(found, -1)
