r"""Exact free energies of discrete programs:  F_beta = -(1/beta) log sum over z of exp(-beta E(x, z))."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .base_measure import Base, check_temperature
from .elimination import LogPartition, log_partition, moments
from .enumerated_trace import NOTHING, NotEnumerable, enumerated_trace
from .enumeration_check import check_enumeration
from .factors import IMPOSSIBLE
from .free_energy import FreeEnergy, exact
from .maximiser import discrete_minimiser
from .vectorize import Program

__all__ = [
    "LogPartition",
    "NotEnumerable",
    "check_enumeration",
    "discrete_minimiser",
    "enumerated_free_energy",
    "enumerated_ladder",
    "enumerated_trace",
    "log_partition",
]


def enumerated_free_energy(program: Program, beta: float, base: Base, given: Mapping[str, Tensor]) -> FreeEnergy:
    r"""The sum over every discrete latent, by tensor variable elimination in float64.

    Exact for the log-probabilities that the program produced. A latent that its mask leaves out has no energy and is
    averaged under its prior.

    Returns:
        The free energy. Its evidence has ``mean_energy`` U = d(beta F)/d beta, ``entropy`` H = beta (U - F) and
        ``heat_capacity`` c = -beta^2 dU/d beta = beta^2 Var E, (), exact too; with the ending ``_per_datum``, (N,),
        where the free energy has a value per datum. With the prior as base measure the energy is that of the data
        alone, and H is minus the divergence KL(p_beta, prior).

    Raises:
        NotEnumerable: (a ValueError) if a latent that is not given cannot be enumerated, or the program cannot run on
            all values of its latents at once.
    """
    parts = _quantities(program, torch.tensor([beta], dtype=torch.float64), base, given)
    free_energy = parts.pop("free_energy")
    per_datum = None if free_energy.per_datum is None else free_energy.per_datum[0]
    evidence = {name: value[0].detach() for name, value in _table(parts, program.structure.subsampling).items()}
    kind = {"method": "enumerate", "beta": beta, "base": base, "evidence": evidence}
    return exact(per_datum, free_energy.common[0], program.structure.subsampling, **kind)


def enumerated_ladder(
    program: Program, betas: Tensor, base: Base, given: Mapping[str, Tensor] = NOTHING
) -> dict[str, Tensor]:
    r"""F, U, H and c at several inverse temperatures by one elimination, in nats and exact.

    Returns:
        ``free_energy``, ``mean_energy``, ``entropy`` and ``heat_capacity``, (B,) each, and with the ending
        ``_per_datum``, (B, N), where every latent lies inside the data plate; as in ``enumerated_free_energy``.

    Raises:
        ValueError: if a beta is not positive and finite, or the base is unknown.
        NotEnumerable: (a ValueError) as there.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from pyrometer import EnergyView
        >>> def model():
        ...     k = pyro.sample("k", dist.Categorical(torch.tensor([0.5, 0.25, 0.25]).double()))
        >>> program = EnergyView(model).bind().program
        >>> table = enumerated_ladder(program, torch.tensor([1e-6, 1.0, 1e6]), "lebesgue")
        >>> table["entropy"]  # log 3 states, the prior's own, log 1
        tensor([1.0986, 1.0397, 0.0000], dtype=torch.float64)
    """
    for beta in betas.tolist():
        check_temperature(beta, base)
    return _table(_quantities(program, betas.double(), base, given), program.structure.subsampling)


def _quantities(program: Program, betas: Tensor, base: Base, given: Mapping[str, Tensor]) -> dict[str, LogPartition]:
    structure = program.structure
    shared = [name for name in structure.shared_latents if name not in given]
    structure.refuse_subsampling(shared)
    trace = enumerated_trace(program, given)
    check_enumeration(trace, program, given)
    per_datum, common = moments(trace, structure, betas, base)
    if per_datum is not None and shared:  # a latent that meets no datum is summed over once, not once a datum
        per_datum, common = None, common + per_datum.sum(-1)
    total = _thermodynamics(betas, common)
    local = dict.fromkeys(total) if per_datum is None else _thermodynamics(betas.unsqueeze(-1), per_datum)
    return {name: LogPartition(local[name], total[name]) for name in total}


def _thermodynamics(beta: Tensor, moments: Tensor) -> dict[str, Tensor]:
    """F, U, H and c from the moments of the energy."""
    log_z, mean_energy, variance, entropy = moments
    free_energy = -log_z / beta
    impossible = free_energy > IMPOSSIBLE
    return {
        "free_energy": torch.where(impossible, torch.inf, free_energy),
        "mean_energy": torch.where(impossible, torch.inf, mean_energy),
        "entropy": torch.where(impossible, torch.nan, entropy),
        "heat_capacity": torch.where(impossible, torch.nan, beta.square() * variance),
    }


def _table(parts: Mapping[str, LogPartition], subsampling: float) -> dict[str, Tensor]:
    table = {}
    for name, (per_datum, common) in parts.items():
        table[name] = common if per_datum is None else common + subsampling * per_datum.sum(-1)
    local = {f"{name}_per_datum": part.per_datum for name, part in parts.items() if part.per_datum is not None}
    return table | local
