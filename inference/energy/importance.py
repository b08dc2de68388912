r"""Free energies from guide draws:  F_beta = -T log E_q[w],  F_beta[q] = -T E_q[log w],  w = exp(-beta E) / q."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..arviz_versions import smooth_log_weights
from .free_energy import Base, FreeEnergy, temper_terms
from .guide_draws import Guide
from .scoring import global_energy, local_energy, total_energy
from .vectorize import Program

__all__ = ["LogWeights", "guide_log_weights", "importance_free_energy", "variational_free_energy"]

# Draws times data in one pass: bounds the memory, and keeps the tensors near the cache.
ELEMENTS_AT_ONCE = 20_000
# A tail is not fitted to log weights that agree to this many nats: there is none.
CONSTANT_WEIGHTS = 1e-3


class LogWeights(NamedTuple):
    """log w of S draws, in float64.

    By datum, (S, N), where every site outside the data plate is given; ``common`` is then what those sites add to
    beta E. Else of the total, (S, 1). ``energy`` is E(x, z) of the draws themselves, at beta = 1: (S,).
    """

    log_weights: Tensor
    by_datum: bool
    common: Tensor
    energy: Tensor
    latents: dict[str, Tensor]


def guide_log_weights(
    program: Program, guide: Callable, beta: float, base: Base, given: Mapping[str, Tensor], draws: int
) -> LogWeights:
    r"""Draws from the guide with log w = -beta E(x, z) - log q(z), in nats.

    Raises:
        ValueError: if the guide leaves out a latent of the program, puts a point mass on one, or gives one another
            shape.
    """
    structure = program.structure
    q = Guide(guide, structure.data_plate, program.args, program.kwargs, given)
    missing = [name for name in structure.latents if name not in q.structure.sites and name not in given]
    if missing:
        raise ValueError(
            f"the guide does not sample {missing}; its sites are {list(q.structure.sites)}. Importance draws need a "
            f"value for every latent: sample it in the guide, or pass it in `given`."
        )
    by_datum = structure.data_plate is not None and not _shared_sites(program, q, given)
    chunk = max(1, ELEMENTS_AT_ONCE // max(1, structure.size))
    parts = [
        _log_weights(program, q, beta, base, min(chunk, draws - start), by_datum) for start in range(0, draws, chunk)
    ]
    latents = {name: torch.cat([part.latents[name] for part in parts]) for name in parts[0].latents}
    points = q.point_masses({name: value for name, value in latents.items() if name not in given})
    if points:
        raise ValueError(
            f"the guide puts a point mass on {points}: it has no density there, so neither importance weights nor an "
            f"ELBO exist. Take the energy at its point instead, view.energy(...), or a guide with a spread."
        )
    weights, energy = torch.cat([part.log_weights for part in parts]), torch.cat([part.energy for part in parts])
    return LogWeights(weights, by_datum, parts[0].common, energy, latents)


def _shared_sites(program: Program, guide: Guide, given: Mapping[str, Tensor]) -> list[str]:
    """Sites outside the data plate that are not given: they couple the data, or may."""
    sites = [*program.structure.sites.values(), *guide.structure.sites.values()]
    return [s.name for s in sites if program.structure.data_plate not in s.plates and s.name not in given]


@torch.no_grad()
def _log_weights(program: Program, guide: Guide, beta: float, base: Base, draws: int, by_datum: bool) -> LogWeights:
    structure = program.structure
    sample = guide.draw(draws)
    given = {name: value.expand(draws, *value.shape) for name, value in guide.given.items()}
    latents = {**{name: value for name, value in sample.latents.items() if name in structure.latents}, **given}
    terms = program.terms(latents)
    tempered = temper_terms(terms, structure.latents, beta, base)
    lead = torch.Size([draws])
    energy = total_energy(terms, lead, structure).double()
    if by_datum:
        log_weights = local_energy(sample.terms).double() - local_energy(tempered).double()
        common = global_energy(tempered, lead)[0].double()
        return LogWeights(log_weights.expand(draws, structure.size), by_datum, common, energy, latents)
    log_weights = (
        total_energy(sample.terms, lead, structure).double() - total_energy(tempered, lead, structure).double()
    )
    return LogWeights(log_weights.unsqueeze(-1), by_datum, torch.zeros(()).double(), energy, latents)


def importance_free_energy(
    program: Program, guide: Callable | None, beta: float, base: Base, given: Mapping[str, Tensor], draws: int
) -> FreeEnergy:
    r"""F_beta = -(1/beta) log mean_s w_s by Pareto-smoothed importance sampling with draws from the guide.

    The logarithm of a mean is biased by -Var(w) / (2 S mean(w)^2), which over many data adds up to more than the
    standard error: the jackknife removes that term and gives the error. Trust neither where ``evidence["pareto_k"]``
    is above min(1 - 1/log10(S), 0.7) (Vehtari et al. 2024, section 3.2.4).

    Raises:
        ValueError: if there is no guide, or fewer than 100 draws.
    """
    if guide is None:
        raise ValueError(
            f"importance sampling draws from a guide, and none was passed; the free latents are "
            f"{[n for n in program.structure.latents if n not in given]}. Pass guide=..., a Pyro program q(z | x)."
        )
    if draws < 100:
        raise ValueError(f"draws must be at least 100 for a Pareto tail to be fitted, got {draws}.")
    program.structure.refuse_subsampling([name for name in program.structure.shared_latents if name not in given])
    weights = guide_log_weights(program, guide, beta, base, given, draws)
    return estimate_free_energy(weights, program, beta, base)


def estimate_free_energy(weights: LogWeights, program: Program, beta: float, base: Base) -> FreeEnergy:
    """The importance-sampling estimate of F_beta from log weights."""
    smoothed, pareto_k = pareto_smooth(weights.log_weights)
    log_mean, error = jackknifed_log_mean(smoothed)
    evidence = {"pareto_k": pareto_k, "ess": effective_sample_size(smoothed), "draws": len(smoothed)}
    if not weights.by_datum:
        evidence = {name: value[0] if isinstance(value, Tensor) else value for name, value in evidence.items()}
    kind = {"bound": "estimate", "method": "importance", "beta": beta, "base": base, "evidence": evidence}
    return _result(-log_mean / beta, error / beta, weights, program, kind)


def variational_free_energy(
    program: Program, guide: Callable, beta: float, base: Base, draws: int = 1000
) -> FreeEnergy:
    """F_beta[q] = E_q[E] - H(q) / beta, an upper bound on F_beta, as a mean over draws from the guide."""
    if draws < 2:
        raise ValueError(f"draws must be at least 2 to give a standard error, got {draws}.")
    weights = guide_log_weights(program, guide, beta, base, {}, draws)
    return mean_free_energy(weights, program, beta, base)


def mean_free_energy(weights: LogWeights, program: Program, beta: float, base: Base) -> FreeEnergy:
    """The variational free energy from log weights: minus their mean over beta."""
    log_weights = weights.log_weights
    error = log_weights.std(0) / math.sqrt(len(log_weights))
    kind = {"bound": "upper", "method": "variational", "beta": beta, "base": base, "evidence": {}}
    return _result(-log_weights.mean(0) / beta, error / beta, weights, program, kind)


def _result(value: Tensor, error: Tensor, weights: LogWeights, program: Program, kind: dict[str, Any]) -> FreeEnergy:
    factor = program.structure.subsampling
    if not weights.by_datum:
        return FreeEnergy(value[0], error[0], None, None, value[0], **kind)
    # The data are independent given the guide, so their errors add in quadrature.
    common = weights.common / kind["beta"]
    total, total_error = common + factor * value.sum(), factor * error.square().sum().sqrt()
    return FreeEnergy(total, total_error, value, error, common, **kind)


def pareto_smooth(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Pareto-smoothed log weights (S, N) and the tails' shapes k (N,); -inf where the weights are constant."""
    smoothed, k = log_weights.clone(), log_weights.new_full(log_weights.shape[1:], -math.inf)
    varying = log_weights.amax(0) - log_weights.amin(0) >= CONSTANT_WEIGHTS
    if varying.any():
        values, shapes = smooth_log_weights(log_weights[:, varying].T.numpy())
        smoothed[:, varying], k[varying] = torch.from_numpy(values).T, torch.from_numpy(shapes)
    return smoothed, k


