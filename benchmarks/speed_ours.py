"""The steps of this package, behind the same interface as its competitors'."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pyro
import torch

from pyrometer.inference.svi.bfloat16 import has_bfloat16_products
from pyrometer.inference.svi.compiled.build import compiled
from pyrometer.inference.svi.compiled.products import faster_products
from pyrometer.inference.svi.objective import as_objective
from pyrometer.inference.svi.pair import Pair
from pyrometer.inference.svi.preparation import inspect_pair

from .speed_pair import Run, SpeedPair
from .speed_systems import has_wide_vectors

__all__ = ["OURS", "ours", "steps_of"]

OURS = "pyrometer"


def ours(pair: SpeedPair) -> dict[str, Callable[[], Run]]:
    """What makes each way of ours anew, by name; the first is what the others' ratios are for.

    The steps are those that ``fit`` takes, without its loop around them.
    """
    ways: dict[str, Callable[[], Run]] = {OURS: lambda: steps_of(pair, at_once=False)}
    if not pair.mixed:
        ways[f"{OURS}, several steps a call"] = lambda: steps_of(pair, at_once=True)
    elif has_bfloat16_products(torch.device("cpu")) and has_wide_vectors():
        ways[f"{OURS}, bf16"] = lambda: steps_of(pair, at_once=False, rounded=True)
    return ways


def steps_of(speed_pair: SpeedPair, at_once: bool, rounded: bool = False) -> Run:
    """Takes steps one by one, or as many at once as can be."""
    with pyro.get_param_store().scope():  # which is where `pyro.module` of another competitor puts its weights
        pair = Pair(*speed_pair.programs(), as_objective(speed_pair.objective()))
        pair.train()
        batch: dict[str, Any] = dict(speed_pair.data)
        inspect_pair(pair, [batch], None)
        optimizer = torch.optim.Adam(pair.trainable(), lr=speed_pair.rate)
        steps = compiled(pair, optimizer, batch, {}, "bf16" if rounded else faster_products(), repeats=True)
        take = partial(_take, steps, batch, [speed_pair.rate], steps.most if at_once else 1)
        return lambda count: take(count)


def _take(
    steps: Callable[[list, list[Mapping[str, float]], list], list[float]],
    batch: dict[str, Any],
    rates: Sequence[float],
    most: int,
    count: int,
) -> Sequence[float]:
    losses: list[float] = []
    while len(losses) < count:
        now = min(most, count - len(losses))
        losses += steps([batch] * now, [{}] * now, [rates] * now)
    return losses
