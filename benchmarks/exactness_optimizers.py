"""Shapes of optimizers: the rules that are part of a graph, with their options, and others, which stay beside it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pyro.infer.autoguide import AutoNormal
from pyro.optim.clipped_adam import ClippedAdam
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, NAdam, Optimizer, RMSprop

from .exactness_case import Case
from .exactness_guides import regression

__all__ = ["OPTIMIZERS"]


def _case(optimizer: Callable[[list[Tensor]], Optimizer], **options: Any) -> Callable[[], Case]:
    def build() -> Case:
        x = torch.randn(7, 2)
        data = {"x": x, "y": x.sum(-1) + 0.3 * torch.randn(7)}
        return Case(regression, AutoNormal(regression), data, {"batch_size": None, "optimizer": optimizer, **options})

    return build


def _groups(parameters: list[Tensor]) -> Optimizer:
    half = len(parameters) // 2
    slow = {"params": parameters[:half], "lr": 0.003, "betas": (0.5, 0.9)}
    return Adam([slow, {"params": parameters[half:], "weight_decay": 0.1}], lr=0.03)


CLIPPED: Any = {"lr": 0.03, "lrd": 0.97, "clip_norm": 2.0, "weight_decay": 0.01}
OPTIMIZERS: dict[str, Callable[[], Case]] = {
    "a schedule of the learning rate": _case(partial(Adam, lr=0.03), schedule=lambda done: 1 - 0.9 * done),
    "Adam with amsgrad": _case(partial(Adam, lr=0.03, amsgrad=True, weight_decay=0.05)),
    "Adam with groups": _case(_groups, schedule=lambda done: 0.2 + done),
    "AdamW": _case(partial(AdamW, lr=0.03, weight_decay=0.2)),
    "ClippedAdam with lrd": _case(partial(ClippedAdam, **CLIPPED)),
    "ClippedAdam, centred, a schedule": _case(
        partial(ClippedAdam, lr=0.03, lrd=0.99, centered_variance=True), schedule=lambda done: 1 - 0.5 * done
    ),
    "SGD with momentum": _case(partial(SGD, lr=0.001, momentum=0.9, nesterov=True)),
    "RMSprop": _case(partial(RMSprop, lr=0.01)),
    "NAdam": _case(partial(NAdam, lr=0.02), schedule=lambda done: 1 - 0.5 * done),
}
