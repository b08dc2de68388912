r"""F, U, H and c at one inverse temperature, of independent groups of latents and in total."""

from typing import NamedTuple

import torch
from torch import Tensor

from .landscape import Landscape

__all__ = ["QUANTITIES", "Rung", "totals"]

QUANTITIES = ("free_energy", "mean_energy", "entropy", "heat_capacity")


class Rung(NamedTuple):
    """F, U, H and c by group, (G,), and their standard errors."""

    free_energy: Tensor
    mean_energy: Tensor
    entropy: Tensor
    heat_capacity: Tensor
    free_energy_error: Tensor
    mean_energy_error: Tensor
    entropy_error: Tensor
    heat_capacity_error: Tensor


def totals(land: Landscape, rung: Rung) -> dict[str, Tensor]:
    """The total of each quantity and its error, (), and with the ending ``_per_datum``, (N,), where data have own ones.

    What lies outside the data plate is fixed: it adds its energy to F and U, and nothing to H and c.
    """
    by_group = rung._asdict()
    if not land.by_datum:
        return {name: value[0] for name, value in by_group.items()}
    common, factor = land.common_energy(1.0, "lebesgue"), land.structure.subsampling
    table: dict[str, Tensor] = {}
    for name in QUANTITIES:
        fixed = common if name in ("free_energy", "mean_energy") else torch.zeros_like(common)
        table[name] = fixed + factor * by_group[name].sum()
        table[f"{name}_error"] = factor * by_group[f"{name}_error"].square().sum().sqrt()
        table[f"{name}_per_datum"] = by_group[name]
        table[f"{name}_error_per_datum"] = by_group[f"{name}_error"]
    return table
