r"""Free energies from guide draws:  F_beta = -T log E_q[w],  F_beta[q] = -T E_q[log w],  w = exp(-beta E) / q."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..arviz_versions import smooth_log_weights
from .base_measure import Base
from .enumeration import NotEnumerable
from .free_energy import FreeEnergy
from .log_weights import LatentsLeftOut, LogWeights, guide_log_weights
from .problem import Problem
from .summed_importance import summed_log_weights
from .vectorize import Program

__all__ = ["LogWeights", "guide_log_weights", "importance_free_energy", "variational_free_energy"]

LARGEST_CORRECTION = 1.0
# A tail is not fitted to log weights that agree to this many nats: there is none.
CONSTANT_WEIGHTS = 1e-3


def importance_free_energy(problem: Problem, guide: Callable | None = None, draws: int = 1000) -> FreeEnergy:
    r"""F_beta = -(1/beta) log mean_s w_s by Pareto-smoothed importance sampling with draws from the guide.

    The logarithm of a mean is biased by -Var(w) / (2 S mean(w)^2), which over many data adds up to more than the
    standard error: the jackknife removes that term and gives the error. Trust neither where ``evidence["pareto_k"]``
    is above min(1 - 1/log10(S), 0.7) (Vehtari et al. 2024, section 3.2.4).

    Raises:
        ValueError: if there is no guide, or fewer than 100 draws.
    """
    program, beta, base, given = problem
    if guide is None:
        raise ValueError(
            f"importance sampling draws from a guide, and none was passed; the free latents are "
            f"{problem.free}. Pass guide=..., a Pyro program q(z | x)."
        )
    if draws < 100:
        raise ValueError(f"draws must be at least 100 for a Pareto tail to be fitted, got {draws}.")
    program.structure.refuse_subsampling([name for name in program.structure.shared_latents if name not in given])
    weights, discrete = importance_log_weights(problem, guide, draws)
    estimate = estimate_free_energy(weights, program, beta, base)
    return replace(estimate, evidence=estimate.evidence | {"discrete": discrete})


def importance_log_weights(problem: Problem, guide: Callable, draws: int) -> tuple[LogWeights, str]:
    """Log weights of guide draws, and how the discrete latents beside continuous ones were treated.

    They are summed out, unless the guide cannot run on all their values at once: then the guide's draws stand.
    """
    mixed = problem.free and not problem.discrete and any(map(problem.program.structure.is_discrete, problem.free))
    if not (mixed or problem.base == "uniform"):
        return guide_log_weights(problem.program, guide, problem.beta, problem.base, problem.given, draws), "none"
    try:
        return summed_log_weights(problem, guide, draws), "summed"
    except NotEnumerable as reason:
        if problem.base == "uniform":
            raise
        weights = guide_log_weights(problem.program, guide, problem.beta, problem.base, problem.given, draws)
        return weights, f"drawn from the guide: {reason}"


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
    return mean_free_energy(bound_log_weights(Problem(program, beta, base, {}), guide, draws), program, beta, base)


def bound_log_weights(problem: Problem, guide: Callable, draws: int) -> LogWeights:
    """Log weights whose mean is the guide's bound: discrete latents that the guide leaves to the program are summed."""
    try:
        return guide_log_weights(problem.program, guide, problem.beta, problem.base, problem.given, draws)
    except LatentsLeftOut as left_out:
        if not all(map(problem.program.structure.is_discrete, left_out.names)):
            raise
        return summed_log_weights(problem, guide, draws)


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
    """Pareto-smoothed log weights (S, N) and the tails' shapes k (N,).

    k is -inf where the weights are constant, and inf where no draw has a density under the program.

    Raises:
        ValueError: if a log weight is nan or +inf.
    """
    wrong = ~(log_weights < math.inf)
    if wrong.any():
        raise ValueError(
            f"{int(wrong.any(-1).sum())} of {len(log_weights)} draws of the guide have a log weight of nan or +inf: "
            f"there the program's density is infinite or undefined, or the guide's is 0. Keep scales away from 0, and "
            f"look for 0 / 0 and log 0 in the program at the guide's draws."
        )
    smoothed, k = log_weights.clone(), log_weights.new_full(log_weights.shape[1:], -math.inf)
    k[~log_weights.isfinite().any(0)] = math.inf
    varying = log_weights.amax(0) - log_weights.amin(0) >= CONSTANT_WEIGHTS
    if varying.any():
        values, shapes = smooth_log_weights(log_weights[:, varying].T.numpy())
        smoothed[:, varying], k[varying] = torch.from_numpy(values).T, torch.from_numpy(shapes)
    return smoothed, k


def jackknifed_log_mean(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """log mean_s w_s without its bias of order 1/S, and its standard error, both (N,), from log weights (S, N)."""
    draws = len(log_weights)
    without = log_mean_without_each(log_weights)
    plain = log_weights.logsumexp(0) - math.log(draws)
    # First order in 1/S, the bias is at most a half. Where one draw has all the weight the jackknife knows no bound.
    correction = ((draws - 1) * (plain - without.mean(0))).clamp(max=LARGEST_CORRECTION)
    error = torch.where(without.isfinite().all(0), jackknife_error(without), math.inf)
    return plain + correction, error


def jensen_gap_error(log_weights: Tensor) -> Tensor:
    """The standard error of log mean_s w_s - mean_s log w_s, whose two terms share their draws, (N,)."""
    mean_without = (log_weights.sum(0) - log_weights) / (len(log_weights) - 1)
    return jackknife_error(log_mean_without_each(log_weights) - mean_without)


def jackknife_error(without: Tensor) -> Tensor:
    """The standard error of a statistic, (N,), from its S values without each draw, (S, N)."""
    return ((len(without) - 1) * without.var(0, correction=0)).sqrt()


def log_mean_without_each(log_weights: Tensor) -> Tensor:
    log_sum = log_weights.logsumexp(0)
    # One draw with all the weight leaves nothing without it: log 0, and an infinite error, which is the truth.
    return log_sum + torch.log1p(-(log_weights - log_sum).exp()) - math.log(len(log_weights) - 1)


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2, (N,), from log weights (S, N)."""
    return (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()
