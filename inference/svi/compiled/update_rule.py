r"""The step of an optimizer as tensor operations, so that it can be part of a graph: Adam, AdamW, ClippedAdam.

.. math:: m \leftarrow b_1 m + (1 - b_1) g, \quad v \leftarrow b_2 v + (1 - b_2) g^2, \quad
          \theta \leftarrow \theta - r \, \frac{m / (1 - b_1^t)}{\sqrt{v / (1 - b_2^t)} + \epsilon}
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from pyro.optim.clipped_adam import ClippedAdam
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

__all__ = [
    "Factors",
    "Group",
    "State",
    "factors",
    "groups_of",
    "next_rates",
    "packed_factors",
    "prepare_state",
    "updated",
]


class State(NamedTuple):
    """What Adam keeps of a parameter: t (float32, of no dimension), m, v and, for amsgrad, the largest v so far."""

    step: Tensor
    mean: Tensor
    square: Tensor
    largest: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """Those that are there."""
        return [tensor for tensor in self if tensor is not None]


class Factors(NamedTuple):
    """What of a step is the same for all elements of a parameter, float64.

    Attributes:
        rate: r.
        move: r / (1 - b_1^t), and for ClippedAdam that times the root.
        root: the square root of 1 - b_2^t.
    """

    rate: Tensor
    move: Tensor
    root: Tensor


@dataclass(frozen=True)
class Group:
    """The settings of a group of parameters that do not change; the rate r does, and is an input of the graph.

    Attributes:
        index: of the group, and of its rate.
        betas, eps, weight_decay: Adam's.
        decoupled: weight decay as AdamW's.
        maximize: the sign of the gradient is turned.
        clip: ClippedAdam's bound on every element of the gradient; the term eps is then not corrected for bias.
        centered: ClippedAdam's square of the deviation from the mean.
    """

    index: int
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    decoupled: bool = False
    maximize: bool = False
    clip: float | None = None
    centered: bool = False


def groups_of(optimizer: Optimizer) -> dict[int, Group] | None:
    """The group of every parameter, by identity; None if the optimizer is not one of those that are known here."""
    if type(optimizer) not in (Adam, AdamW, ClippedAdam):
        return None
    found = {}
    for index, group in enumerate(optimizer.param_groups):
        if group.get("differentiable") or not isinstance(group["lr"], float | int):
            return None
        settings = _group(index, group)
        found |= {id(parameter): settings for parameter in group["params"]}
    return found


def prepare_state(optimizer: Optimizer, parameters: Sequence[Tensor]) -> list[State]:
    """The optimizer's own state of the parameters, made where there is none yet, as tensors to be written to."""
    return [_state(optimizer, parameter) for parameter in parameters]


def factors(groups: Sequence[Group], rates: Sequence[Tensor], states: Sequence[State]) -> list[Factors]:
    """Those of the step that follows, of every parameter; ``rates`` are those of the groups.

    They are taken together for all parameters of a group, so that a compiler gives them memory of their own: what is
    used once it would compute again for every few elements of a parameter.
    """
    found: dict[int, Factors] = {}
    for group in dict.fromkeys(groups):
        members = [index for index, one in enumerate(groups) if one == group]
        steps = torch.stack([states[index].step for index in members])

        both = torch.stack(_move_and_root(group, rates[group.index], steps))

        for place, index in enumerate(members):
            found[index] = Factors(rates[group.index], both[0, place], both[1, place])
    return [found[index] for index in range(len(groups))]


def packed_factors(group: Group, rate: Tensor, steps: Tensor) -> Factors:
    """Those of weights in one vector, (D,), each with its own count of steps; ``rate`` is () or (D,)."""
    move, root = _move_and_root(group, rate, steps)
    return Factors(rate, move, root)


def updated(group: Group, factors: Factors, parameter: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, State]:
    """The parameter and its state after a step, as new tensors."""
    b1, b2 = group.betas
    gradient = -gradient if group.maximize else gradient
    gradient = gradient if group.clip is None else gradient.clamp(-group.clip, group.clip)
    if group.decoupled:
        parameter = parameter * (1 - factors.rate * group.weight_decay).to(parameter.dtype)
    elif group.weight_decay:
        gradient = gradient + group.weight_decay * parameter

    mean = state.mean + (1 - b1) * (gradient - state.mean)
    deviation = gradient - mean if group.centered else gradient
    square = b2 * state.square + (1 - b2) * deviation * deviation
    largest = None if state.largest is None else torch.maximum(state.largest, square)
    scale = (square if largest is None else largest).sqrt()

    if group.clip is None:
        scale = scale / factors.root.to(parameter.dtype)
    move = factors.move.to(parameter.dtype) * (mean / (scale + group.eps))
    return parameter - move, State(state.step + 1, mean, square, largest)


def _move_and_root(group: Group, rate: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    # 1 - b^t in float64: at t = 1 it is 0.001 for b = 0.999, to which float32 would be right in four digits.
    times = steps.double() + 1
    first, second = (1 - torch.exp(times * math.log(b)) if b > 0 else torch.ones_like(times) for b in group.betas)
    root = second.sqrt()
    return (rate / first if group.clip is None else rate * root / first), root


def next_rates(optimizer: Optimizer) -> list[float]:
    """The rate of every group at the step that comes; ClippedAdam's decays at each."""
    for group in optimizer.param_groups:
        group["lr"] *= group.get("lrd", 1.0)
    return [group["lr"] for group in optimizer.param_groups]


def _group(index: int, group: dict[str, Any]) -> Group:
    return Group(
        index,
        (float(group["betas"][0]), float(group["betas"][1])),
        group["eps"],
        group["weight_decay"],
        decoupled=bool(group.get("decoupled_weight_decay", False)),
        maximize=group.get("maximize", False),
        clip=group.get("clip_norm"),
        centered=group.get("centered_variance", False),
    )


def _state(optimizer: Optimizer, parameter: Tensor) -> State:
    state, group = optimizer.state[parameter], _own_group(optimizer, parameter)
    if not state:
        state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(parameter) for _ in range(2))
        if group.get("amsgrad"):
            state["max_exp_avg_sq"] = torch.zeros_like(parameter)
    # ClippedAdam counts in a Python number; it takes a tensor as well.
    state["step"] = torch.as_tensor(state.get("step", 0), dtype=torch.float32, device="cpu")
    return State(state["step"], state["exp_avg"], state["exp_avg_sq"], state.get("max_exp_avg_sq"))


def _own_group(optimizer: Optimizer, parameter: Tensor) -> dict[str, Any]:
    return next(group for group in optimizer.param_groups if any(own is parameter for own in group["params"]))
