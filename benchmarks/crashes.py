"""Kills a compiled training at random moments, resumes it, and compares its end with that of an unbroken one.

`python -m benchmarks.crashes` writes a line into docs/results.md. Checkpoints are written after every epoch, so that
many kills hit one while it is being written. Exits with 1 where a weight differs in one bit, or a run cannot go on.
"""

import argparse
import multiprocessing
import multiprocessing.process
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrometer import fit
from pyrometer.inference.svi import training

from .results_page import PAGE, provenance, write_block

__all__ = ["Survived", "broken", "main", "train"]

Survived = dict[str, int]
"""How many processes were killed: between checkpoints, and while one was written."""
EPOCHS = 3000
SECONDS_TO_FIRST_STEPS = 120.0


class Guide(nn.Module):
    """q(z | x) = N(slope x, scale)."""

    def __init__(self) -> None:
        super().__init__()
        self.slope, self.log_scale = nn.Parameter(torch.tensor(0.2)), nn.Parameter(torch.tensor(-0.5))

    def forward(self, x: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.slope * x, self.log_scale.exp()))


def model(x: Tensor) -> None:
    """z ~ N(0, 2), x ~ N(z, 0.5)."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def train(out: Path, epochs: int, compile: bool = True) -> None:
    """Train, or go on, with batches of 4, 4 and 3, and a checkpoint after every epoch."""
    training.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    torch.set_num_threads(1)
    data = {"x": torch.linspace(-1.0, 2.0, 11)}
    result = fit(
        model, Guide(), data, batch_size=4, epochs=epochs, seed=3, out=out, resume=True, compile=compile, progress=False
    )
    assert result.engine.startswith("compiled") is compile, result.engine


def broken(out: Path, kills: int, seed: int, epochs: int, compile: bool = True) -> Survived:
    """Kill so many trainings in the folder, one after another, each after some checkpoints, and let the last end."""
    chance, found = random.Random(seed), {"between checkpoints": 0, "in a checkpoint": 0}
    for _ in range(kills):
        process = _begun(out, epochs, compile)
        _wait_for(process, out, _reached(out) + chance.randrange(1, 4))
        time.sleep(chance.random() * 0.02)
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"the training ended by itself, with {process.exitcode}: ask for more epochs")
        found["in a checkpoint" if list(out.rglob("*.tmp")) else "between checkpoints"] += 1
    process = _begun(out, epochs, compile)
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"the last training ended with {process.exitcode}")
    return found


def same(one: Path, other: Path) -> bool:
    """The weights of two finished runs are equal, bit for bit."""
    a, b = (torch.load(out / "weights.pt", weights_only=True)["guide"] for out in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crashes", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="decides the moments")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the line")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pyrometer-"))
    try:
        found = broken(folder / "broken", chosen.kills, chosen.seed, chosen.epochs)
        whole = broken(folder / "whole", 0, chosen.seed, chosen.epochs)
        is_same = same(folder / "broken", folder / "whole")
    finally:
        shutil.rmtree(folder)
    assert sum(whole.values()) == 0
    moments = ", ".join(f"{count} {moment}" for moment, count in found.items())
    ended = "with the bits of an unbroken run" if is_same else "with OTHER WEIGHTS than an unbroken run"
    text = (
        f"A compiled training of {chosen.epochs} epochs, killed {chosen.kills} times (SIGKILL: {moments}) and resumed, "
        f"ended {ended}."
    )
    write_block(chosen.results, "crashes", f"{text}\n\n{provenance('benchmarks.crashes')}")
    print(text)
    return 0 if is_same else 1


def _begun(out: Path, epochs: int, compile: bool) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=train, args=(out, epochs, compile))
    process.start()
    return process


def _reached(out: Path) -> int:
    return max([int(path.stem) for path in (out / "checkpoints").glob("*.pt")], default=0)


def _wait_for(process: multiprocessing.process.BaseProcess, out: Path, epoch: int) -> None:
    until = time.monotonic() + SECONDS_TO_FIRST_STEPS
    while _reached(out) < epoch and process.is_alive():
        if time.monotonic() > until:
            process.kill()
            raise TimeoutError(f"no epoch {epoch} within {SECONDS_TO_FIRST_STEPS} s")
        time.sleep(0.0005)


if __name__ == "__main__":
    sys.exit(main())
