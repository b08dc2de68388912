"""Are digit probabilities frequencies: q(digit | image) and the model's own, before and after temperature scaling.

`python -m benchmarks.digit_calibration RUN...` reads finished runs of a digit-and-style recipe (`ssvae` or
`ssvae_auxiliary`, say three seeds on MNIST), fits one temperature a reading and run to validation images, judges by
test images, and writes its table into docs/results.md and a reliability diagram beside it. Runs whose recipe holds
back no validation images are refused.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import xarray as xr
from matplotlib.figure import Figure
from torch import Tensor

from pyrometer.data import ImageDataset
from pyrometer.inference.diagnostics import (
    gibbs_probabilities,
    plot_reliability,
    reliability,
    temperature_scaling,
)
from pyrometer.recipes.digit_readings import digit_readings
from pyrometer.recipes.recipe import Recipe
from pyrometer.recipes.run import open_run

from .results_page import PAGE, mean_and_spread, provenance, table, write_block

__all__ = ["Measured", "calibrated", "main", "measure", "report"]

LEAST = 1e-30
"""Probabilities below this are taken for it: an energy has to be finite."""


class Measured(NamedTuple):
    """One reading of one run on test images.

    Attributes:
        accuracy: a fraction.
        beta: fitted to validation images.
        loss: the negative log likelihood at beta = 1 and as fitted, in nats an image.
        tables: of ``reliability``, likewise.
    """

    accuracy: float
    beta: float
    loss: tuple[float, float]
    tables: tuple[xr.Dataset, xr.Dataset]


def main() -> None:
    """The command."""
    words = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.digit_calibration", description=words)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs, one a seed")
    parser.add_argument("--draws", type=int, default=20, help="of the guide, at each image and digit")
    parser.add_argument("--images", type=int, default=2000, help="the first so many of each set; 0: all")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    measured = []
    for path in chosen.runs:
        measured.append(measure(open_run(path).recipe, chosen.draws, chosen.images))
        print(path, {name: one[:3] for name, one in measured[-1].items()}, flush=True)
    picture = chosen.results.parent / "digit_calibration.png"
    draw(measured[0], picture)
    text = f"{report(measured)}\n\n![Reliability of the first run]({picture.name})"
    write_block(chosen.results, "digit_calibration", f"{text}\n\n{provenance('benchmarks.digit_calibration')}")
    print(text)


def measure(recipe: Recipe, draws: int, images: int = 0) -> dict[str, Measured]:
    """Both readings: temperatures by the recipe's validation images, all else by its held-out ones."""
    validation = _first(validation_images(recipe), images)
    assert recipe.labels is not None
    test = _first(ImageDataset(recipe.held_out["image"], recipe.labels["digit"]), images)
    found = [digit_readings(recipe.model, recipe.guide, one.image, draws) for one in (validation, test)]
    guided = [-one.guide.clamp_min(LEAST).log() for one in found]
    modelled = [one.free_energy for one in found]
    return {
        "guide, q(digit given image)": calibrated(guided[0], guided[1], validation.digit, test.digit),
        "model, softmax(-F)": calibrated(modelled[0], modelled[1], validation.digit, test.digit),
    }


def calibrated(validation: Tensor, test: Tensor, validation_digit: Tensor, test_digit: Tensor) -> Measured:
    """A temperature fitted to energies of validation images, (M, K), and what it does to those of others, (N, K)."""
    beta = temperature_scaling(validation, validation_digit).beta
    before, after = (reliability(gibbs_probabilities(test.double(), b), test_digit) for b in (1.0, beta))
    losses = [torch.nn.functional.cross_entropy(-b * test.double(), test_digit).item() for b in (1.0, beta)]
    accuracy = (test.argmin(-1) == test_digit).double().mean().item()
    return Measured(accuracy, beta, (losses[0], losses[1]), (before, after))


def validation_images(recipe: Recipe) -> ImageDataset:
    """The images, with their labels, that the recipe holds back.

    Raises:
        ValueError: if it holds back none.
    """
    if recipe.validation is None or "digit" not in recipe.validation:
        raise ValueError(
            "the run's recipe must hold back validation images with labels, by which temperatures are fitted, and has "
            "none; take runs of ssvae on mnist, or another recipe that has them."
        )
    return ImageDataset(recipe.validation["image"], recipe.validation["digit"])


def report(measured: Sequence[dict[str, Measured]]) -> str:
    """A row for each reading: means over runs, with standard deviations where there are several."""
    rows = []
    for name in measured[0]:
        runs = [one[name] for one in measured]
        ece = [[one.tables[i].ece.item() for one in runs] for i in (0, 1)]
        chance = [one.tables[1].ece_if_calibrated.item() for one in runs]
        losses = [[one.loss[i] for one in runs] for i in (0, 1)]
        cells = [
            mean_and_spread([100 * one.accuracy for one in runs], 2),
            mean_and_spread([one.beta for one in runs], 2),
        ]
        rows.append([name, *cells, *(mean_and_spread(values, 4) for values in (*losses, *ece, chance))])
    header = ["reading", "accuracy, %", "beta", "NLL at 1", "NLL at beta", "ECE at 1", "ECE at beta", "ECE by chance"]
    return f"{len(measured)} runs; mean ± sd.\n\n{table(header, rows)}"


def draw(measured: dict[str, Measured], path: Path) -> None:
    """The reliability of one run, before and after, one panel a reading."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    for ax, (name, one) in zip(figure.subplots(1, 2), measured.items(), strict=True):
        plot_reliability(one.tables[0], ax=ax, name="as it is")
        plot_reliability(one.tables[1], ax=ax, name=f"beta = {one.beta:.2f}")
        ax.set_title(name)
    figure.savefig(path, dpi=120)


def _first(images: ImageDataset, count: int) -> ImageDataset:
    return images.subset(torch.arange(min(count, len(images)))) if count else images


if __name__ == "__main__":
    main()
