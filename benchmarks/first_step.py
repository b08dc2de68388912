"""Seconds until the first compiled step, and what `compile="auto"` loses against the better of plain and compiled.

`python -m benchmarks.first_step` writes its tables into docs/results.md. Each program is compiled in processes of its
own, with an empty cache of compiled code and then with a full one. The whole time of a training of N steps is added up
from what was measured in the same process: the time to the first compiled step, and a plain and a compiled step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .results_page import PAGE, provenance, table, write_block

__all__ = ["NAMES", "main", "regret", "report"]

NAMES = ("schools", "mixture", "vae", "ssvae")
LENGTHS = (10, 100, 1_000, 10_000, 100_000)

Measured = Mapping[str, Any]
"""Of a process: seconds of a plain and a compiled step, and to the first compiled one; whether auto compiles, by N."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_step", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pairs", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--runs", type=int, default=3, help="processes for each, with a cache empty and full")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the tables")
    chosen = parser.parse_args()
    cold: dict[str, list[Measured]] = {}
    warm: dict[str, list[Measured]] = {}
    for name in chosen.pairs:
        cold[name], warm[name] = [], []
        for _ in range(chosen.runs):
            with tempfile.TemporaryDirectory() as cache:
                cold[name].append(_measured(name, cache))
                warm[name].append(_measured(name, cache))
        print(f"{name}: {cold[name]} {warm[name]}", flush=True)
    text = report(cold, warm)
    write_block(chosen.results, "first-step", f"{text}\n\n{provenance('benchmarks.first_step')}")
    print(text)


def regret(one: Measured, steps: int) -> float:
    """The whole time of so many steps as auto takes them, over that of the better way."""
    plain = steps * one["plain"]
    compiled = one["first"] + steps * one["compiled"]
    chosen = compiled if one["auto"][str(steps)] else plain
    return chosen / min(plain, compiled)


def report(cold: Mapping[str, Sequence[Measured]], warm: Mapping[str, Sequence[Measured]]) -> str:
    """The two tables, medians over processes."""
    times = [
        [
            name,
            *(f"{_median(runs[name], 'first'):.1f}" for runs in (cold, warm)),
            *(f"{1e3 * _median(warm[name], key):.3g}" for key in ("plain", "compiled")),
        ]
        for name in cold
    ]
    header = ["program", "first compiled step, empty cache, s", "full cache, s", "plain step, ms", "compiled step, ms"]
    losses = []
    for words, runs in (("empty", cold), ("full", warm)):
        for name in cold:
            cells = [_cell(runs[name], steps) for steps in LENGTHS]
            losses.append([name, words, *cells])
    lost = table(["program", "cache", *(f"{steps:,} steps" for steps in LENGTHS)], losses)
    words = (
        'The whole time with `compile="auto"` over that of the better of plain and compiled steps, and what is chosen; '
        "the median over processes, from the times of the same process."
    )
    return f"{table(header, times)}\n\n{words}\n\n{lost}"


def _cell(runs: Sequence[Measured], steps: int) -> str:
    compiled = sum(one["auto"][str(steps)] for one in runs)
    way = "compiled" if compiled == len(runs) else "plain" if not compiled else "either"
    return f"{statistics.median(regret(one, steps) for one in runs):.2f} {way}"


def _median(runs: Sequence[Measured], key: str) -> float:
    return statistics.median(one[key] for one in runs)


def _measured(name: str, cache: str) -> Measured:
    command = [sys.executable, "-m", f"{__package__}.first_step_worker", name, *map(str, LENGTHS)]
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
