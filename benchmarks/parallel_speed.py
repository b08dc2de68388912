"""Images a second of a semi-supervised VAE: one process on one core, the same on two, two processes on a core each.

`python -m benchmarks.parallel_speed` writes its table into docs/results.md. The pair is that of the recipe `ssvae` on
MNIST where PYROMETER_DATA says where MNIST is, and else M2 on random pixels. All trainings are begun at first, and
wait; then each in turn takes a block of steps, in rounds. Ratios are medians over rounds of the ratio within a round.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any, NamedTuple

from .results_page import PAGE, provenance, table, write_block

__all__ = ["SETUPS", "Setup", "main", "measure", "report"]


class Setup(NamedTuple):
    """Who takes the steps: so many processes, with so many cores and threads each."""

    processes: int
    cores: int

    @property
    def words(self) -> str:
        """For the table."""
        processes = "one process" if self.processes == 1 else f"{self.processes} processes"
        return f"{processes}, {self.cores} core{'s' if self.cores > 1 else ''}{' each' if self.processes > 1 else ''}"


SETUPS = (Setup(1, 1), Setup(1, 2), Setup(2, 1))
Times = dict[tuple[Setup, bool], list[float]]
"""Seconds a step in each round, of a setup with plain (False) and with compiled steps (True)."""


def main() -> None:
    """The command."""
    summary = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parallel_speed", description=summary)
    parser.add_argument("--pair", choices=["mnist", "m2"], default="mnist" if "PYROMETER_DATA" in os.environ else "m2")
    parser.add_argument("--rounds", type=int, default=15, help="how often each is timed, in turn")
    parser.add_argument("--steps", type=int, default=20, help="of a block")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    times, rows = measure(chosen.pair, chosen.rounds, chosen.steps)
    text = report(chosen.pair, times, rows)
    print(text)
    write_block(chosen.results, "parallel speed", f"{text}\n\n{provenance('benchmarks.parallel_speed')}")


def measure(pair: str, rounds: int, steps: int, setups: Sequence[Setup] = SETUPS) -> tuple[Times, int]:
    """Seconds a step of every setup in each round, and the images of a step."""
    with tempfile.TemporaryDirectory() as folder:
        workers = {
            (setup, compile): _Worker(Path(folder) / f"{number}-{compile}", setup, compile, (pair, rounds, steps))
            for number, setup in enumerate(setups)
            for compile in (False, True)
        }
        times: Times = {key: [] for key in workers}
        for number in range(rounds):
            for key in list(workers) if number % 2 == 0 else reversed(list(workers)):
                times[key].append(workers[key].block() / steps)
        for worker in workers.values():
            worker.end()
        return times, next(iter(workers.values())).rows


def report(pair: str, times: Mapping[tuple[Setup, bool], Sequence[float]], rows: int) -> str:
    """The table, and what its columns are."""
    setups = list(dict.fromkeys(setup for setup, _ in times))
    first = times[setups[0], True]
    lines = []
    for setup in setups:
        plain, compiled = times[setup, False], times[setup, True]
        ratio = statistics.median(one / other for one, other in zip(first, compiled, strict=True))
        lines.append([setup.words, f"{_median_rate(rows, plain)}", f"{_median_rate(rows, compiled)}", f"{ratio:.2f}"])
    name = "the recipe `ssvae` on MNIST" if pair == "mnist" else "M2, 784-500-(10, 50), on random pixels"
    words = (
        f"Images a second in training, {name}, {rows} images a step: the median of {len(first)} blocks that alternate. "
        "The ratio is to one process on one core with compiled steps, within rounds."
    )
    return f"{words}\n\n{table(['', 'plain steps', 'compiled steps', 'ratio of compiled'], lines)}"


def _median_rate(rows: int, seconds: Sequence[float]) -> str:
    return f"{rows / statistics.median(seconds):,.0f}"


class _Worker:
    """A training in processes of its own, which takes a block of steps when it is told to."""

    def __init__(self, address: Path, setup: Setup, compile: bool, how: tuple[str, int, int]) -> None:
        with Listener(str(address), family="AF_UNIX") as listener:
            self.process = subprocess.Popen(
                [*_launcher(setup), str(address), str(setup.cores), str(int(compile)), *map(str, how)],
                env={**os.environ, "OMP_NUM_THREADS": str(setup.cores)},
            )
            self.connection: Any = listener.accept()
        self.rows = int(self.connection.recv_bytes())
        self.block()  # with all that is compiled

    def block(self) -> float:
        """The seconds that a block took."""
        self.connection.send_bytes(b"go")
        return float(self.connection.recv_bytes())

    def end(self) -> None:
        """A last word, after which the training ends, and says whether it took the steps that it was to take.

        Raises:
            RuntimeError: it took others.
        """
        self.connection.send_bytes(b"go")
        self.connection.close()
        if self.process.wait() != 0:
            raise RuntimeError("a training has failed, or did not take the steps that it was to take; see above.")


def _launcher(setup: Setup) -> list[Any]:
    worker = ["-m", "benchmarks.parallel_speed_worker"]
    if setup.processes == 1:
        return [sys.executable, *worker]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(setup.processes)]
    return [sys.executable, *launcher, *worker]


if __name__ == "__main__":
    main()
