"""What each of the two processes of tests/svi/test_parallel_compiled.py does: the script that torchrun starts."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import torch
from parallel_compiled_programs import EXACT, EXCHANGED, PLAIN, drawing, interrupted_in_process_1, nan_in_one
from parallel_programs import ADAM, RANK, neural, refused, weights

from pyrometer.inference.svi import compilation, exchange, fit, training
from pyrometer.inference.svi import fit as fitting
from pyrometer.inference.svi.compiled import build, engine

STEPS = 30
COMPILER = build._compiler


def train(arguments: dict[str, Any], compile: bool | str = True, steps: int = STEPS, **more: Any) -> dict[str, Any]:
    """All that a training reaches, and how."""
    pyro.clear_param_store()
    how = {"optimizer": ADAM, "seed": 7, "steps": steps, "progress": False, "compile": compile}
    result = fit(**{**how, **arguments, **more})
    return {"history": result.history, "weights": weights(result), "engine": result.engine}


def both(case: Callable[[], dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A training by plain and by compiled steps."""
    return {"plain": train(case(), compile=False, **more), "compiled": train(case(), **more)}


def summed_over_the_network() -> dict[str, Any]:
    """Some trainings where no memory can be shared."""
    kept, exchange.MOST = exchange.MOST, 1
    try:
        return {name: both(EXACT[name]) for name in EXCHANGED}
    finally:
        exchange.MOST = kept


def stopped_by_nan() -> dict[str, Any]:
    """The error of a loss that is NaN in one of the processes, and the weights after it."""
    found = {}
    for compile in (True, False):
        arguments = nan_in_one(compile=compile)
        error = refused(arguments)
        weights = {name: value.clone() for name, value in arguments["model"].state_dict().items()}
        found["compiled" if compile else "plain"] = {**error, "weights": weights}
    return found


def resumed(folder: Path) -> dict[str, Any]:
    """A training that nobody interrupts, and one that is resumed after half of the steps."""
    out = folder / "resumed"
    parts = [train(drawing(), steps=steps, out=out, resume=steps > 9) for steps in (9, 18)]
    return {"whole": train(drawing(), steps=18), "resumed": parts[-1]}


def looked_at() -> dict[str, Any]:
    """Trainings whose ``on_epoch`` is called in the first process alone, where one moves the weights in memory."""

    def move(model: Any, _guide: Any) -> dict[str, float]:
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()
        return {}

    kept, engine.STEPS_BETWEEN_CHECKS = engine.STEPS_BETWEEN_CHECKS, 0
    try:
        checked = both(lambda: drawing(on_epoch=lambda *_: {}))
        return {"checked": checked, "moved": both(lambda: drawing(on_epoch=move), steps=9)}
    finally:
        engine.STEPS_BETWEEN_CHECKS = kept


def of_two_minds(seconds: float, others: float) -> dict[str, Any]:
    """A training in which the processes have measured differently what a loss takes."""
    module = sys.modules[fitting.__module__]
    kept = module.check_loss
    module.check_loss = lambda *_: seconds if RANK == 0 else others
    try:
        return train(drawing(), compile="auto", steps=6)
    finally:
        module.check_loss = kept


def main(folder: Path) -> None:
    """Every case, in each of the processes; then a training that only a signal ends."""
    training.SECONDS_BETWEEN_CHECKPOINTS, engine.SEEN_BEFORE_COMPILING = 0.0, 0
    found: dict[str, Any] = {"pid": os.getpid()}
    if "compiler" in sys.argv:
        found["by the compiler"] = both(EXACT["all rows, in Pyro's store"])
    build._compiler = lambda function, options: function  # noqa: ARG005
    found["exact"] = {name: both(case) for name, case in EXACT.items()}
    found["over the network"] = summed_over_the_network()
    found["refused"] = {name: both(case) for name, case in PLAIN.items()}
    found["nan"], found["resumed"], found["looked at"] = stopped_by_nan(), resumed(folder), looked_at()
    how = {"schedule": interrupted_in_process_1, "out": folder / "interrupted", "compile": True}
    found["interrupted"] = refused(neural(**how))
    long = compilation.COMPILING_SECONDS
    found["two minds"] = [of_two_minds(long, 0.0)["engine"], of_two_minds(0.0, long)["engine"]]
    found["left"] = [path.name for path in exchange.SHARED.glob("pyrometer-*")] if exchange.SHARED.exists() else []
    temporary = folder / f"{RANK}.tmp"
    torch.save(found, temporary)
    temporary.rename(folder / f"{RANK}.pt")
    try:
        train(drawing(), steps=10**7, out=folder / "killed")
    except ConnectionError as error:
        (folder / "last words.json").write_text(json.dumps({"rank": RANK, "message": str(error)}))
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
