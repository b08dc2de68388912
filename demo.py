"""The main job, end to end: fit a digit-and-style model to the embedded digits, measure it, and show what was found.

`make demo`, or `python -m pyrometer.demo --out runs/demo`. Where the folder holds a finished run it is only measured
again; an interrupted one is continued.
"""

import argparse
import math
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyro
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .data import ImageDataset, digits, train_test_split
from .inference.arviz_versions import summary
from .inference.diagnostics import Diagnosis, diagnose, to_arviz
from .recipes import Recipe
from .recipes.digit_pictures import digit_pair, explain
from .recipes.label_baselines import BASELINES, label_baselines
from .recipes.run import run

__all__ = ["accuracy_table", "demonstrate", "energy_table", "main"]

SETTINGS = {"data": "digits", "labels": 100, "seed": 0}
DRAWS = 1000
MEASURED, SHOWN, SUMMARISED = 50, 8, 2
"""How many test images are measured, how many of them the table of energies shows, and how many ArviZ summarises."""


def main(words: list[str] | None = None) -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pyrometer.demo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="the run's folder (default: %(default)s)")
    out = parser.parse_args(words).out
    torch.set_num_threads(1)  # a second one gains nothing here, and waits for the first where another process is busy
    errors = Console(stderr=True)
    try:
        demonstrate(out, Console())
    except (ValueError, OSError) as error:
        errors.print(f"[bold red]demo:[/] {escape(str(error))}", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        errors.print("[bold red]demo:[/] interrupted; the same command goes on from here.")
        return 130
    return 0


def demonstrate(
    out: Path, console: Console, settings: Mapping[str, Any] = SETTINGS, epochs: int | None = None, draws: int = DRAWS
) -> None:
    """Fits the recipe `ssvae` to the embedded digits in the folder, then prints and writes what was measured.

    Args:
        out: the run's folder: new, or of a run with the same settings, finished or not.
        console: where to print; while the model trains, a bar is shown if this is a terminal.
        settings: those of the recipe that differ from its defaults.
        epochs: passes over the data, where other than the recipe's.
        draws: how many draws of the guide every estimate takes.
    """
    console.print("A model of digit and style learns scikit-learn's digits, few of them labelled.")
    recipe, fit, reached = run("ssvae", settings, out, epochs=epochs, resume=True, progress=console.is_terminal)
    console.print(f"Trained: {fit.epochs} epochs, {fit.steps} steps, {fit.seconds:.0f} s.\n")
    seed = int(settings["seed"])
    test = train_test_split(digits(), seed=seed).test
    console.print(accuracy_table(reached["test_accuracy"], label_baselines(recipe.data, test), len(test)), "")
    pyro.set_rng_seed(seed)
    view = recipe.view(MEASURED)
    judged = diagnose(view, recipe.guide, draws)
    console.print(energy_table(judged, recipe, test), "")
    console.print(f"The guide at {MEASURED} test images, from {draws} draws each: [bold]{escape(judged.verdict)}[/]\n")
    posterior = to_arviz(view, recipe.guide, draws)
    posterior.to_netcdf(str(out / "posterior.nc"))
    console.print(f"ArviZ's summary of the first {SUMMARISED} images' styles under the guide, by image and dimension:")
    console.print(style_summary(posterior), "\n", highlight=False)
    _say_what_is_where(out, console)


def accuracy_table(ours: float, baselines: Mapping[str, float], size: int) -> Table:
    """Our test accuracy beside the baselines', each with the binomial standard error of ``size`` test images."""
    title = f"Accuracy on {size} test images"
    table = Table("classifier", "learns from", "accuracy", title=title, title_justify="left", box=SIMPLE_HEAD)
    sources = {"ours, q(digit | image)": "labelled and unlabelled images", **BASELINES}
    for (name, source), accuracy in zip(sources.items(), (ours, *baselines.values()), strict=True):
        error = math.sqrt(accuracy * (1 - accuracy) / size)
        table.add_row(name, source, f"{accuracy:.1%} ± {error:.1%}")
    return table


@torch.no_grad()
def energy_table(judged: Diagnosis, recipe: Recipe, test: ImageDataset, count: int = SHOWN) -> Table:
    """E, F_1, -ELBO, their gap and Pareto k of the first ``count`` test images, one a row, from a diagnosis of them."""
    _, guide = digit_pair(recipe)
    found = explain(guide, test.image[:count])
    energy = recipe.view(count).energy_per_datum(found._asdict())
    table = Table(
        *("digit", "guess", "E", "F_1", "-ELBO", "gap", "Pareto k"),
        title=f"Energies of the first {count} test images, in nats",
        title_justify="left",
        caption=(
            "guess: the guide's most probable digit. E: the energy of one explanation, that digit with the guide's "
            "mean style. F_1 = -log p(image): of all explanations together, estimated, as is -ELBO, its bound by the "
            "guide; gap = -ELBO - F_1. After ±: standard errors. F_1 and gap hold where Pareto k is at most "
            f"{judged.limit:.2f}."
        ),
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for datum in range(count):
        row = judged.tables["gaps"].isel(data=datum)
        measured = [
            f"{row[f'{name}_per_datum'].item():.{places}f} ± {row[f'{name}_error_per_datum'].item():.{places}f}"
            for name, places in (("free_energy", 2), ("negative_elbo", 2), ("gap", 3))
        ]
        names = (str(test.digit[datum].item()), str(found.digit[datum].item()))
        table.add_row(*names, f"{energy[datum]:.2f}", *measured, f"{row.pareto_k.item():.2f}")
    return table


def style_summary(posterior: Any, images: int = SUMMARISED, dimensions: int = 3) -> str:
    """ArviZ's summary of the first dimensions of the first images' style, as text."""
    sizes = posterior.posterior.sizes
    chosen = {"data": range(images), "style_dim_1": range(min(dimensions, sizes["style_dim_1"]))}
    return summary(posterior, var_names=["style"], kind="stats", coords=chosen).to_string()


def _say_what_is_where(out: Path, console: Console) -> None:
    command = "pyrometer" if shutil.which("pyrometer") else f"{os.path.relpath(sys.executable)} -m pyrometer"
    next_ = {
        f"{command} list": "the recipes",
        f"{command} energy {out}": "F_1, -ELBO and their gap of more images",
        f"{command} diagnose {out}": "what to trust",
        f"{command} fit ssvae --data mnist --labels 100": "larger images",
    }
    lines = [
        f"[bold]Everything is in {out}:[/]",
        f"  pictures/      {', '.join(sorted(path.stem for path in (out / 'pictures').iterdir()))}",
        "  posterior.nc   for ArviZ: arviz.from_netcdf",
        "  weights.pt, summary.json, settings.json, metrics.csv, tensorboard/, checkpoints/",
        "[bold]What to try next:[/]",
        *(f"  {words:{max(map(len, next_))}}   {purpose}" for words, purpose in next_.items()),
    ]
    console.print("\n".join(lines), soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
