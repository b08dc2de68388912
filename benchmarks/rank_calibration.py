"""How often simulation-based calibration passes a right guide, and rejects wrong ones: two Gaussian programs.

`python -m benchmarks.rank_calibration` writes its table into docs/results.md. Both posteriors are known in closed form,
so that the right guide is exactly right. Exits with 1 where the right guide passes too seldom for the level, or a wrong
one is rejected in fewer than nine of ten calibrations.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from scipy import stats
from torch import Tensor

from pyrometer import EnergyView
from pyrometer.inference.diagnostics.calibration import Calibration, calibrate
from pyrometer.inference.energy import BoundView

from .results_page import PAGE, provenance, table, write_block

__all__ = ["Case", "Measured", "cases", "main", "measure", "report"]

LEVEL = 0.95
POWER_WANTED = 0.9
RARE = 0.001
"""A right guide passes less often than this allows in one of a thousand benchmarks."""
NOISE = 0.5
SCALES = torch.tensor([2.0, 0.7, 1.4])
WEIGHTS = torch.tensor([[1.5, 0.3, -0.7], [0.2, 2.1, 0.4], [0.6, -0.5, 1.2], [1.1, 0.1, 0.9]])
COVARIANCE = torch.linalg.inv(torch.diag(SCALES**-2) + WEIGHTS.T @ WEIGHTS / NOISE**2)
MEAN, BETWEEN, WITHIN = 0.3, 1.5, 0.8
"""Of the groups' mean, its prior's standard deviation, and that of the groups round it."""
HEADER = ("program", "guide", "calibrations", "passed", "rejected", "named as the worst", "s each")
FAULTS = {"right": (1.0, 0.0), "10 % too narrow": (0.9, 0.0), "shifted by 0.2 sd": (1.0, 0.2)}
"""What the posterior's standard deviations are multiplied by, and its means shifted by, in units of these."""


class Case(NamedTuple):
    """A guide to be calibrated so many times, over so many simulations each."""

    program: str
    name: str
    view: BoundView
    guide: Callable
    repeats: int
    calibrations: int


class Measured(NamedTuple):
    """The calibrations of a case, and the median of their seconds."""

    found: list[Calibration]
    seconds: float


def factors(y: Tensor) -> None:
    """Three factors a datum, of scales 2, 0.7 and 1.4, and four features with noise 0.5: no latent is shared."""
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), SCALES).to_event(1))
        pyro.sample("y", dist.Normal(z @ WEIGHTS.T, NOISE).to_event(1), obs=y)


def factors_prior(y: Tensor) -> None:
    """The guide that has learnt nothing."""
    with pyro.plate("data", len(y)):
        pyro.sample("z", dist.Normal(torch.zeros(3), SCALES).to_event(1))


def factors_posterior(narrow: float, shift: float) -> Callable:
    """The closed-form posterior of ``factors``, with a fault."""
    root = narrow * torch.linalg.cholesky(COVARIANCE)

    def guide(y: Tensor) -> None:
        mean = y @ WEIGHTS @ COVARIANCE / NOISE**2 + shift * COVARIANCE.diagonal().sqrt()
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.MultivariateNormal(mean, scale_tril=root))

    return guide


def groups(y: Tensor) -> None:
    """Groups round a mean that they share, each seen once with noise 0.5."""
    mu = pyro.sample("mu", dist.Normal(MEAN, BETWEEN))
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(mu, WITHIN))
        pyro.sample("y", dist.Normal(z, NOISE), obs=y)


def groups_prior(y: Tensor) -> None:
    """The guide that has learnt nothing."""
    mu = pyro.sample("mu", dist.Normal(MEAN, BETWEEN))
    with pyro.plate("data", len(y)):
        pyro.sample("z", dist.Normal(mu, WITHIN))


