"""Whether a program with latents at all their values at once is the program: compared at three assignments."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.ops import packed
from torch import Tensor

from .checks_by_value import checks_by_value
from .enumerated_trace import NOTHING, NotEnumerable, enumerated_trace
from .factors import Factor, site_factor
from .log_ring import dims_of, with_dims
from .structure import Structure, sample_sites
from .vectorize import Program

__all__ = ["check_enumeration"]


def check_enumeration(
    trace: poutine.Trace, program: Program, given: Mapping[str, Tensor], coordinates: Mapping[str, Tensor] = NOTHING
) -> None:
    """Compares an enumerated trace with plain runs at three assignments of its latents, site by site.

    A program that asks ``if k.sum() > 2`` or takes a mean over ``k`` runs on all values at once, and is then another
    program without any error.

    Raises:
        NotEnumerable: (a ValueError) naming the first site whose log-probability differs.
    """
    sites, structure = sample_sites(trace), program.structure
    free = {name: site for name, site in sites.items() if site["infer"].get("_enumerate_dim") is not None}
    if not free or not checks_by_value():
        return
    enumerated = {name: site_factor(name, site, structure, "lebesgue") for name, site in sites.items()}
    for assign in (_varied, _first, _last):
        indices = {name: _index(structure, i, free[name], assign) for i, name in enumerate(free)}
        values = {name: _support(free[name])[index] for name, index in indices.items()}
        plain = sample_sites(enumerated_trace(program, {**given, **values}, coordinates))
        if plain.keys() != sites.keys():
            differing = sorted(plain.keys() ^ sites.keys())
            raise NotEnumerable(
                f"the sites {differing} exist for some values of {list(free)} only: a sum over programs with different "
                f"sites cannot be taken; write them with a fixed number of sites and a mask."
            )
        by_letter = dict(_packed_index(free[name], index) for name, index in indices.items())
        for name in sites:
            single = site_factor(name, plain[name], structure, "lebesgue")
            if not _agree(enumerated[name], single, by_letter, _tolerance(sites[name])):
                raise NotEnumerable(
                    f"the site {name!r} has another log-probability when {list(free)} hold all their values at once "
                    f"than at single ones: the program may branch on such a value or reduce over it, take one axis for "
                    f"another, or draw random numbers outside its sites; write it with tensors that broadcast on the "
                    f"left, or hold the latents fixed with `given`."
                )


def _support(site: Any) -> Tensor:
    support = site["fn"].enumerate_support(expand=False)
    return support.reshape(len(support), *site["fn"].event_shape)


def _index(structure: Structure, position: int, site: Any, assign: Callable[[Tensor, int], Tensor]) -> Tensor:
    shape = structure.sites[site["name"]].shape
    batch = shape[: len(shape) - site["fn"].event_dim]
    support = _support(site)
    return assign(torch.arange(batch.numel(), device=support.device) + position, len(support)).reshape(batch)


def _varied(number: Tensor, values: int) -> Tensor:
    """Neighbouring elements and neighbouring sites differ: an axis taken for another shows."""
    return number % values


def _first(number: Tensor, _: int) -> Tensor:
    return torch.zeros_like(number)


def _last(number: Tensor, values: int) -> Tensor:
    return torch.full_like(number, values - 1)


def _packed_index(site: Any, index: Tensor) -> tuple[str, Tensor]:
    letters = site["infer"]["_dim_to_symbol"]
    kept = [dim for dim in range(-index.dim(), 0) if index.shape[dim] > 1]
    packed_index = index.reshape([index.shape[dim] for dim in kept])
    return site["infer"]["_enumerate_symbol"], with_dims(packed_index, "".join(letters[dim] for dim in kept))


def _agree(enumerated: Factor, single: Factor, by_letter: Mapping[str, Tensor], tolerance: float) -> bool:
    value = with_dims(enumerated.tempered, enumerated.dims)
    for letter in enumerated.dims:
        if letter in by_letter:
            value = packed.gather(value, by_letter[letter], letter)
    if not set(dims_of(value)) >= set(single.dims):
        return False
    value, expected = packed.broadcast_all(value, with_dims(single.tempered, single.dims))
    return torch.allclose(value, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def _tolerance(site: Any) -> float:
    dtype = site["unscaled_log_prob"].dtype
    return 1e4 * torch.finfo(dtype if dtype.is_floating_point else torch.float32).eps
