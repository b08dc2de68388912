"""Free energies at several values of the latents that are held fixed."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .free_energy import FreeEnergy
from .structure import Structure

__all__ = ["for_each_given"]


def for_each_given(
    structure: Structure, given: Mapping[str, Tensor], measure: Callable[[dict[str, Tensor]], FreeEnergy]
) -> FreeEnergy:
    """The free energy at every draw of the given latents, whose leading dimensions come first in every number.

    Raises:
        ValueError: if a given latent is unknown, or of a shape that does not end in the site's own.
    """
    lead = structure.check_given(given)
    if not lead:
        return measure(dict(given))
    own = {name: structure.sites[name].shape for name in given}
    full = {name: value.expand(lead + own[name]) for name, value in given.items()}
    indices = list(itertools.product(*map(range, lead)))
    if not indices:
        raise ValueError(f"given has leading dimensions {tuple(lead)}: there is no draw in it.")
    return _stacked([measure({name: value[index] for name, value in full.items()}) for index in indices], lead)


def _stacked(found: Sequence[FreeEnergy], lead: torch.Size) -> FreeEnergy:
    def stack(values: Sequence[Any]) -> Any:
        if not all(isinstance(value, Tensor) and value.shape == values[0].shape for value in values):
            return None if all(value is None for value in values) else list(values)
        return torch.stack(list(values)).reshape(lead + values[0].shape)

    first = found[0]
    numbers = {
        name: stack([getattr(one, name) for one in found])
        for name in ("value", "standard_error", "per_datum", "per_datum_error", "common")
    }
    evidence = {name: stack([one.evidence.get(name) for one in found]) for name in first.evidence}
    kinds = {one.bound for one in found}
    bound = first.bound if len(kinds) == 1 else "estimate"
    methods = " and ".join(sorted({one.method for one in found}))
    return FreeEnergy(**numbers, bound=bound, method=methods, beta=first.beta, base=first.base, evidence=evidence)
