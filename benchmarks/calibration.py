"""Annealing's standard errors against the truth: factor analysis, whose free energy is known in closed form.

`python -m benchmarks.calibration` writes its table into docs/results.md. Every repeat draws other loadings, another
mean and other data, and anneals them from the prior at the default settings. Exits with 1 where the errors are not what
they say, or an interval is given where log weights spread too much.
"""

import argparse
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyro
import pyro.poutine as poutine
import torch
from scipy import stats
from torch import Tensor

from pyrometer import EnergyView
from pyrometer.inference.energy import BoundView
from pyrometer.models import FactorAnalysis

from .results_page import PAGE, provenance, table, write_block

__all__ = ["Case", "Measured", "main", "measure", "report"]

SIZE = 10
NOISE = 0.7
LOADINGS = 1.3
"""The standard deviation of a feature's part that the factors explain."""
SPREAD_WANTED = (0.9, 1.15)
COVER_WANTED = (0.92, 0.97)
TOO_FEW = 20
"""So few temperatures on the most latents spread log weights by many nats."""
HEADER = (
    *(
        "latents",
        "temperatures",
        "repeats",
        "sd of log w",
        "mean z",
        "sd of z",
        "95 % interval covers",
        "sd of z, a datum",
    ),
    *("t interval covers, a datum", "intervals withheld", "s a repeat"),
)


class Case(NamedTuple):
    """One repeat to be measured; ``temperatures`` is None where they are left to the default."""

    latents: int
    temperatures: int | None
    seed: int


class Measured(NamedTuple):
    """One repeat: z is (estimate - exact) / standard error, nan where no error was given.

    ``z`` is that of the total, ``datum_z`` those of the data; ``spread`` is the largest standard deviation of a datum's
    log weights, inf where one chain has all the weight.
    """

    z: float
    datum_z: list[float]
    chains: int
    temperatures: int
    spread: float
    seconds: float


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.calibration", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--latents", type=int, nargs="+", default=[2, 10, 50])
    parser.add_argument("--repeats", type=int, nargs="+", default=[200], help="for each number of latents, or for all")
    parser.add_argument("--processes", type=int, default=2, help="repeats at a time, one thread each")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    asked: list[tuple[int, int | None]] = [(latents, None) for latents in chosen.latents]
    asked.append((max(chosen.latents), TOO_FEW))
    repeats = chosen.repeats * len(chosen.latents) if len(chosen.repeats) == 1 else chosen.repeats
    counts = [*repeats, repeats[-1]]
    groups = [[Case(*settings, seed) for seed in range(count)] for settings, count in zip(asked, counts, strict=True)]
    text, calibrated = report(groups, measure_all(groups, chosen.processes))
    write_block(chosen.results, "calibration", f"{text}\n\n{provenance('benchmarks.calibration')}")
    print(text)
    return 0 if calibrated else 1


