"""One program, compiled in this process: how long until the first compiled step, and how long further steps take."""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pyro
import torch

from pyrometer import fit

from .speed_mixture import mixture
from .speed_ours import steps_of
from .speed_pair import SpeedPair
from .speed_schools import eight_schools
from .speed_ssvae import ssvae
from .speed_vae import vae

__all__ = ["main"]

PAIRS: dict[str, Callable[[], SpeedPair]] = {
    "schools": eight_schools,
    "mixture": mixture,
    "vae": vae,
    "ssvae": ssvae,
}
PLAIN_STEPS = 100
ROUNDS = 15
SECONDS = 0.1
"""About how long a block of compiled steps is."""


class Decided(Exception):  # noqa: N818 - it ends a training that need not go on
    """What is to be known is known before the first step."""


def main() -> None:
    """Prints what was measured, as JSON, on the last line."""
    name, *lengths = sys.argv[1:]
    pair = PAIRS[name]()
    _seconds(pair, 1, compile=False)  # imports
    one = _seconds(pair, 1, compile=False)
    plain = (_seconds(pair, 1 + PLAIN_STEPS, compile=False) - one) / PLAIN_STEPS
    first = _seconds(pair, 1, compile=True) - one

    auto = {steps: _is_compiled_by_auto(pair, int(steps)) for steps in lengths}
    print(json.dumps({"plain": plain, "compiled": _compiled(pair), "first": first, "auto": auto}))


def _seconds(pair: SpeedPair, steps: int, compile: bool | str) -> float:
    """Of a whole training."""
    with pyro.get_param_store().scope():
        model, guide = pair.programs()
        settings: dict[str, Any] = {"steps": steps, "batch_size": None, "seed": 0, "progress": False}
        began = time.perf_counter()
        fit(
            *(model, guide, dict(pair.data)),
            objective=pair.objective(),
            optimizer=lambda parameters: torch.optim.Adam(parameters, lr=pair.rate),
            compile=compile,
            **settings,
        )
    return time.perf_counter() - began


def _compiled(pair: SpeedPair) -> float:
    """Seconds of a compiled step, the least of several blocks."""
    run = steps_of(pair, at_once=True)
    run(100)
    began = time.perf_counter()
    run(100)
    block = max(1, round(SECONDS / (time.perf_counter() - began))) * 100
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run(block)
        times.append((time.perf_counter() - began) / block)
    return min(times)


def _is_compiled_by_auto(pair: SpeedPair, steps: int) -> bool:
    """Whether auto would compile so many steps; none is taken."""
    module = sys.modules[fit.__module__]
    decide, decided = module.decide_on_compiling, []

    def noting(training: Any, *arguments: Any) -> None:
        decide(training, *arguments)
        decided.append(training.engine is not None)
        raise Decided

    with patch.object(module, "decide_on_compiling", noting), contextlib.suppress(Decided):
        _seconds(pair, steps, compile="auto")
    return decided[0]


if __name__ == "__main__":
    main()
