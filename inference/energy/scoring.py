r"""Energies of one run of a program, site by site:  E_site = -log p(site | its parents), in nats."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pyro
import pyro.poutine as poutine
import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from .structure import Structure, sample_sites, subsampling
from .substitute import FromCoordinates, LiftMasks, Substitute, hide_samples

__all__ = [
    "DRAWS",
    "Term",
    "global_energy",
    "local_energy",
    "reduced",
    "run",
    "scale_without_data_plate",
    "scaled_sites",
    "site_terms",
    "total_energy",
]

DRAWS = "_pyrometer_draws"
"""The name of the plate that holds draws when they are scored along an outer dimension."""


class Term(NamedTuple):
    """The energy of one site: (..., N) where ``local``, else (...).

    ``datum`` is the element that the site belongs to where the data plate is sequential (``for n in plate``): then
    the energy is (...), and local. ``local`` energies leave out the data plate's own subsampling factor.
    """

    energy: Tensor
    local: bool
    datum: int | None


def run(
    program: Callable,
    structure: Structure,
    call: tuple[tuple, dict],
    latents: Mapping[str, Tensor],
    coordinates: Mapping[str, Tensor] | None = None,
    draws: int = 0,
) -> poutine.Trace:
    """The trace of the program at given latents, by value or by unconstrained coordinates.

    With ``draws``, along an outer plate to the left of all dimensions.
    """
    args, kwargs = call
    substitute = Substitute(latents, structure.subsamples)
    # Validation would raise on a value outside its support, whose energy is infinite.
    with hide_samples(), LiftMasks(), substitute, FromCoordinates(coordinates or {}), pyro.validation_enabled(False):
        if draws:
            with pyro.plate(DRAWS, draws, dim=-structure.depth - 1):
                trace = poutine.trace(program).get_trace(*args, **kwargs)
        else:
            trace = poutine.trace(program).get_trace(*args, **kwargs)
    differing = sorted(sample_sites(trace).keys() ^ structure.sites.keys())
    if differing:
        raise ValueError(
            f"the sites {differing} are in some runs of the program only: an integral over latents needs the same "
            f"sites in every run, so a random number of sites, or a branch on a value, cannot be measured."
        )
    return trace


def site_terms(trace: poutine.Trace, structure: Structure, draws: int = 0) -> dict[str, Term]:
    """The energy of every site of a trace, by name; +inf for a draw with a latent outside its support."""
    with pyro.validation_enabled(False):
        terms = {name: _term(node, structure, draws) for name, node in sample_sites(trace).items()}
    return _close_supports(terms)


def local_energy(terms: Mapping[str, Term]) -> Tensor:
    """E_n, (..., N): the sum of the local terms; those of a sequential data plate are stacked in its order."""
    local = [term for term in terms.values() if term.local]
    if all(term.datum is None for term in local):
        return sum((term.energy for term in local[1:]), local[0].energy)
    by_datum: dict[int, list[Tensor]] = {}
    for term in local:
        by_datum.setdefault(int(term.datum or 0), []).append(term.energy)
    return torch.stack([sum(energies[1:], energies[0]) for _, energies in sorted(by_datum.items())], -1)


def global_energy(terms: Mapping[str, Term], lead: torch.Size) -> Tensor:
    """E_global, of shape ``lead``: the sum of the terms outside the data plate."""
    return sum((term.energy for term in terms.values() if not term.local), torch.zeros(())).expand(lead)


def total_energy(terms: Mapping[str, Term], lead: torch.Size, structure: Structure) -> Tensor:
    """E_global + factor * sum over n of E_n, where the factor is that of the data plate's subsampling."""
    total = global_energy(terms, lead)
    if any(term.local for term in terms.values()):
        total = total + structure.subsampling * local_energy(terms).sum(-1)
    return total


def _term(node: Mapping[str, Any], structure: Structure, draws: int) -> Term:
    frame = _data_frame(node, structure)
    # The user's own scale belongs to the energy; of the plates' factors a local energy leaves out the data plate's.
    scale = scale_without_data_plate(node, structure)
    energy = -reduced(scale_and_mask(_log_prob(node), scale, node["mask"]), node, structure, draws)
    datum = None if frame is None or frame.vectorized else frame.counter
    return Term(energy, frame is not None, datum)


def scale_without_data_plate(node: Mapping[str, Any], structure: Structure) -> Any:
    """The factor on the energy of a site: the user's own and the plates', but the data plate's."""
    frames = node["cond_indep_stack"]
    factor = subsampling(frames)
    return (node["scale"] if factor == 1 else node["scale"] / factor) * subsampling(
        frames, without=structure.data_plate
    )


def scaled_sites(nodes: Mapping[str, Any], structure: Structure) -> list[str]:
    """The sites of a run whose energy the user's own ``poutine.scale``, or a plate but the data's, has a factor on."""
    factors = {name: torch.as_tensor(scale_without_data_plate(node, structure)) for name, node in nodes.items()}
    return [name for name, factor in factors.items() if (factor != 1).any()]


def reduced(values: Tensor, node: Mapping[str, Any], structure: Structure, draws: int, by_datum: bool = True) -> Tensor:
    """The sum of a site's values by batch element over all but the draws and, ``by_datum``, the data plate."""
    frame = _data_frame(node, structure)
    kept = {}
    if draws:
        kept[-structure.depth - 1] = draws
    if by_datum and frame is not None and frame.vectorized:
        kept[frame.dim] = structure.size
    for dim, size in kept.items():
        values = values.expand(torch.broadcast_shapes(values.shape, (size,) + (1,) * (-dim - 1)))
    summed = [dim for dim in range(-values.dim(), 0) if dim not in kept]
    return values.sum(summed) if summed else values


def _data_frame(node: Mapping[str, Any], structure: Structure) -> Any:
    return next((f for f in node["cond_indep_stack"] if f.name == structure.data_plate), None)


def _log_prob(node: Mapping[str, Any]) -> Tensor:
    log_prob = torch.as_tensor(node["fn"].log_prob(node["value"]))
    if node["is_observed"]:
        return log_prob
    try:
        inside = node["fn"].support.check(node["value"])
    except NotImplementedError:  # a distribution that states no support takes every value
        return log_prob
    return torch.where(inside, log_prob, -math.inf)


def _close_supports(terms: dict[str, Term]) -> dict[str, Term]:
    """A value outside its support can make nan of the sites that depend on it: the whole draw is +inf."""
    by_datum = {name: term.local and term.datum is None for name, term in terms.items()}
    infinite = [(t.energy == math.inf).any(-1) if by_datum[n] else t.energy == math.inf for n, t in terms.items()]
    outside = functools.reduce(torch.logical_or, infinite)

    def closed(name: str, term: Term) -> Term:
        where = outside.unsqueeze(-1) if by_datum[name] else outside
        return term._replace(energy=torch.where(where & term.energy.isnan(), math.inf, term.energy))

    return {name: closed(name, term) for name, term in terms.items()}
