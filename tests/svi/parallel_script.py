"""What each of the two processes of tests/svi/test_parallel.py does: this is the script that torchrun starts."""

import contextlib
import io
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from parallel_programs import EQUAL, RANK, REFUSED, Noisy, interrupting, neural, refused, train
from pyro.infer import Trace_ELBO
from torch import Tensor
from typer.testing import CliRunner
from xarray import Dataset

from pyrometer import cli
from pyrometer.inference.energy.elbo_gap import elbo_gap
from pyrometer.inference.svi import checkpoint, run, training


def noise(folder: Path) -> dict[str, Any]:
    """A training with noise, twice, and once interrupted and resumed; what was drawn first."""
    guides = [Noisy() for _ in range(3)]
    whole = [train(neural(guide=guide), steps=18) for guide in guides[:2]]
    parts = [train(neural(guide=guides[2]), steps=steps, out=folder / "noise", resume=steps > 9) for steps in (9, 18)]
    return {"whole": whole, "resumed": parts[-1], "drawn": guides[0].seen[-18:]}


def spoken(folder: Path) -> dict[str, Any]:
    """What reaches the terminal, and how often ``on_epoch`` is called."""

    def warn(model: Callable, guide: Callable, x: Tensor, eps: Tensor) -> Tensor:
        warnings.warn("a word of the objective", stacklevel=1)
        return Trace_ELBO().differentiable_loss(model, guide, x=x, eps=eps)

    def note(_model: Callable, _guide: Callable) -> dict[str, float]:
        calls.append(RANK)
        return {"rank": RANK}

    calls: list[int] = []
    with warnings.catch_warnings(record=True) as heard, contextlib.redirect_stderr(io.StringIO()) as shown:
        warnings.simplefilter("always")
        done = train(neural(objective=warn, on_epoch=note), steps=9, progress=True, out=folder / "spoken")
    return {"warnings": len(heard), "shown": shown.getvalue(), "calls": calls, "history": done["history"]}


def full_disk(folder: Path) -> dict[str, Any]:
    """A training whose second checkpoint finds no room."""

    def write(path: Path, epoch: int, state: dict[str, Any]) -> None:
        if epoch == 2:
            raise OSError("no space left")
        checkpoint.save_checkpoint(path, epoch, state)

    kept, run.save_checkpoint = run.save_checkpoint, write
    try:
        return refused(neural(out=folder / "full"))
    finally:
        run.save_checkpoint = kept


def commanded(folder: Path) -> dict[str, Any]:
    """`pyrometer fit`, again into the same folder, and other commands on the run; what is printed."""
    printed: list[dict[str, Any]] = []
    out = str(folder / "command")
    fitting = ["fit", "gaussian_mixture", "--epochs", "2", "--out", out, "--quiet"]
    measuring = ["energy", out, "--count", "5", "--betas", "0.5,1", "--draws", "100", "--no-pictures"]
    judging = ["diagnose", out, "--count", "5", "--draws", "200"]
    commands = fitting, fitting, measuring, [*measuring, "--count", "1"], ["sample", out, "--count", "2"], judging
    judged: list[int] = []

    def counting(*args: Any) -> Dataset:
        found = elbo_gap(*args)
        judged.append(found.sizes["data"])
        return found

    cli.elbo_gap = counting
    for command in commands:
        done = CliRunner().invoke(cli.app, command)
        printed.append({"out": done.stdout, "error": done.stderr, "code": done.exit_code})
    return {"printed": printed, "judged": judged}


def main(folder: Path) -> None:
    """Every case, in each of the processes; then a training that only a signal ends."""
    training.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    found: dict[str, Any] = {"pid": os.getpid()}
    found["equal"] = {name: train(case()) for name, case in EQUAL.items()}
    found["refused"] = {name: refused(case()) for name, case in REFUSED.items()}
    found["bfloat16"] = train(neural(precision="bf16-true"))
    found["interrupted"] = refused(neural(objective=interrupting, out=folder / "interrupted"))
    while not (folder / "one-two-one" / "summary.json").exists():
        time.sleep(0.1)  # the process that runs the tests makes the first part of it
    found["continued"] = train(neural(), steps=12, out=folder / "one-two-one", resume=True)
    found["full"], found["noise"], found["spoken"] = full_disk(folder), noise(folder), spoken(folder)
    found["commanded"] = commanded(folder)
    temporary = folder / f"{RANK}.tmp"
    torch.save(found, temporary)
    temporary.rename(folder / f"{RANK}.pt")
    try:
        train(neural(), steps=10**7, out=folder / "killed")
    except ConnectionError as error:
        (folder / "last words.json").write_text(json.dumps({"rank": RANK, "message": str(error)}))
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
