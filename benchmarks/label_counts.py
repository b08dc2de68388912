"""How many labels a digit-and-style model needs: the embedded digits with 10, 100, 600 and all labels, and with none.

`python -m benchmarks.label_counts` writes its table into docs/results.md, from which notebook 06 draws its curve. The
recipe is `ssvae` with its own settings but for the epochs, which are fewer, so that each training takes some 420 steps;
every seed draws another test set, other labels and other weights. Without labels it is `jointvae`, whose classes are
matched with digits by a sixth of the training images.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pyrometer.data import digits, train_test_split
from pyrometer.recipes.class_matching import match_classes
from pyrometer.recipes.digit_readings import digit_readings
from pyrometer.recipes.label_baselines import label_baselines
from pyrometer.recipes.run import OpenRun, open_run, run
from pyrometer.recipes.ssvae import classify

from .results_page import PAGE, mean_and_spread, provenance, table, write_block

__all__ = ["Reached", "main", "measure", "report"]

EPOCHS = {0: 60, 10: 30, 100: 30, 600: 14, 1347: 6}
"""By the number of labels, of which the last is all that there are outside the test set: an epoch is a pass over the
stream with the most batches, and so has more steps where labels are many."""


class Reached(NamedTuple):
    """Accuracies on test images, as fractions, and what the training took in s.

    ``guide`` is argmax q(digit | image), ``model`` argmin F(image, digit), ``baseline`` logistic regression on the same
    labels, where there are any.
    """

    guide: float
    model: float
    baseline: float | None
    seconds: float


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.label_counts", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--labels", type=int, nargs="+", default=list(EPOCHS), help="0: the recipe jointvae")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="without, by the number of labels")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="where the runs go")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    reached: dict[int, list[Reached]] = {}
    for labels in chosen.labels:
        reached[labels] = []
        for seed in chosen.seeds:
            reached[labels].append(measure(labels, seed, chosen.epochs or EPOCHS.get(labels, 60), chosen.out))
            print(labels, seed, reached[labels][-1], flush=True)
    text = report(reached)
    write_block(chosen.results, "label_counts", f"{text}\n\n{provenance('benchmarks.label_counts')}")
    print(text)


def measure(labels: int, seed: int, epochs: int, out: Path) -> Reached:
    """One training, or what a finished one with these settings left."""
    name = "ssvae" if labels else "jointvae"
    settings: dict[str, Any] = {"data": "digits", "seed": seed, **({"labels": labels} if labels else {})}
    folder = out / f"labels-{labels}-{seed}"
    if not _finished(folder, epochs):
        run(name, settings, folder, epochs=epochs, resume=True, progress=False, compile=False)
    opened = open_run(folder)
    recipe, test = opened.recipe, train_test_split(digits(), seed=seed).test
    readings = digit_readings(recipe.model, recipe.guide, test.image)
    said = readings.free_energy.argmin(-1)
    names = _names(opened) if not labels else torch.arange(10)
    accuracy = (names[said] == test.digit).double().mean().item()
    baseline = label_baselines(recipe.data, test)["logistic regression"] if labels else None
    return Reached(opened.summary["test_accuracy"], accuracy, baseline, opened.summary["seconds"])


def report(reached: dict[int, list[Reached]]) -> str:
    """A row for each number of labels; means over seeds with standard deviations."""
    rows = []
    for labels, ours in reached.items():
        parts: list[list[float]] = [[one.guide for one in ours], [one.model for one in ours]]
        known = [one.baseline for one in ours if one.baseline is not None]
        cells = [_in_percent(part) for part in parts] + [_in_percent(known) if known else ""]
        rows.append([str(labels), *cells, f"{statistics.mean(one.seconds for one in ours):.0f}"])
    count = len(next(iter(reached.values())))
    header = ["labels", "guide, %", "model, argmin F, %", "logistic regression, %", "s"]
    return f"Test accuracy, mean ± sd over {count} seeds.\n\n{table(header, rows)}"


def _in_percent(parts: Sequence[float]) -> str:
    return mean_and_spread([100 * part for part in parts], digits=1)


def _names(opened: OpenRun) -> torch.Tensor:
    """The digit of each class, by the images that the recipe names its classes by."""
    naming = opened.recipe.validation
    assert naming is not None
    return match_classes(classify(opened.recipe.guide, naming["image"]), naming["digit"])


def _finished(folder: Path, epochs: int) -> bool:
    summary = folder / "summary.json"
    known = json.loads(summary.read_text()) if summary.exists() else {}
    return "test_accuracy" in known and known["epochs"] == epochs


if __name__ == "__main__":
    main()
