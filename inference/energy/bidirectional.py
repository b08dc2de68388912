r"""Bounds on F_1 from both sides, on data simulated from the model:  E[-log w] >= F_1 >= E[-log w reversed].

Simulation gives the data together with one exact draw of their posterior. From it chains are annealed backwards.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pyro.poutine as poutine
import torch
from pyro.poutine.messenger import Messenger
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
from .scoring import run
from .starts import guide_start, prior_start
from .structure import probe, sample_sites
from .vectorize import Program

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
        ValueError: if beta is not 1, if the program has factors that cannot be simulated, or if the guide takes
            data that cannot be replaced by simulated ones.

    Reference: R. B. Grosse, Z. Ghahramani, R. P. Adams (2015), Sandwiching the marginal likelihood using
    bidirectional Monte Carlo, section 4. https://arxiv.org/abs/1511.02543
    """
    if problem.beta != 1:
        raise ValueError(f"bidirectional needs beta=1, at which simulation gives an exact draw; got {problem.beta}.")
    program, latents = simulated(problem, guide is not None)
    land = landscape(program, problem.given)
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
    result.evidence["simulated"] = dict(program.structure.observed)
    return result


def simulated(problem: Problem, for_guide: bool) -> tuple[Program, dict[str, Tensor]]:
    """The program with simulated data in the place of its own, and the latents that they were drawn from."""
    program, structure = problem.program, problem.program.structure
    drawn = poutine.uncondition(program.callable)
    with torch.no_grad():
        nodes = sample_sites(run(drawn, structure, program.call, problem.given))
    data = {name: nodes[name]["value"] for name in structure.observed}
    factors = [name for name, value in data.items() if value.numel() == 0]
    if factors:
        raise ValueError(f"the sites {factors} are factors: a program that is not normalised cannot simulate its data.")
    latents = {name: nodes[name]["value"] for name in structure.latents}
    replaced = _Replaced(structure.observed, data)
    args = tuple(replaced(value) for value in program.args)
    kwargs = {name: replaced(value) for name, value in program.kwargs.items()}
    model = program.callable
    if replaced.names != data.keys():
        if for_guide:
            raise ValueError(
                f"the guide sees its data as arguments, and the observed sites {sorted(data.keys() - replaced.names)} "
                f"are no arguments of the program as they are: leave the guide out, and chains start from the prior."
            )
        model = _Observe(data)(model)
    return Program(model, args, kwargs, probe(model, structure.data_plate, args, kwargs)), latents


class _Replaced:
    """Puts simulated data in the place of arguments that are observed as they are; ``names`` says of which sites."""

    def __init__(self, observed: Mapping[str, Tensor], data: Mapping[str, Tensor]) -> None:
        self.observed, self.data = observed, data
        self.names: set[str] = set()

    def __call__(self, value: Any) -> Any:
        for name, own in self.observed.items():
            if value is own:
                self.names.add(name)
                return self.data[name]
        return value


class _Observe(Messenger):
    """Observes other values."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values:
            msg["value"], msg["is_observed"] = self.values[msg["name"]], True


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