def jackknifed_log_mean(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """log mean_s w_s without its bias of order 1/S, and its standard error, both (N,), from log weights (S, N)."""
    draws = len(log_weights)
    without = _log_mean_without_each(log_weights)
    corrected = draws * (log_weights.logsumexp(0) - math.log(draws)) - (draws - 1) * without.mean(0)
    return corrected, jackknife_error(without)


def jensen_gap_error(log_weights: Tensor) -> Tensor:
    """The standard error of log mean_s w_s - mean_s log w_s, whose two terms share their draws, (N,)."""
    mean_without = (log_weights.sum(0) - log_weights) / (len(log_weights) - 1)
    return jackknife_error(_log_mean_without_each(log_weights) - mean_without)


def jackknife_error(without: Tensor) -> Tensor:
    """The standard error of a statistic, (N,), from its S values without each draw, (S, N)."""
    return ((len(without) - 1) * without.var(0, correction=0)).sqrt()


def _log_mean_without_each(log_weights: Tensor) -> Tensor:
    log_sum = log_weights.logsumexp(0)
    # One draw with all the weight leaves nothing without it: log 0, and an infinite error, which is the truth.
    return log_sum + torch.log1p(-(log_weights - log_sum).exp()) - math.log(len(log_weights) - 1)


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2, (N,), from log weights (S, N)."""
    return (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()
