"""The energies of a VAE of MNIST with 50 latents: annealing beside importance sampling, the sandwich, and every gap.

`python -m benchmarks.energies` writes its tables into docs/results.md. It needs MNIST (see pyrometer.data.mnist), and
trains the recipe `vae` where that has not been done. Exits with 1 where the sandwich is wider than wanted.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyro
import torch
import xarray as xr
from torch import Tensor

from pyrometer import compare
from pyrometer.inference.energy.free_energy import FreeEnergy

from .results_page import PAGE, provenance, table, write_block
from .trained_vae import Trained, trained_vae

__all__ = ["Estimate", "main", "report", "sandwich"]

TEMPERATURES = 500
"""Of the runs that start from the guide."""
PRIOR_TEMPERATURES = 2000
CHAINS = 16
DRAWS = 5000
WIDTH_WANTED = 0.05
SINGLE_WIDTH_WANTED = 0.2
SEED = 11

T = TypeVar("T")


class Estimate(NamedTuple):
    """A mean over images in nats with its standard error, and where it comes from."""

    name: str
    value: float
    error: float
    remark: str = ""


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.energies", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=100, help="how many test images, from the first on")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="where the run is or goes")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the tables")
    chosen = parser.parse_args()
    trained = trained_vae(50, slice(0, chosen.images), chosen.out)
    pyro.set_rng_seed(SEED)
    estimates = [*annealed(trained), by_importance(trained)]
    gaps = compare(trained.view, trained.guide, draws=DRAWS, method="annealing")
    widths = sandwich(trained, TEMPERATURES)
    text = report(estimates, gap_table(gaps), [*widths, *sandwich(trained, PRIOR_TEMPERATURES, "prior")])
    write_block(chosen.results, "energies", f"{text}\n\n{provenance('benchmarks.energies')}")
    print(text)
    mean, single = widths
    return 0 if mean.value <= WIDTH_WANTED and single.value <= SINGLE_WIDTH_WANTED else 1


def annealed(trained: Trained) -> list[Estimate]:
    """F_1 of the test images by annealing, path by path."""
    both, seconds = _timed(lambda: _anneal(trained, TEMPERATURES, with_guide=True))
    prior, prior_seconds = _timed(lambda: _anneal(trained, PRIOR_TEMPERATURES, with_guide=False))
    guide = _path(both, "guide", f"{int(both.evidence['disagree'].sum())} images where the paths disagree")
    short = _path(both, "prior", f"{seconds:.0f} s with the one above")
    return [guide, short, _path(prior, "prior", f"{prior_seconds:.0f} s")]


def _anneal(trained: Trained, temperatures: int, with_guide: bool) -> FreeEnergy:
    guide = trained.guide if with_guide else None
    return trained.view.free_energy(method="annealing", guide=guide, chains=CHAINS, temperatures=temperatures)


def _path(found: FreeEnergy, path: str, remark: str) -> Estimate:
    evidence = found.evidence
    spread = evidence[f"{path}_log_weight_sd"].mean().item()
    error = evidence[f"{path}_error"].square().sum().sqrt().item() / len(evidence[f"{path}_error"])
    name = f"annealing from the {path}, {CHAINS} chains, {evidence[f'{path}_temperatures']} temperatures"
    return Estimate(name, evidence[f"{path}_free_energy"].mean().item(), error, f"sd of log w {spread:.2f}; {remark}")


def by_importance(trained: Trained) -> Estimate:
    """F_1 of the test images from the guide's draws."""
    found, seconds = _timed(lambda: trained.view.free_energy(method="importance", guide=trained.guide, draws=DRAWS))
    assert found.per_datum is not None
    k, count = found.evidence["pareto_k"], len(found.per_datum)
    remark = f"Pareto k above 0.7 on {int((k > 0.7).sum())} of {count} images; {seconds:.0f} s"
    name = f"importance sampling, {DRAWS:,} draws of the guide"
    return Estimate(name, found.value.item() / count, found.standard_error.item() / count, remark)


def gap_table(gaps: xr.Dataset) -> list[Estimate]:
    """What ``compare`` found, by image."""
    names = {
        "zero_temperature": "F_inf, the lowest energy found",
        "entropic_gap": "entropic gap, F_1 - F_inf",
        "free_energy": "F_1, annealed at the default settings",
        "approximation_gap": "approximation gap",
        "amortization_gap": "amortisation gap",
        "negative_elbo": "-ELBO",
        "gap": "inference gap, -ELBO - F_1",
    }

    return [_gap(gaps, name, words) for name, words in names.items() if f"{name}_per_datum" in gaps]


def _gap(gaps: xr.Dataset, name: str, words: str) -> Estimate:
    value = torch.from_numpy(gaps[f"{name}_per_datum"].values)
    if f"{name}_error_per_datum" not in gaps:
        return Estimate(words, value.mean().item(), math.nan)
    return Estimate(words, value.mean().item(), *_mean_error(torch.from_numpy(gaps[f"{name}_error_per_datum"].values)))


def _mean_error(error: Tensor) -> tuple[float, str]:
    """The standard error of a mean over images, from those of the images; and on how many there is none."""
    withheld = int(error.isnan().sum())
    return error.nan_to_num().square().sum().sqrt().item() / len(error), f"withheld on {withheld}" if withheld else ""


def sandwich(trained: Trained, temperatures: int, start: str = "guide") -> list[Estimate]:
    """The mean over images of both widths between the bounds on simulated data, with their errors over images."""
    guide = trained.guide if start == "guide" else None
    found, seconds = _timed(
        lambda: trained.view.free_energy(method="bidirectional", guide=guide, chains=CHAINS, temperatures=temperatures)
    )
    where = f"{temperatures} temperatures from the {start}"
    mean = _over_images(f"mean weight of {CHAINS} chains, {where}", found.evidence["width"], f"{seconds:.0f} s")
    return [mean, _over_images(f"a single chain, {where}", found.evidence["width_single"], "")]


def _over_images(name: str, value: Tensor, remark: str) -> Estimate:
    return Estimate(name, value.mean().item(), value.std().item() / math.sqrt(len(value)), remark)


def report(estimates: list[Estimate], gaps: list[Estimate], widths: list[Estimate]) -> str:
    """The three tables."""
    titles = ("F_1", "from the minimum to the bound", "width of the sandwich on simulated images")
    tables = [_table(title, ones) for title, ones in zip(titles, (estimates, gaps, widths), strict=True)]
    wanted = f"from the guide: at most {WIDTH_WANTED} and, for a single chain, {SINGLE_WIDTH_WANTED}"
    return "\n\n".join([*tables, f"Wanted of the sandwich {wanted}."])


def _table(title: str, estimates: list[Estimate]) -> str:
    rows = [[one.name, _number(one.value), _number(one.error), one.remark] for one in estimates]
    return table([title, "nats an image", "standard error", ""], rows)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _timed(measured: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    found = measured()
    return found, time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
