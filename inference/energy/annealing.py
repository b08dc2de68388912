r"""Annealed importance sampling:  log w = sum over t of log f_t(u_{t-1}) - log f_{t-1}(u_{t-1}),  E[w] = Z_T / Z_0."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .base_measure import Base
from .compiled import Compile, NotCompiled, compiled, worthwhile
from .hmc import Evaluate, State, evaluator, in_pieces, piece_size, start, transition
from .landscape import Landscape
from .schedule import Pilot, fly, temperatures_needed
from .starts import Start

__all__ = ["Annealed", "Path", "anneal", "bridge", "run_path"]

PILOTS = 16
PILOT_TEMPERATURES = 100
SCALE_DRAWS = 256
"""Draws of the start whose standard deviations scale the steps of each coordinate."""
SPREAD = 0.6
"""The standard deviation of log weights that the number of temperatures is chosen for."""
TEMPERATURES = (50, 5000)
"""The least and the most temperatures that are chosen."""


class Path(NamedTuple):
    """From a start to a target: log f_c = C_0 + c C_1 for c from 0 to 1."""

    start: Start
    components: Callable[[Tensor], tuple[Tensor, Tensor]]


class Annealed(NamedTuple):
    """Chains that have come to the end of a path.

    Attributes:
        log_weights: (S, G), in float64; the mean of their exponentials is Z of the target.
        acceptance: mean over chains and temperatures, (G,).
        state: the chains at the target.
        coefficients: those visited, (T + 1,).
        steps: the step sizes at each but the first, (T, G, D).
        pilots: chains at the target whose weights do not count.
        compiled: whether the transitions were compiled, and if not though it would have paid, why.
    """

    log_weights: Tensor
    acceptance: Tensor
    state: State
    coefficients: Tensor
    steps: Tensor
    pilots: State | None = None
    compiled: str = "no"


Move = Callable[[State, Tensor, Tensor, Evaluate], Annealed]


def bridge(land: Landscape, origin: Start, beta: float, base: Base) -> Path:
    """The geometric path from a start to f_beta."""

    def from_prior(u: Tensor) -> tuple[Tensor, Tensor]:
        first, last = land.log_densities(u, [(0.0, "prior"), (beta, base)])
        return first, last - first

    def from_guide(u: Tensor) -> tuple[Tensor, Tensor]:
        first = origin.log_density(u)
        return first, land.log_density(u, beta, base) - first

    return Path(origin, from_prior if origin.name == "prior" else from_guide)


def run_path(
    path: Path, chains: int, temperatures: int | None, compiling: Compile = "auto", move: Move | None = None
) -> Annealed:
    """Anneals chains along a path, with step sizes and a schedule from pilot chains of their own.

    Args:
        path: from where to where.
        chains: S.
        temperatures: None: as many as the pilots' log weights call for.
        compiling: True, False, or "auto": whether it pays.
        move: how chains are moved along, by default ``anneal``.

    Raises:
        NotCompiled: if compiling is asked for and fails.
    """
    evaluate = evaluator(path.components)
    draws = path.start.draw(SCALE_DRAWS)
    scale = draws.std(0).clamp(min=1e-6)
    first = start(draws[:PILOTS], evaluate)
    _check_finite(first, path.start.name)
    pilot = _pilot(path, first, scale, evaluate)
    low, high = TEMPERATURES
    count = temperatures or min(max(temperatures_needed(pilot, SPREAD), low), high)
    coefficients = pilot.schedule(count)
    steps = pilot.steps(coefficients).to(scale).unsqueeze(-1) * scale
    u = path.start.draw(chains)
    evaluate, how = choose_evaluator(path.components, u, count, compiling)
    arrived = (move or anneal)(start(u, evaluate), coefficients, steps, evaluate)
    return arrived._replace(pilots=pilot.state, compiled=how)


def _check_finite(state: State, origin: str) -> None:
    """Raises where the target is nowhere finite: chains could only stay where they are."""
    lost = (~(state.parts.fixed + state.parts.moving).isfinite()).all(0).nonzero().flatten().tolist()
    if lost:
        raise ValueError(
            f"the energy is finite at none of {len(state.u)} draws of the {origin}, of the data {lost[:10]}"
            f"{' and more' if len(lost) > 10 else ''}: an observation may lie outside its site's support, or the "
            f"{origin} where the program has no density."
        )


def choose_evaluator(
    components: Callable[[Tensor], tuple[Tensor, Tensor]], u: Tensor, evaluations: int, compiling: Compile
) -> tuple[Evaluate, str]:
    """The evaluator of components, compiled or not, and which in words."""
    plain = evaluator(components)
    if compiling is False or (compiling == "auto" and not worthwhile(plain, u, evaluations)):
        return plain, "no"
    try:
        return in_pieces(compiled(components, u[: piece_size(u)])), "yes"
    except NotCompiled as reason:
        if compiling is True:
            raise
        return plain, f"no: {reason}"


def anneal(state: State, coefficients: Tensor, steps: Tensor, evaluate: Evaluate) -> Annealed:
    """Moves chains through the coefficients, weighing them before each move."""
    log_weights = torch.zeros(state.u.shape[:2], dtype=torch.float64)
    acceptance = torch.zeros(state.u.shape[1], dtype=torch.float64)
    values = coefficients.tolist()
    for index, step in enumerate(steps):
        log_weights += (values[index + 1] - values[index]) * state.parts.moving.double()
        state, accepted = transition(state, values[index + 1], step, evaluate)
        acceptance += accepted.mean(0)
    return Annealed(log_weights, acceptance / len(steps), state, coefficients, steps)


def _pilot(path: Path, state: State, scale: Tensor, evaluate: Evaluate) -> Pilot:
    ramp = torch.linspace(0, 1, PILOT_TEMPERATURES + 1, dtype=torch.float64)
    first = torch.full((scale.shape[0],), math.log(1.2) - math.log(scale.shape[1]) / 8, dtype=torch.float64)
    return fly(state, ramp**path.start.power, scale, first, evaluate)
