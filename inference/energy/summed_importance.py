r"""Guide draws of the continuous latents alone:  w = sum over k of exp(-beta E(x, z, k)) / sum over k of q(z, k).

Summing the discrete latents out on both sides takes their noise away.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from .elimination import log_partition
from .enumerated_trace import enumerated_trace
from .guide_draws import Guide, GuideDraws
from .landscape import Landscape, landscape
from .log_weights import ELEMENTS_AT_ONCE, LatentsLeftOut, LogWeights
from .problem import Problem
from .scoring import Term, local_energy, total_energy
from .vectorize import Program, Scoring

__all__ = ["summed_log_weights"]


@torch.no_grad()
def summed_log_weights(problem: Problem, guide: Callable, draws: int) -> LogWeights:
    """Log weights of draws from the guide, with the discrete latents of program and guide summed out.

    ``energy`` is that of the draws with the discrete latents summed out at beta = 1, and ``latents`` has the
    continuous ones.

    Raises:
        ValueError: if the guide leaves out a continuous latent, or (NotEnumerable) its discrete ones cannot be summed.
    """
    land = landscape(problem.program, problem.given)
    q = Guide(guide, land.structure.data_plate, *land.program.call, given=problem.given)
    missing = [name for name in land.continuous if name not in q.structure.sites]
    if missing:
        raise LatentsLeftOut(missing, list(q.structure.sites))
    shared = [s for s in q.structure.sites.values() if land.structure.data_plate not in s.plates]
    by_datum = land.by_datum and all(site.name in problem.given for site in shared)
    chunk = max(1, ELEMENTS_AT_ONCE // max(1, land.structure.size))
    sizes = [min(chunk, draws - start) for start in range(0, draws, chunk)]
    parts = [_weights(problem, land, q, size, by_datum) for size in sizes]
    latents = {name: torch.cat([part.latents[name] for part in parts]) for name in land.continuous}
    weights, energy = torch.cat([part.log_weights for part in parts]), torch.cat([part.energy for part in parts])
    return LogWeights(weights, by_datum, parts[0].common, energy, latents)


def _weights(problem: Problem, land: Landscape, q: Guide, draws: int, by_datum: bool) -> LogWeights:
    beta, base = problem.beta, problem.base
    sample = q.draw(draws)
    values = {name: sample.latents[name] for name in land.continuous}
    u = land.coordinates(values)
    # Both densities are of the coordinates, or neither: the Jacobian is a measure without energy.
    log_p, log_p_warm, jacobian = (*land.log_densities(u, [(beta, base), (1.0, "lebesgue")]), land.log_jacobian(u))
    terms = _log_q(q, sample, values)
    log_q = local_energy(terms).neg() if by_datum else total_energy(terms, torch.Size([draws]), q.structure).neg()
    common = beta * land.common_energy(beta, base)
    target, warm = ((part - jacobian).double() for part in (log_p, log_p_warm))
    factor = land.structure.subsampling if land.by_datum else 1.0
    energy = land.common_energy(1.0, "lebesgue") - factor * warm.sum(-1)
    if by_datum:
        return LogWeights(target - log_q.double(), True, common, energy, values)
    total = factor * target.sum(-1) - common - log_q.double()
    return LogWeights(total.unsqueeze(-1), False, torch.zeros(()).double(), energy, values)


def _log_q(q: Guide, sample: GuideDraws, values: Mapping[str, Tensor]) -> dict[str, Term]:
    """-log q by site, the discrete sites of the guide summed out."""
    discrete = [name for name, site in q.structure.sites.items() if site.discrete and name not in q.given]
    if not discrete:
        return sample.terms
    program = Program(q.guide, *q.call, q.structure)
    found = program.many(values, Scoring("marginal", partial(_marginal, program, q.given), None))
    return {name: term._replace(energy=-term.energy) for name, term in found.items()}


def _marginal(program: Program, given: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> dict[str, Term]:
    trace = enumerated_trace(program, {**given, **values})
    by_datum, common = log_partition(trace, program.structure, 1.0, "lebesgue")
    terms = {"common": Term(common, False, None)}
    return terms if by_datum is None else terms | {"local": Term(by_datum, True, None)}
