"""Whether annealing notices that a path went wrong: a VAE of MNIST with two latents, against a grid of its codes.

`python -m benchmarks.paths` writes its table into docs/results.md. It needs MNIST (see pyrometer.data.mnist), and
trains the recipe `vae` with two latents where that has not been done. Exits with 1 where more than one image in
twenty is wrong without a word.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pyro
import torch
from torch import Tensor

from pyrometer import EnergyView
from pyrometer.inference.energy.free_energy import FreeEnergy

from .code_grid import GridFreeEnergy, grid_free_energy
from .results_page import PAGE, provenance, table, write_block
from .trained_vae import Trained, trained_vae

__all__ = ["Judged", "judge", "main", "report"]

TOLERATED = 3.0
"""A number is wrong where it is off by more than this many of its standard errors."""
WANTED = 0.95
"""The part of the images that must be right, flagged or covered."""
QUADRATURE_IMAGES = 5
"""At a time: the data of one view share a spacing, and one narrow posterior makes the lattices of all dense."""
SEED = 7


class Judged(NamedTuple):
    """What was found of each image, (N,) of true and false.

    Attributes:
        wrong: by path, whether its free energy is off by more than three of its standard errors.
        flagged: the paths were said to disagree, or no standard error was given.
        covered: the reported free energy is within three of its reported errors.
    """

    wrong: dict[str, Tensor]
    flagged: Tensor
    covered: Tensor

    @property
    def silent(self) -> Tensor:
        """A path is wrong, and neither a flag nor the reported error says so."""
        return torch.stack(list(self.wrong.values())).any(0) & ~(self.flagged | self.covered)


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paths", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--first", type=int, default=4000, help="the first of the test images")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="where the run is or goes")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    trained = trained_vae(2, slice(chosen.first, chosen.first + chosen.images), chosen.out)
    exact = grid_free_energy(trained.model, trained.view.program.kwargs["image"])
    annealed, seconds = anneal(trained)
    judged = judge(annealed, exact.value)
    by_quadrature = quadrature_error(trained, exact.value)
    text = "\n\n".join([report(annealed, exact, judged), f"Annealing took {seconds:.0f} s. {by_quadrature}"])
    write_block(chosen.results, "paths", f"{text}\n\n{provenance('benchmarks.paths')}")
    print(text)
    return 0 if judged.silent.double().mean() <= 1 - WANTED else 1


def anneal(trained: Trained) -> tuple[FreeEnergy, float]:
    """F_1 from both starts at the default settings, and how long it took."""
    pyro.set_rng_seed(SEED)
    began = time.perf_counter()
    found = trained.view.free_energy(method="annealing", guide=trained.guide)
    return found, time.perf_counter() - began


def judge(found: FreeEnergy, exact: Tensor) -> Judged:
    """Compares both paths, and what is reported of them, with the truth."""
    assert found.per_datum is not None
    assert found.per_datum_error is not None
    evidence = found.evidence

    def off(value: Tensor, error: Tensor) -> Tensor:
        return ~((value - exact).abs() <= TOLERATED * error)

    wrong = {path: off(evidence[f"{path}_free_energy"], evidence[f"{path}_error"]) for path in ("prior", "guide")}
    flagged = evidence["disagree"] | found.per_datum_error.isnan()
    return Judged(wrong, flagged, ~off(found.per_datum, found.per_datum_error))


def quadrature_error(trained: Trained, exact: Tensor) -> str:
    """How far the view's own quadrature is from the grid, in words."""
    began = time.perf_counter()
    found = []
    for image in trained.view.program.kwargs["image"].split(QUADRATURE_IMAGES):
        view = EnergyView(trained.model).bind(image=image)
        found.append(view.free_energy(method="quadrature", guide=trained.guide).per_datum)
    off = (torch.cat(found) - exact).abs().max().item()
    return f"`quadrature` is off by {off:.1e} nats at most ({time.perf_counter() - began:.0f} s)."


def report(found: FreeEnergy, exact: GridFreeEnergy, judged: Judged) -> str:
    """The table: a row for each path and one for what is reported; and how many images are wrong without a word."""
    assert found.per_datum is not None
    assert found.per_datum_error is not None
    evidence = found.evidence
    paths = {
        f"{path} path": (evidence[f"{path}_free_energy"], evidence[f"{path}_error"], evidence[f"{path}_temperatures"])
        for path in ("prior", "guide")
    }
    rows = [_row(name, value, error, exact.value, str(count)) for name, (value, error, count) in paths.items()]
    rows.append(_row("reported", found.per_datum, found.per_datum_error, exact.value, ""))
    header = ["", "temperatures", "nats too high", "worst, nats", f"off by > {TOLERATED:.0f} errors", "no error given"]
    either = torch.stack(list(judged.wrong.values())).any(0)
    count, silent = len(either), int(judged.silent.sum())
    share = 100 * (1 - silent / count)
    caught = int((either & judged.flagged).sum())
    covered = int((either & ~judged.flagged & judged.covered).sum())
    shown = (
        f"A path is wrong on {int(either.sum())} of {count} images: {caught} of these are flagged (the paths disagree, "
        f"or the error is withheld), {covered} more are covered by the reported error, and {silent} are neither. So "
        f"{share:.1f} % of the images are right, flagged or covered; wanted: {100 * WANTED:.0f} %. "
        f"{int(judged.flagged.sum())} images are flagged in all, {int(evidence['disagree'].sum())} for a disagreement."
    )
    change = (exact.value - exact.coarse).abs().max().item()
    check = (
        f"The grid: twice its spacing changes no free energy by more than {change:.1e} nats, and at most "
        f"{exact.beyond.max().item():.0e} of a posterior lies on its edge."
    )
    return "\n\n".join([table(header, rows), shown, check])


def _row(name: str, value: Tensor, error: Tensor, exact: Tensor, temperatures: str) -> list[str]:
    excess = value - exact
    off = (excess.abs() > TOLERATED * error).sum()  # a comparison with nan is false
    worst = excess[excess.abs().argmax()]
    return [
        *(name, temperatures, f"{excess.mean().item():.3f}", f"{worst.item():.2f}", str(int(off))),
        str(int(error.isnan().sum())),
    ]


if __name__ == "__main__":
    sys.exit(main())
