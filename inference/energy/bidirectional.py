r"""Bounds on F_1 from both sides, on data simulated from the model:  E[-log w] >= F_1 >= E[-log w reversed].

Simulation gives the data together with one exact draw of their posterior. From it chains are annealed backwards.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .annealed_free_energy import default_chains, estimate_log_z
from .annealing import bridge, run_path
from .compiled import Compile
from .free_energy import FreeEnergy
from .grouped_result import by_group
from .hmc import State, evaluator, start, transition
from .importance import jackknifed_log_mean
from .landscape import landscape
from .problem import Problem
from .simulated_data import Simulator
from .starts import guide_start, prior_start

__all__ = ["bidirectional_free_energy"]


def bidirectional_free_energy(
    problem: Problem,
    guide: Callable | None = None,
    chains: int | None = None,
    temperatures: int | None = None,
    compile: Compile = "auto",
) -> FreeEnergy:
    r"""F_1 of simulated data, between an upper and a lower bound from annealing forwards and backwards.

    The program simulates its observed sites, in the place of the data that it is bound to; the result is the free
    energy of these. It tells how well annealing with these chains and temperatures does on data such as the model's
    own, and nothing of data that the model would not draw.

    ``evidence`` has, by datum, ``upper`` and ``lower``, from the mean weight of all chains, and their ``width``; and
    the same with the ending ``_single``, from the mean log weight, which are the bounds that one chain gives. Each is
    an estimate of a bound, so that a width can come out negative. ``simulated`` has the data.

    Args:
        problem: what is asked, at ``beta=1``.
        guide: q(z | x); chains start from it, and from the prior without.
        chains, temperatures, compile: as for annealing.

    Raises:
        ValueError: if beta is not 1, if the program cannot simulate what it scores, or if the guide takes data that
            cannot be replaced by simulated ones.

    Reference: R. B. Grosse, Z. Ghahramani, R. P. Adams (2015), Sandwiching the marginal likelihood using
    bidirectional Monte Carlo, section 4. https://arxiv.org/abs/1511.02543
    """
    if problem.beta != 1:
        raise ValueError(f"bidirectional needs beta=1, at which simulation gives an exact draw; got {problem.beta}.")
    simulator = Simulator(problem.program, for_guide=guide is not None)
    simulated = simulator.draw(problem.given)
    land, latents = landscape(simulator.bind(simulated), problem.given), simulated.latents
    origin = prior_start(land) if guide is None else guide_start(land, guide)
    path = bridge(land, origin, 1.0, problem.base)
    count = chains or default_chains(land)
    forward = run_path(path, count, temperatures, compile)
    exact = land.coordinates({name: latents[name].unsqueeze(0) for name in land.continuous})
    evaluate = evaluator(path.components)
    arrived = start(exact.expand(count, -1, -1).contiguous(), evaluate)
    backward = _reversed(arrived, forward.coefficients, forward.steps, evaluate)
    estimate = estimate_log_z(forward.log_weights)
    evidence = _bounds(forward.log_weights, backward) | {"chains": count, "temperatures": len(forward.steps)}
    evidence |= {"log_weight_sd": estimate.spread, "acceptance": forward.acceptance, "start": origin.name}
    error = torch.where(estimate.reliable, estimate.error, torch.nan)
    kind: dict[str, Any] = {"bound": "estimate", "method": "bidirectional", "beta": 1.0, "base": problem.base}
    result = by_group(land, -estimate.log_z, error, kind, evidence)
    result.evidence["simulated"] = simulated.data
    return result


def _reversed(state: State, coefficients: Tensor, steps: Tensor, evaluate: Any) -> Tensor:
    """Log weights (S, G) of the same path run backwards, from draws of its end."""
    log_weights = torch.zeros(state.u.shape[:2], dtype=torch.float64)
    values = coefficients.tolist()
    for index in range(len(steps), 0, -1):
        if index < len(steps):
            state, _ = transition(state, values[index], steps[index - 1], evaluate)
        log_weights += (values[index] - values[index - 1]) * state.parts.moving.double()
    return log_weights


def _bounds(forward: Tensor, backward: Tensor) -> dict[str, Tensor]:
    upper, lower = -jackknifed_log_mean(forward)[0], jackknifed_log_mean(-backward)[0]
    single = {"upper_single": -forward.mean(0), "lower_single": -backward.mean(0)}
    width = {"width": upper - lower, "width_single": single["upper_single"] - single["lower_single"]}
    return {"upper": upper, "lower": lower, **single, **width}
