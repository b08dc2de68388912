r"""Free energies by annealing, from the prior and from a guide, cross-checked."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .annealing import Annealed, anneal, bridge, run_path
from .compiled import Compile
from .free_energy import FreeEnergy
from .grouped_result import by_group
from .importance import effective_sample_size, jackknifed_log_mean
from .landscape import Landscape, landscape
from .problem import Problem
from .resampling import ISLAND, anneal_resampled
from .schedule import log_weight_spread
from .starts import NoPrior, Start, guide_start, prior_start

__all__ = [
    "Estimate",
    "annealed_free_energy",
    "combined",
    "default_chains",
    "estimate_log_z",
    "starting_distributions",
]

UNRELIABLE = 1.5
"""No standard error is given where log weights spread by more than this many nats."""
JACKKNIFE_HOLDS = 0.8
"""Up to this spread the jackknife's variance of log-normal weights is right within a twentieth, from 16 chains on."""
DISAGREEMENT = 2.0
"""Two paths are said to disagree where they differ by more than this many standard errors."""

SELDOM_ABOVE = 3.0
"""An unbiased estimate of Z is above e^3 Z once in twenty times at most."""


class Estimate(NamedTuple):
    """log Z by group from the log weights of one path, all (G,); ``reliable`` says where its error can be quoted."""

    log_z: Tensor
    error: Tensor
    reliable: Tensor
    spread: Tensor
    ess: Tensor


def annealed_free_energy(
    problem: Problem,
    guide: Callable | None = None,
    chains: int | None = None,
    temperatures: int | None = None,
    resample: bool = False,
    compile: Compile = "auto",
) -> FreeEnergy:
    r"""F_beta = -(1/beta) log mean_s w_s by annealed importance sampling with Hamiltonian transitions.

    Chains are moved from the prior, and from the guide where there is one, to p_beta in many small steps; their
    weights are unbiased for Z, so that log Z is too low on average and F too high. The jackknife removes the first
    order of that. Two paths that end at different values by more than two standard errors show that one has missed a
    mode, and so does an F that is above the other's, however uncertain that is, by more than two of its own standard
    errors and 3 nats. Then the lower F is reported, with the difference as its error, and the datum is marked in
    ``evidence["disagree"]``. One path alone cannot show this.

    The standard error is the jackknife's. Where log weights spread by more than 0.8 nats the squared error is the mean
    of the jackknife's, which is then too small, and that of log-normal weights, which from so few chains is as much too
    large: (e^v / a - 1) / S, with v the variance of log w over the share a of chains whose weight is more than e^-5 of
    the mean. Where v is above 1.5^2, or a below 1/2, it is withheld (nan): take more temperatures.

    Args:
        problem: what is asked.
        guide: q(z | x), or None.
        chains: S; 16 by datum, and 64 for a single group.
        temperatures: by default as many as bring the standard deviation of log w to about 0.6, up to 5,000.
        resample: whether chains of small weight make room for copies of heavy ones on the way (sequential Monte
            Carlo), on islands of 8 chains; ``chains``, by default 64, must be a multiple of 8, and at least 32.
        compile: True, False, or "auto": whether transitions are compiled; by default where it pays (half a minute of
            compiling against a long run). ``evidence`` says what was done.

    Raises:
        ValueError: if there is neither a proper prior nor a guide to start from, or no start has a finite energy.

    References: R. M. Neal (2001), Annealed importance sampling, Statistics and Computing 11, equation 3;
    J. Sohl-Dickstein, B. J. Culpepper (2012), Hamiltonian annealed importance sampling for partition function
    estimation.
    """
    beta, base = problem.beta, problem.base
    land = landscape(problem.program, problem.given)
    chains = chains or (8 * ISLAND if resample else default_chains(land))
    _check_counts(chains, temperatures, resample)
    move = anneal_resampled if resample else anneal
    starts, refused = starting_distributions(land, guide)
    paths = {origin.name: bridge(land, origin, beta, base) for origin in starts}
    arrived = {name: run_path(path, chains, temperatures, compile, move) for name, path in paths.items()}
    estimates = {name: estimate_log_z(annealed.log_weights) for name, annealed in arrived.items()}
    log_z, error, disagree = combined(list(estimates.values()))
    evidence: dict[str, Any] = {"chains": chains, "refused": refused}
    for name, annealed in arrived.items():
        evidence |= {f"{name}_{key}": value for key, value in _evidence(estimates[name], annealed, beta).items()}
    if disagree is not None:
        evidence["disagree"] = disagree
    kind: dict[str, Any] = {"bound": "estimate", "method": "annealing", "beta": beta, "base": base}
    return by_group(land, -log_z / beta, error / beta, kind, evidence)


