"""Milliseconds a step of SVI: ours beside Pyro's, NumPyro's, plain torch by hand, and the multiplications alone.

`python -m benchmarks.speed` writes its tables into docs/results.md, a block for each number of threads and each width
of vectors; `--width 256` keeps every library to AVX2, as on most laptops. Everything is timed in one process on the
same cores, in blocks that alternate, after a check that all take the same step: from the same weights and noise, the
same losses. Ratios are medians over rounds of the ratio within a round, so that what slows a round down slows both.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch._inductor.config

from .results_page import PAGE, provenance, write_block
from .speed_agreement import disagreements
from .speed_mixture import mixture
from .speed_ours import OURS, ours
from .speed_pair import Run, SpeedPair
from .speed_report import Measured, report
from .speed_schools import eight_schools
from .speed_ssvae import ssvae
from .speed_systems import floors, missing, systems
from .speed_vae import vae

__all__ = ["keep_to_avx2", "main", "measure", "restrict"]

PAIRS: dict[str, Callable[[], SpeedPair]] = {
    "schools": eight_schools,
    "mixture": mixture,
    "vae": vae,
    "ssvae": ssvae,
}
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
}
LOT = 500
"""Steps of a block are a multiple of this where they are more, as the steps in one call of a scan are this many."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--threads", type=int, default=1, help="cores, and threads, of everybody")
    parser.add_argument("--width", type=int, choices=[256], help="bits of vectors; by default the processor's most")
    parser.add_argument("--rounds", type=int, default=25, help="how often each is timed, in turn")
    parser.add_argument("--seconds", type=float, default=0.25, help="about how long a block is")
    parser.add_argument("--quick", action="store_true", help="3 rounds of short blocks, to see that all runs")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the tables")
    chosen = parser.parse_args()
    if chosen.width is not None:
        keep_to_avx2()
    rounds, seconds = (3, 0.02) if chosen.quick else (chosen.rounds, chosen.seconds)
    cores = restrict(chosen.threads)
    torch.manual_seed(0)
    parts = []
    for name in chosen.pairs:
        pair = PAIRS[name]()
        apart = disagreements(pair)
        parts.append(report(pair, measure(pair, rounds, seconds), apart))
        print(parts[-1], flush=True)
    also = [] if missing() else ["numpyro", "jax"]
    words = f"{cores} {_width()} {rounds} rounds of blocks of about {seconds} s."
    text = "\n\n".join([*parts, words, _left_out()]).strip()
    block = f"speed-{chosen.width or 'own'}-{chosen.threads}"
    write_block(chosen.results, block, f"{text}\n\n{provenance('benchmarks.speed', *also)}")


def keep_to_avx2() -> None:
    """Start this program again where no library may use wider vectors: torch, MKL, oneDNN and XLA read it only then."""
    if all(os.environ.get(name) == value for name, value in AVX2.items()):
        torch._inductor.config.cpp.simdlen = 256
        return
    os.execve(sys.executable, [sys.executable, "-m", "benchmarks.speed", *sys.argv[1:]], {**os.environ, **AVX2})


def restrict(threads: int) -> str:
    """Gives torch so many threads and the process so many cores, and says so. JAX counts the cores when it starts.

    Raises:
        ValueError: there are fewer cores, and threads would take turns.
    """
    torch.set_num_threads(threads)
    if not hasattr(os, "sched_setaffinity"):
        return f"{threads} threads in torch; this system cannot keep the others to as many cores."
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= threads <= len(cores):
        raise ValueError(f"--threads must be from 1 to the {len(cores)} cores that the process may use, got {threads}.")
    os.sched_setaffinity(0, cores[:threads])
    return f"The process had {threads} of the machine's cores, and torch as many threads."


def measure(pair: SpeedPair, rounds: int, seconds: float) -> Measured:
    """Milliseconds a step of each competitor in each round."""
    runs = {name: build() for name, build in {**ours(pair), **systems(pair), **floors(pair)}.items()}
    steps = {name: _block(run, seconds) for name, run in runs.items()}
    times: Measured = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs) if number % 2 == 0 else reversed(list(runs)):  # nobody always comes after the same one
            times[name].append(1e3 * _timed(runs[name], steps[name]))
    return {OURS: times.pop(OURS), **times}


def _block(run: Run, seconds: float) -> int:
    """How many steps take about so long, once everything is compiled that ever will be."""
    run(1)
    for steps in (10, LOT):
        run(steps)
        each = _timed(run, steps)
        if each * LOT > seconds:
            break
    wanted = max(1, round(seconds / each))
    wanted = wanted if wanted < LOT else wanted // LOT * LOT
    run(wanted)
    return wanted


def _timed(run: Run, steps: int) -> float:
    began = time.perf_counter()
    run(steps)
    return (time.perf_counter() - began) / steps


def _width() -> str:
    return f"Vectors are those of {torch.backends.cpu.get_cpu_capability()}, for everybody."


def _left_out() -> str:
    if not missing():
        return ""
    return f"NumPyro is left out, since {' and '.join(missing())} are not installed: pip install 'pyrometer[bench]'."


if __name__ == "__main__":
    main()
