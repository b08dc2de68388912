"""The step of this package, behind the same interface as its competitors'."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyro
import torch
from pyro.infer import TraceEnum_ELBO

import pyrometer

from .speed_pair import Run, SpeedPair

__all__ = ["OURS", "ours"]

OURS = "pyrometer"

SEED = 0


def ours(pair: SpeedPair) -> dict[str, Callable[[], Run]]:
    """What makes each way of ours anew, by name; the first is what the others' ratios are for."""
    ways: dict[str, Callable[[], Run]] = {OURS: lambda: _fit(pair, "32-true")}
    # In bfloat16 Pyro's sum over an enumerated site meets a product of two precisions, and torch refuses it.
    if pair.mixed and not isinstance(pair.objective(), TraceEnum_ELBO):
        ways[f"{OURS}, bf16"] = lambda: _fit(pair, "bf16-mixed")
    return ways


def _fit(pair: SpeedPair, precision: Any) -> Run:
    """A training of so many steps, which begins with a new Adam at every call and checks the pair before its first."""
    model, guide = pair.programs()

    def run(steps: int) -> Sequence[Any]:
        with pyro.get_param_store().scope():  # which is where `pyro.module` of another competitor puts its weights
            fitted = pyrometer.fit(
                model,
                guide,
                [pair.data],  # a loader of one batch, whose rows stay in order
                objective=pair.objective(),
                steps=steps,
                optimizer=partial(torch.optim.Adam, lr=pair.rate),
                seed=SEED,
                progress=False,
                accelerator="cpu",
                precision=precision,
            )
        return [row["loss"] * len(next(iter(pair.data.values()))) for row in fitted.history]

    return run
