"""Four ways to train one auto-encoder: ELBO, importance-weighted, wake-sleep and a flow guide, and every gap of each.

`python -m benchmarks.bounds` writes its table into docs/results.md, on the embedded digits, in some five minutes of
one core. Exits with 1 where a bound lies below the free energy that it bounds by more than 4.3 standard errors.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyro
import xarray as xr

from pyrometer import WakeSleep, compare
from pyrometer.recipes import Recipe
from pyrometer.recipes.iwae import recipe as iwae
from pyrometer.recipes.vae import recipe as vae
from pyrometer.recipes.vae_flow import recipe as vae_flow

from .results_page import PAGE, mean_and_spread, provenance, table, write_block

__all__ = ["Measured", "main", "measured", "report", "trained"]

SIGMAS = 4.3
DRAWS = 2000
SLEEP = 0.5
SYSTEMS: dict[str, tuple[str, Callable[..., Recipe]]] = {
    "elbo": ("ELBO", vae),
    "iwae": ("importance-weighted, 10 draws, doubly reparameterised", iwae),
    "wake_sleep": (f"reweighted wake-sleep, 10 draws, {SLEEP:.0%} dreams", vae),
    "flow": ("ELBO, flow guide", vae_flow),
}
COLUMNS = {
    "zero_temperature": "F_inf",
    "free_energy": "F_1 by annealing",
    "negative_elbo": "-ELBO",
    "gap": "inference gap",
    "approximation_gap": "approximation gap",
    "amortization_gap": "amortisation gap",
}


class Measured(NamedTuple):
    """The numbers of `COLUMNS`, in nats an image, and their standard errors; CPU seconds of the training."""

    values: dict[str, float]
    errors: dict[str, float]
    seconds: float


def trained(system: str, seed: int, epochs: int | None = None) -> tuple[Recipe, float]:
    """The recipe of a system after its training, and what that took, in CPU seconds."""
    pyro.set_rng_seed(seed)
    made = SYSTEMS[system][1](seed=seed)
    if system == "wake_sleep":
        made = replace(made, objective=WakeSleep(draws=10, sleep=SLEEP))
    start = time.process_time()
    made.fit(epochs, seed=seed, progress=False, on_epoch=None)
    return made, time.process_time() - start


def measured(made: Recipe, images: int, seconds: float, draws: int = DRAWS) -> Measured:
    """Every number at the first so many held-out images."""
    pyro.set_rng_seed(0)
    gaps = compare(made.view(images), made.guide, draws=draws, method="annealing")
    return Measured(_present(gaps, images, ""), _present(gaps, images, "_error"), seconds)


def _present(gaps: xr.Dataset, images: int, ending: str) -> dict[str, float]:
    return {name: gaps[name + ending].item() / images for name in COLUMNS if name + ending in gaps}


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bounds", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=100, help="how many test images, from the first on")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    found: dict[str, list[Measured]] = {}
    for system in chosen.systems:
        for seed in chosen.seeds:
            made, seconds = trained(system, seed)
            one = measured(made, chosen.images, seconds)
            print(system, seed, {name: round(value, 3) for name, value in one.values.items()}, flush=True)
            found.setdefault(system, []).append(one)
    text, sound = report(found)
    words = WORDS.format(images=chosen.images, draws=DRAWS)
    write_block(chosen.results, "bounds", f"{text}\n\n{words}\n\n{provenance('benchmarks.bounds', 'zuko')}")
    print(text)
    return 0 if sound else 1


WORDS = """Mean ± standard deviation over seeds, in nats an image, at the first {images} test images of each seed's
split, the same for all rows; in brackets the standard error of the mean over seeds that annealing and {draws} draws
of the guide leave. F_inf is the least energy found, an upper bound of it. -ELBO - F_1 is the inference gap, which is
the sum of the other two; approximation gaps are upper bounds, and a flow's parameters cannot be moved image by
image, so that its gap is not split. Settings are those of the recipe `vae`, chosen on validation images, where two
couplings did as well as four; wake-sleep has its own defaults, and nothing was tuned for it. CPU seconds are of the
training, on one thread of a machine that had other work."""


def report(found: Mapping[str, Sequence[Measured]]) -> tuple[str, bool]:
    """The table, and whether no bound lies below what it bounds by more than noise explains."""
    header = ["trained on", "seeds", *COLUMNS.values(), "CPU s"]
    rows = []
    for system, ones in found.items():
        cells = [_cell(name, ones) for name in COLUMNS]
        rows.append([SYSTEMS[system][0], str(len(ones)), *cells, mean_and_spread([one.seconds for one in ones], 0)])
    words = _beside_first(found)
    sound = all(one.values["gap"] > -SIGMAS * one.errors["gap"] for ones in found.values() for one in ones)
    return f"{table(header, rows)}{words}", sound


def _beside_first(found: Mapping[str, Sequence[Measured]]) -> str:
    """Differences from the first row, seed by seed: seeds have other test images, which differ by more than rows do."""
    (_, first), *others = found.items()
    lines = []
    for system, ones in others:
        away = [
            mean_and_spread([one.values[name] - own.values[name] for one, own in zip(ones, first, strict=True)], 2)
            for name in ("free_energy", "negative_elbo")
        ]
        lines.append(f"- {SYSTEMS[system][0]}: F_1 {away[0]}, -ELBO {away[1]}")
    introduction = (
        "\n\nMinus the first row, seed by seed (each seed has its own test images), mean ± standard deviation:\n\n"
    )
    return introduction + "\n".join(lines) if lines else ""


def _cell(name: str, ones: Sequence[Measured]) -> str:
    if any(name not in one.values for one in ones):
        return "-"
    errors = [one.errors[name] for one in ones if name in one.errors]
    error = f" ({sum(e * e for e in errors) ** 0.5 / len(ones):.3f})" if errors else ""
    return mean_and_spread([one.values[name] for one in ones], 2) + error


if __name__ == "__main__":
    sys.exit(main())
