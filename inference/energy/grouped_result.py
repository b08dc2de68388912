"""A free energy from those of independent groups of latents."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .free_energy import FreeEnergy
from .landscape import Landscape

__all__ = ["by_group"]


def by_group(
    land: Landscape, value: Tensor, error: Tensor, kind: dict[str, Any], evidence: Mapping[str, Any]
) -> FreeEnergy:
    """The result from free energies (G,) of independent groups and their errors; evidence (G,) is put likewise."""
    if not land.by_datum:
        found = {name: v[0] if isinstance(v, Tensor) and v.dim() else v for name, v in evidence.items()}
        return FreeEnergy(value[0], error[0], None, None, value[0], **kind, evidence=found)
    common = land.common_energy(kind["beta"], kind["base"])
    factor = land.structure.subsampling
    total, total_error = common + factor * value.sum(), factor * error.square().sum().sqrt()
    return FreeEnergy(total, total_error, value, error, common, **kind, evidence=dict(evidence))
