r"""Log densities of one run over its continuous latents:  log f_beta = measure - beta energy, by base measure."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from .base_measure import Base, log_volume
from .scoring import Term, reduced, scale_without_data_plate
from .structure import Structure, sample_sites

__all__ = ["measures_and_energies"]


def measures_and_energies(
    trace: poutine.Trace, structure: Structure, bases: Sequence[Base], by_datum: bool, draws: int = 0
) -> dict[str, Term]:
    r"""The log base measure and the energy that beta multiplies, of a run whose free latents are all continuous.

    With t the bijection from coordinates u onto the support of a latent z = t(u), its measure is

    * ``lebesgue``: log \|dt/du\|; where a mask leaves the latent out, log p(z) more, and no energy;
    * ``prior``: log p(z) + log \|dt/du\|; its energy is what the user's scale adds to -log p(z);
    * ``uniform``: as ``lebesgue``, less the log volume of the support.

    Observed sites and latents held fixed have their whole energy.

    Returns:
        For each base, ``measure BASE`` and ``energy BASE``: (..., N) ``by_datum``, from the sites inside the data plate
        alone; else (...).
    """
    parts: dict[str, list[Tensor]] = {f"{part} {base}": [] for base in bases for part in ("measure", "energy")}
    with pyro.validation_enabled(False):
        for name, node in sample_sites(trace).items():
            if by_datum and all(frame.name != structure.data_plate for frame in node["cond_indep_stack"]):
                continue
            for base, (measure, energy) in _site(name, node, structure, bases, by_datum, draws).items():
                parts[f"measure {base}"] += [] if measure is None else [measure]
                parts[f"energy {base}"] += [] if energy is None else [energy]
    lead = torch.Size([draws] if draws else []) + torch.Size([structure.size] if by_datum else [])
    return {name: Term(sum(terms, torch.zeros(())).expand(lead), by_datum, None) for name, terms in parts.items()}


Parts = dict[Base, tuple[Tensor | None, Tensor | None]]


def _site(
    name: str, node: Mapping[str, Any], structure: Structure, bases: Sequence[Base], by_datum: bool, draws: int
) -> Parts:
    """Measure and energy of one site, summed; None stands for zero."""

    def total(values: Tensor | None) -> Tensor | None:
        return None if values is None else reduced(values, node, structure, draws, by_datum)

    log_prob = torch.as_tensor(node["fn"].log_prob(node["value"]))
    energy = -scale_and_mask(log_prob, scale_without_data_plate(node, structure), node["mask"])
    if "_log_jacobian" not in (node["infer"] or {}):
        fixed = total(energy)
        return dict.fromkeys(bases, (None, fixed))
    found: dict[Base, tuple[Tensor | None, Tensor | None]] = {
        base: _free_site(name, node, log_prob, energy, base) for base in bases
    }
    summed: Parts = {base: (total(measure), total(hot)) for base, (measure, hot) in found.items()}
    return summed


def _free_site(
    name: str, node: Mapping[str, Any], log_prob: Tensor, energy: Tensor, base: Base
) -> tuple[Tensor | None, Tensor | None]:
    log_jacobian, mask = node["infer"]["_log_jacobian"], node["mask"]
    plain = mask is None and not torch.is_tensor(node["scale"]) and node["scale"] == 1
    inside = log_prob if plain else scale_and_mask(log_prob, 1.0, mask)
    if base == "prior":
        measure = log_prob if log_jacobian is None else log_prob + log_jacobian
        return measure, None if plain else energy + inside
    measure = log_jacobian
    if mask is not None:
        outside = log_prob - inside
        measure = outside if measure is None else measure + outside
    if base == "uniform":
        volume = scale_and_mask(log_volume(name, node["fn"]).expand_as(log_prob), 1.0, mask)
        measure = -volume if measure is None else measure - volume
    return measure, energy
