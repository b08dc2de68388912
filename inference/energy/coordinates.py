"""The free continuous latents of a program as coordinates on R^D, one vector for each group of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .structure import Site, Structure

__all__ = ["Coordinates"]


@dataclass(frozen=True)
class Coordinates:
    """Unconstrained coordinates u of shape (S, G, D): S points, G groups, D numbers.

    Attributes:
        structure: the sites and plates of the program.
        continuous: names of the free continuous latents.
        by_datum: whether there is a group for each datum; else all latents are one.
    """

    structure: Structure
    continuous: list[str]
    by_datum: bool

    @property
    def groups(self) -> int:
        """G."""
        return self.structure.size if self.by_datum else 1

    @property
    def dimension(self) -> int:
        """D."""
        return sum(self._width(site) for site in self._sites())

    def width(self, name: str) -> int:
        """How many of the D coordinates are of this latent."""
        return self._width(self.structure.sites[name])

    @property
    def bounded(self) -> Tensor:
        """Which coordinates go to the end of a support as they grow, (D,)."""
        return torch.cat([torch.full((self._width(site),), site.bounded) for site in self._sites()])

    def split(self, u: Tensor) -> dict[str, Tensor]:
        """Coordinates (S, G, D) as those of each site, (S, *site.coordinates)."""
        parts = u.split([self._width(site) for site in self._sites()], -1)
        return {site.name: self._to_site(site, part) for site, part in zip(self._sites(), parts, strict=True)}

    def join(self, coordinates: Mapping[str, Tensor]) -> Tensor:
        """The inverse of ``split``."""
        return torch.cat([self._from_site(site, coordinates[site.name]) for site in self._sites()], -1)

    def _sites(self) -> list[Site]:
        return [self.structure.sites[name] for name in self.continuous]

    def _width(self, site: Site) -> int:
        assert site.coordinates is not None
        return math.prod(site.coordinates) // self.groups

    def _axis(self, site: Site) -> int:
        assert self.structure.data_plate is not None
        return site.batch + site.plate_dims[self.structure.data_plate]

    def _to_site(self, site: Site, part: Tensor) -> Tensor:
        shape = list(site.coordinates or ())
        if not self.by_datum:
            return part.reshape(len(part), *shape)
        axis = self._axis(site)
        size = shape.pop(axis)
        return part.reshape(len(part), size, *shape).movedim(1, 1 + axis)

    def _from_site(self, site: Site, value: Tensor) -> Tensor:
        ordered = value.movedim(1 + self._axis(site), 1) if self.by_datum else value
        return ordered.reshape(len(value), self.groups, -1)

    def by_group(self, values: Tensor) -> Tensor:
        """Values (S, G) of a program's run by group: (S,) where all latents are one."""
        return values if self.by_datum else values.unsqueeze(-1)