def measure_all(groups: Sequence[Sequence[Case]], processes: int) -> list[list[Measured]]:
    """Measures every group of repeats, and prints each one's row when it is there."""
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads of torch in whatever state they are
    with ProcessPoolExecutor(processes, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        measured = []
        for group in groups:
            measured.append(list(pool.map(measure, group)))
            print(*_row(group[0], measured[-1]), sep=" | ", flush=True)
        return measured


def measure(case: Case) -> Measured:
    """Draws a factor analysis and its data, anneals, and compares with the closed form."""
    pyro.set_rng_seed(1000 * case.latents + case.seed)
    view, exact = problem(case.latents)
    began = time.perf_counter()
    found = view.free_energy(method="annealing", temperatures=case.temperatures)
    seconds = time.perf_counter() - began
    assert found.per_datum is not None
    assert found.per_datum_error is not None
    total = (found.value.item() - exact.sum().item()) / found.standard_error.item()
    by_datum = (found.per_datum - exact) / found.per_datum_error
    evidence = found.evidence
    spread = evidence["prior_log_weight_sd"].nan_to_num(math.inf).max().item()
    return Measured(total, by_datum.tolist(), evidence["chains"], evidence["prior_temperatures"], spread, seconds)


@torch.no_grad()
def problem(latents: int, size: int = SIZE) -> tuple[BoundView, Tensor]:
    """A factor analysis with data of its own, and their exact free energies (N,) in float64."""
    model = FactorAnalysis(max(10, 2 * latents), latents, noise=NOISE)
    model.loadings.mul_(LOADINGS)
    model.mean.copy_(torch.randn_like(model.mean))
    features = poutine.uncondition(model)(torch.empty(size, len(model.mean)))
    view = EnergyView(model).bind(features)
    oracle = FactorAnalysis(len(model.mean), latents).double()
    oracle.load_state_dict(model.state_dict())
    return view, -oracle.log_evidence(features.double())


def report(groups: Sequence[Sequence[Case]], measured: Sequence[Sequence[Measured]]) -> tuple[str, bool]:
    """The table with what it shows, and whether all of it is as wanted."""
    rows = [_row(group[0], ones) for group, ones in zip(groups, measured, strict=True)]
    wrong = [
        f"{group[0].latents} latents, {_asked(group[0])}: {reason}."
        for group, ones in zip(groups, measured, strict=True)
        for reason in _wrong(group[0], ones)
    ]
    low, high = SPREAD_WANTED
    wanted = f"sd of z in {low} to {high}, cover {100 * COVER_WANTED[0]:.0f}-{100 * COVER_WANTED[1]:.0f} %"
    verdict = "\n".join(f"- {line}" for line in wrong) if wrong else f"As wanted: {wanted}; withheld with {TOO_FEW}."
    return f"{table(HEADER, rows)}\n\n{verdict}", not wrong


def _row(case: Case, measured: Sequence[Measured]) -> list[str]:
    given = [one.z for one in measured if one.z == one.z]
    by_datum = [z for one in measured for z in one.datum_z if z == z]
    temperatures = sorted(one.temperatures for one in measured)
    few, many = temperatures[0], temperatures[-1]
    used = f"{few}" if few == many else f"{few} to {many}"
    return [
        str(case.latents),
        f"{_asked(case)}: {used}" if case.temperatures is None else used,
        str(len(measured)),
        f"{statistics.median(one.spread for one in measured):.2f}",
        *(_moments(given)),
        f"{100 * _cover(given, 1.96):.1f} %" if given else "-",
        _moments(by_datum)[1],
        f"{100 * _cover(by_datum, float(stats.t.ppf(0.975, measured[0].chains - 1))):.1f} %" if by_datum else "-",
        f"{len(measured) - len(given)} of {len(measured)}",
        f"{statistics.median(one.seconds for one in measured):.1f}",
    ]


def _wrong(case: Case, measured: Sequence[Measured]) -> list[str]:
    """What is not as wanted of one group."""
    given = [one.z for one in measured if one.z == one.z]
    if case.temperatures is not None:
        return [f"{len(given)} intervals were given that should not be"] if given else []
    if len(given) < 2:
        return ["the intervals were withheld"]
    spread, cover = statistics.stdev(given), _cover(given, 1.96)
    wrong = []
    if not SPREAD_WANTED[0] <= spread <= SPREAD_WANTED[1]:
        wrong.append(f"z has standard deviation {spread:.2f}, wanted {SPREAD_WANTED[0]} to {SPREAD_WANTED[1]}")
    if not COVER_WANTED[0] <= cover <= COVER_WANTED[1]:
        wrong.append(f"the interval covers {cover:.3f}, wanted {COVER_WANTED[0]} to {COVER_WANTED[1]}")
    return wrong


def _asked(case: Case) -> str:
    return "default" if case.temperatures is None else f"{case.temperatures} temperatures"


def _moments(z: Sequence[float]) -> tuple[str, str]:
    return (f"{statistics.mean(z):.2f}", f"{statistics.stdev(z):.2f}") if len(z) > 1 else ("-", "-")


def _cover(z: Sequence[float], half_width: float) -> float:
    return statistics.mean(abs(value) <= half_width for value in z)


if __name__ == "__main__":
    sys.exit(main())
