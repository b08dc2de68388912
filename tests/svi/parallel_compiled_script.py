"""What each of the two processes of tests/svi/test_parallel_compiled.py does: the script that torchrun starts."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import torch
from parallel_compiled_programs import EXACT, EXCHANGED, drawing, interrupted_in_process_1, nan_in_one, reading
from parallel_programs import ADAM, RANK, neural, normalised, refused, weights

from pyrometer.inference.svi import compilation, exchange, fit, training
from pyrometer.inference.svi import fit as fitting
from pyrometer.inference.svi.compiled import build, engine
from pyrometer.inference.svi.compiled.shared_step import SharedStep

STEPS = 30


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


def stopped_by_nan(beside_normalisation: bool) -> dict[str, Any]:
    """The error of a loss that is NaN in one of the processes, and the weights after it."""
    found = {}
    for compile in (True, False):
        arguments = nan_in_one(beside_normalisation, compile=compile)
        error = refused(arguments)
        weights = {name: value.clone() for name, value in arguments["model"].state_dict().items()}
        found["compiled" if compile else "plain"] = {**error, "weights": weights}
    return found


def failing_where_others_normalise() -> dict[str, Any]:
    """The error of a training whose second process fails in a step, before it has met anybody."""
    kept, drawn = SharedStep.draw, [0]

    def draw(step: SharedStep, steps: int) -> Any:
        drawn[0] += 1
        if RANK == 1 and drawn[0] > 10:
            raise ValueError("this process has had enough.")
        return kept(step, steps)

    SharedStep.draw = draw
    try:
        return {**refused(drawing(model=normalised()), compile=True), "steps": drawn[0]}
    finally:
        SharedStep.draw = kept


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
    build._compiler = lambda options: lambda function, example: function  # noqa: ARG005
    found["exact"] = {name: both(case) for name, case in EXACT.items()}
    found["over the network"] = summed_over_the_network()
    found["refused"] = both(reading)
    found["nan"] = {beside: stopped_by_nan(beside) for beside in (False, True)}
    found["failing"], found["resumed"] = failing_where_others_normalise(), resumed(folder)
    found["looked at"] = looked_at()
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
