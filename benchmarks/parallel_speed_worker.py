"""A training that takes a block of steps when it is told to: what `benchmarks.parallel_speed` starts."""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Client
from typing import Any

import pyro
import torch
from pyro.infer import TraceEnum_ELBO

from pyrometer import fit
from pyrometer.inference.svi.processes import process_rank
from pyrometer.recipes.recipe import find

from .m2 import M2, M2Guide, M2Networks
from .speed_vae import binary_images

__all__ = ["Metronome", "main"]

SEED = 0
ROWS = 12_000
BATCH = 200


class Metronome:
    """A schedule, which a training calls before each step: it stops at every block, and tells how long the last took.

    Args:
        connection: to the one who gives the word; None: another process waits for it.
        block: steps.
        schedule: the training's own.
    """

    def __init__(self, connection: Any, block: int, schedule: Callable[[float], float] | None) -> None:
        self.connection, self.block, self.schedule = connection, block, schedule
        self.steps, self.began = -1, 0.0  # it is first called by ``fit`` to see what it gives

    def factor(self, progress: float) -> float:
        """The factor of the learning rate."""
        if self.connection is not None and self.steps % self.block == 0:
            if self.steps > 0:
                self.connection.send_bytes(str(time.perf_counter() - self.began).encode())
            self.connection.recv_bytes()
            self.began = time.perf_counter()
        self.steps += 1
        return 1.0 if self.schedule is None else self.schedule(progress)


def main(address: str, cores: int, compile: bool, pair: str, rounds: int, block: int) -> None:
    """Train, on the cores that this process is to have."""
    rank = process_rank()
    available = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, available[rank * cores :][:cores])
    torch.set_num_threads(cores)
    pyro.set_rng_seed(SEED)
    training = PAIRS[pair]()
    connection = Client(address, family="AF_UNIX") if rank == 0 else None
    if connection is not None:
        connection.send_bytes(str(training.pop("images")).encode())
    training.pop("images", None)
    schedule = Metronome(connection, block, training.pop("schedule", None)).factor
    steps = (rounds + 1) * block + 1
    result = fit(**training, schedule=schedule, steps=steps, seed=SEED, compile=compile, progress=False)
    assert result.engine.startswith("compiled" if compile else "plain"), result.engine


def _mnist() -> dict[str, Any]:
    made = find("ssvae")(data="mnist")
    sizes: Any = made.batch_size
    names = "model", "guide", "data", "objective", "batch_size", "optimizer", "schedule"
    return {**{name: getattr(made, name) for name in names}, "images": sum(sizes.values())}


def _m2() -> dict[str, Any]:
    networks = M2Networks()
    return {
        "model": M2(networks.decoder),
        "guide": M2Guide(networks.classifier, networks.encoder),
        "data": {"image": binary_images(ROWS)},
        "objective": TraceEnum_ELBO(max_plate_nesting=1),
        "batch_size": BATCH,
        "optimizer": partial(torch.optim.Adam, lr=1e-3),
        "images": BATCH,
    }


PAIRS: dict[str, Callable[[], dict[str, Any]]] = {"mnist": _mnist, "m2": _m2}


if __name__ == "__main__":
    at, cores, compiled, pair, rounds, block = sys.argv[1:]
    main(at, int(cores), bool(int(compiled)), pair, int(rounds), int(block))