def estimate_log_z(log_weights: Tensor) -> Estimate:
    """log Z by group from the log weights (S, G) of independent chains."""
    log_z, jackknife = jackknifed_log_mean(log_weights)
    spread, share = log_weight_spread(log_weights)
    variance, log_normal = jackknife.square(), (spread.square().exp() / share - 1) / len(log_weights)
    variance = torch.where(spread > JACKKNIFE_HOLDS, (variance + log_normal) / 2, variance)
    error = variance.sqrt().nan_to_num(math.inf, math.inf)
    reliable = (spread <= UNRELIABLE) & (share >= 0.5)
    return Estimate(log_z, error, reliable, spread, effective_sample_size(log_weights))


def starting_distributions(land: Landscape, guide: Callable | None) -> tuple[list[Start], dict[str, str]]:
    """Where to start from, and why a start was refused."""
    starts, refused = [], {}
    try:
        starts.append(prior_start(land))
    except NoPrior as error:
        if guide is None:
            raise NoPrior(f"{error} Pass guide=..., a Pyro program q(z | x), to start from.") from error
        refused["prior"] = str(error)
    if guide is not None:
        starts.append(guide_start(land, guide))
    return starts, refused


def default_chains(land: Landscape) -> int:
    """16 by datum, and 64 where there are few data or one group."""
    return 16 if land.groups >= 16 else 64


def _check_counts(chains: int, temperatures: int | None, resample: bool) -> None:
    if resample and (chains % ISLAND or chains < 4 * ISLAND):
        raise ValueError(
            f"with resample=True, chains must be a multiple of {ISLAND} from {4 * ISLAND} on, got {chains}."
        )
    if chains < 4:
        raise ValueError(f"chains must be at least 4 to give a standard error, got {chains}.")
    if temperatures is not None and temperatures < 2:
        raise ValueError(f"temperatures must be at least 2, got {temperatures}.")


def combined(estimates: list[Estimate]) -> tuple[Tensor, Tensor, Tensor | None]:
    """log Z and its error of one path, or of the better of two; and where two disagree."""
    if len(estimates) == 1:
        (only,) = estimates
        return only.log_z, torch.where(only.reliable, only.error, math.nan), None
    first, second = estimates
    difference = (first.log_z - second.log_z).abs()
    disagree = difference > DISAGREEMENT * (first.error.square() + second.error.square()).sqrt()
    # However uncertain the larger Z is, by Markov's inequality it is seldom larger than the truth by this factor.
    smaller_error = torch.where(first.log_z < second.log_z, first.error, second.error)
    disagree |= difference > DISAGREEMENT * smaller_error + SELDOM_ABOVE
    # A path that misses a mode gives too low a Z. But one path's unreliable Z, not far above, proves nothing; and where
    # both agree, the more precise path stands.
    far = difference > DISAGREEMENT * smaller_error + SELDOM_ABOVE
    only_one = first.reliable != second.reliable
    precise = torch.where(only_one, first.reliable, first.error < second.error)
    larger = torch.where(only_one & ~far, first.reliable, first.log_z > second.log_z)
    take_first = torch.where(disagree, larger, precise)
    log_z, error, reliable = (torch.where(take_first, a, b) for a, b in zip(first[:3], second[:3], strict=True))
    error = torch.where(disagree, torch.maximum(error, difference), error)
    return log_z, torch.where(reliable, error, math.nan), disagree


def _evidence(estimate: Estimate, annealed: Annealed, beta: float) -> dict[str, Any]:
    """What one path gave, and how its chains went."""
    return {
        "free_energy": -estimate.log_z / beta,
        "error": estimate.error / beta,
        "log_weight_sd": estimate.spread,
        "ess": estimate.ess,
        "acceptance": annealed.acceptance,
        "temperatures": len(annealed.steps),
        "compiled": annealed.compiled,
    }