def groups_posterior(narrow: float, shift: float) -> Callable:
    """The closed-form posterior of ``groups``, with a fault in both latents."""
    variance, precision = WITHIN**2 + NOISE**2, WITHIN**-2 + NOISE**-2

    def guide(y: Tensor) -> None:
        shared = BETWEEN**-2 + len(y) / variance
        mean = (MEAN * BETWEEN**-2 + y.sum() / variance) / shared + shift * shared**-0.5
        mu = pyro.sample("mu", dist.Normal(mean, narrow * shared**-0.5))
        own = (mu * WITHIN**-2 + y * NOISE**-2) / precision + shift * precision**-0.5
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(own, narrow * precision**-0.5))

    return guide


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rank_calibration", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--right", type=int, default=100, help="calibrations of the right guide of the first program")
    parser.add_argument("--wrong", type=int, default=25, help="calibrations of every wrong guide of the first program")
    parser.add_argument("--shared", type=int, default=20, help="calibrations of every guide of the second program")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    asked = cases(chosen.right, chosen.wrong, chosen.shared)
    measured = []
    for case in asked:
        measured.append(measure(case))
        print(*_row(case, measured[-1]), sep=" | ", flush=True)
    text, as_wanted = report(asked, measured)
    write_block(chosen.results, "rank_calibration", f"{text}\n\n{provenance('benchmarks.rank_calibration')}")
    print(text)
    return 0 if as_wanted else 1


def cases(right: int, wrong: int, shared: int) -> list[Case]:
    """Every guide of both programs, with how many calibrations each gets."""
    view = EnergyView(factors).bind(torch.zeros(10, 4))
    made = [
        Case("factors", name, view, factors_posterior(*fault), 150, right if name == "right" else wrong)
        for name, fault in FAULTS.items()
    ]
    made.append(Case("factors", "prior", view, factors_prior, 150, wrong))
    view = EnergyView(groups).bind(torch.zeros(20))
    made += [Case("groups", n, view, groups_posterior(*fault), 600, shared) for n, fault in FAULTS.items()]
    return [*made, Case("groups", "prior", view, groups_prior, 600, shared)]


def measure(case: Case) -> Measured:
    """Calibrates with the seeds 0, 1, ..., 99 draws among which the truth is ranked."""
    found, seconds = [], []
    for seed in range(case.calibrations):
        began = time.perf_counter()
        found.append(calibrate(case.view, case.guide, repeats=case.repeats, draws=99, seed=seed).at_level(LEVEL))
        seconds.append(time.perf_counter() - began)
    return Measured(found, statistics.median(seconds))


def report(asked: Sequence[Case], measured: Sequence[Measured]) -> tuple[str, bool]:
    """The table with what it shows, and whether all of it is as wanted."""
    pairs = list(zip(asked, measured, strict=True))
    wrong = [reason for case, found in pairs for reason in _wrong(case, found)]
    sizes = "; ".join(
        f"{case.program}: {case.repeats} simulations of {case.view.structure.size} data, "
        f"{found.found[0].table.sizes['rank']} ranks of each of {found.found[0].table.sizes['quantity']} quantities"
        for case, found in pairs
        if case.name == "right"
    )
    wanted = (
        f"the right guide passes no more seldom than {100 * LEVEL:.0f} % of the time allows (one benchmark in "
        f"{1 / RARE:.0f} would see fewer), and every wrong guide is rejected at least {100 * POWER_WANTED:.0f} % of it"
    )
    verdict = "\n".join(f"- {line}" for line in wrong) if wrong else f"As wanted: {wanted}."
    return f"{table(HEADER, [_row(*pair) for pair in pairs])}\n\n{sizes}.\n\n{verdict}", not wrong


def _row(case: Case, measured: Measured) -> list[str]:
    passed = sum(one.passed for one in measured.found)
    worst = statistics.mode(one.worst for one in measured.found)
    return [
        *(case.program, case.name, str(case.calibrations), str(passed), str(case.calibrations - passed)),
        *("" if case.name == "right" else worst, f"{measured.seconds:.1f}"),
    ]


def _wrong(case: Case, measured: Measured) -> list[str]:
    passed = sum(one.passed for one in measured.found)
    if case.name == "right":
        least = int(stats.binom.ppf(RARE, case.calibrations, LEVEL))
        return [f"{case.program}, right: {passed} passed, wanted {least}."] if passed < least else []
    power = 1 - passed / case.calibrations
    return [f"{case.program}, {case.name}: {power:.0%} rejected."] if power < POWER_WANTED else []


if __name__ == "__main__":
    sys.exit(main())
