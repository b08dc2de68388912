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

__all__ = ["Group", "State", "groups_of", "next_rates", "prepare_state", "updated"]


class State(NamedTuple):
    """What Adam keeps of a parameter: t (float32, of no dimension), m, v and, for amsgrad, the largest v so far."""

    step: Tensor
    mean: Tensor
    square: Tensor
    largest: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """Those that are there."""
        return [tensor for tensor in self if tensor is not None]


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


def updated(group: Group, rate: Tensor, parameter: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, State]:
    """The parameter and its state after a step, as new tensors; ``rate`` is a float64 number."""
    b1, b2 = group.betas
    gradient = -gradient if group.maximize else gradient
    gradient = gradient if group.clip is None else gradient.clamp(-group.clip, group.clip)
    if group.decoupled:
        parameter = parameter * (1 - rate * group.weight_decay).to(parameter.dtype)
    elif group.weight_decay:
        gradient = gradient + group.weight_decay * parameter
    step = state.step + 1
    mean = state.mean + (1 - b1) * (gradient - state.mean)
    deviation = gradient - mean if group.centered else gradient
    square = b2 * state.square + (1 - b2) * deviation * deviation
    largest = None if state.largest is None else torch.maximum(state.largest, square)
    scale = (square if largest is None else largest).sqrt()
    # 1 - b^t in float64: at t = 1 it is 0.001 for b = 0.999, to which float32 would be right in four digits.
    c1, c2 = (-torch.expm1(step.double() * math.log(b)) if b > 0 else torch.ones_like(rate) for b in (b1, b2))
    if group.clip is None:
        move = (rate / c1).to(parameter.dtype) * (mean / (scale / c2.sqrt().to(parameter.dtype) + group.eps))
    else:
        move = (rate * c2.sqrt() / c1).to(parameter.dtype) * (mean / (scale + group.eps))
    return parameter - move, State(step, mean, square, largest)


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
