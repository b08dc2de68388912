r"""Exact free energies of discrete programs:  F_beta = -(1/beta) log sum over z of exp(-beta E(x, z))."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from pyro.ops import packed
from pyro.ops.contract import contract_tensor_tree
from pyro.poutine.enum_messenger import EnumMessenger
from torch import Tensor

from .free_energy import Base, FreeEnergy, exact
from .log_ring import StableLogRing, dims_of, with_dims
from .structure import Structure, sample_sites, subsampling
from .substitute import LiftMasks, Substitute, hide_samples, is_subsample
from .vectorize import Program

__all__ = ["enumerated_free_energy"]

# Stands for log 0 in sums: -inf times beta would make derivatives nan.
LOG_ZERO = -1e30


def enumerated_free_energy(program: Program, beta: float, base: Base, given: Mapping[str, Tensor]) -> FreeEnergy:
    r"""The sum over every discrete latent, by tensor variable elimination in float64.

    Exact for the log-probabilities that the program produced. A latent that its mask leaves out has no energy and is
    averaged under its prior.

    Raises:
        ValueError: if a latent that is not given cannot be enumerated.
    """
    structure = program.structure
    continuous = [name for name in structure.latents if not structure.sites[name].discrete and name not in given]
    if continuous:
        raise ValueError(
            f"the latents {continuous} cannot be enumerated; pass a guide for method='importance', or hold them "
            f"fixed with `given`."
        )
    shared = [name for name in structure.shared_latents if name not in given]
    structure.refuse_subsampling(shared)
    trace = _enumerated_trace(program, given)
    per_datum, common = _eliminate(_factors(trace, beta, base), trace, structure)
    if per_datum is not None and shared:
        per_datum, common = None, common + per_datum.sum()
    per_datum_energy = None if per_datum is None else _energy(per_datum, beta)
    kind = {"method": "enumerate", "beta": beta, "base": base}
    return exact(per_datum_energy, _energy(common, beta), structure.subsampling, **kind)


def _energy(log_z: Tensor, beta: float) -> Tensor:
    return torch.where(log_z < LOG_ZERO / 10, torch.inf, -log_z / beta)


def _enumerated_trace(program: Program, given: Mapping[str, Tensor]) -> poutine.Trace:
    """A trace in which every latent that is not given holds all its values, along a dimension of its own."""
    structure = program.structure

    def configure(site: Any) -> Any:
        free = site["type"] == "sample" and not site["is_observed"] and not is_subsample(site)
        return {"enumerate": "parallel", "expand": False} if free and site["name"] not in given else {}

    configured = poutine.infer_config(program.callable, config_fn=configure)
    substitute = Substitute(given, structure.subsamples)
    with hide_samples(), LiftMasks(), substitute, EnumMessenger(-1 - structure.nesting), pyro.validation_enabled(False):
        trace = poutine.trace(configured).get_trace(*program.args, **program.kwargs)
    trace = poutine.util.prune_subsample_sites(trace)
    trace.compute_log_prob()
    trace.pack_tensors()
    return trace


def _factors(trace: poutine.Trace, beta: float, base: Base) -> dict[frozenset, list[Tensor]]:
    """The tempered log-factors, grouped by the plates they lie in."""
    groups: dict[frozenset, list[Tensor]] = OrderedDict()
    for site in sample_sites(trace).values():
        frames = [frame for frame in site["cond_indep_stack"] if frame.vectorized]
        plates = frozenset(trace.plate_to_symbol[frame.name] for frame in frames)
        groups.setdefault(plates, []).append(_factor(site, beta, base))
    return groups


def _factor(site: Mapping[str, Any], beta: float, base: Base) -> Tensor:
    """beta log p(site), packed, in float64; under its mask a latent keeps its prior, data keep nothing."""
    raw = site["packed"]["unscaled_log_prob"]
    enumerated = site["infer"].get("_enumerate_dim") is not None and not site["is_observed"]
    log_prob = raw.double().clamp(min=LOG_ZERO)
    prior = torch.zeros_like(log_prob)
    if enumerated:
        # As a measure the prior must sum to one in float64: at small beta a float32 defect is divided by beta.
        dim = dims_of(raw).index(site["infer"]["_enumerate_symbol"])
        prior = (raw.double() - raw.double().logsumexp(dim, keepdim=True)).clamp(min=LOG_ZERO)
    scale = site["scale"] / subsampling(site["cond_indep_stack"])
    latent_measure = base == "prior" and not site["is_observed"]
    factor = prior if latent_measure else beta * scale * log_prob
    mask = site["packed"]["mask"]
    factor, prior = with_dims(factor, dims_of(raw)), with_dims(prior, dims_of(raw))
    if mask is None or mask is True:
        return factor
    if mask is False:
        return prior
    factor, prior, mask = packed.broadcast_all(factor, prior, mask)
    return with_dims(torch.where(mask, factor, prior), dims_of(factor))


def _eliminate(
    groups: dict[frozenset, list[Tensor]], trace: poutine.Trace, structure: Structure
) -> tuple[Tensor | None, Tensor]:
    """log Z by datum, (N,), and the part of log Z that no datum owns, ()."""
    plates = set(trace.plate_to_symbol.values())
    sizes = {d: s for terms in groups.values() for t in terms for d, s in zip(dims_of(t), t.shape, strict=True)}
    for site in sample_sites(trace).values():
        sizes |= {trace.plate_to_symbol[f.name]: f.size for f in site["cond_indep_stack"] if f.vectorized}
    data = trace.plate_to_symbol.get(structure.data_plate or "")
    summed = set(sizes) - plates
    per_datum, common = None, torch.zeros((), dtype=torch.float64)
    for plate_set, terms in contract_tensor_tree(groups, summed, ring=StableLogRing(dim_to_size=sizes)).items():
        for term in terms:
            if data is not None and data in plate_set:
                local = _sum_except(term, data, plate_set, sizes).expand(sizes[data])
                per_datum = local if per_datum is None else per_datum + local
            else:
                common = common + _sum_except(term, None, plate_set, sizes)
    return per_datum, common


def _sum_except(term: Tensor, kept: str | None, plates: frozenset, sizes: Mapping[str, int]) -> Tensor:
    """The sum of a term over its plates but ``kept``; a plate that it does not vary along repeats it."""
    dims = dims_of(term)
    repeats = 1
    for plate in plates:
        if plate not in dims and plate != kept:
            repeats *= sizes[plate]
    axes = [axis for axis, dim in enumerate(dims) if dim != kept]
    return repeats * (term.sum(axes) if axes else term)
