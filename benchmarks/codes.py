"""What an auto-encoder and a VAE decode codes of the prior to: samples beside held-out images, over seeds.

`python -m benchmarks.codes` writes its table into docs/results.md. Samples are compared with test images by the energy
distance, whose null distribution is that of permutations. Exits with 1 where a VAE's samples are not nearer to images
than an auto-encoder's of as many latents, in every seed. It needs MNIST (see pyrometer.data.mnist); `--data digits`
makes the rows of the embedded digits alone.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor

from pyrometer.inference.diagnostics import energy_distance
from pyrometer.models import VAE
from pyrometer.recipes import Recipe
from pyrometer.recipes.autoencoder import recipe as autoencoder
from pyrometer.recipes.vae import recipe as vae

from .results_page import PAGE, mean_and_spread, provenance, table, write_block

__all__ = ["Judged", "judged", "main", "report", "samples", "trained"]

SYSTEMS: dict[str, Callable[..., Recipe]] = {"auto-encoder": autoencoder, "VAE": vae}
LATENTS = {"digits": (2, 16), "mnist": (2, 50)}
EPOCHS = {"digits": 60, "mnist": 10}
SIZE, PERMUTATIONS = 1000, 200


class Judged(NamedTuple):
    """A training's samples, and how much of the prior its codes fill.

    ``ratio`` is the energy distance between samples and test images over its mean under permutations, ``p`` the
    permutation test's, ``spread`` the root mean square of a coordinate of the codes of test images, drawn from the
    guide, which is 1 for codes that fill the prior, ``seconds`` the CPU seconds of the training.
    """

    ratio: float
    p: float
    spread: float
    seconds: float


def trained(system: str, settings: Mapping[str, Any]) -> tuple[Recipe, float]:
    """The recipe after its training, and the CPU seconds of that."""
    pyro.set_rng_seed(settings["seed"])
    made, start = SYSTEMS[system](**settings), time.process_time()
    made.fit(seed=settings["seed"], progress=False, on_epoch=None)
    return made, time.process_time() - start


def samples(model: VAE, count: int) -> Tensor:
    """Binary images (count, H, W) that the model simulates."""
    return pyro.poutine.uncondition(model)(torch.empty(count, *model.shape)).detach()


@torch.no_grad()
def judged(made: Recipe, seconds: float, permutations: int = PERMUTATIONS) -> Judged:
    """Samples beside as many test images, `SIZE` at most, drawn from all of them."""
    image = made.held_out["image"]
    model: Any = made.model
    guide: Any = made.guide
    image = image[torch.randperm(len(image))[:SIZE]]
    found = energy_distance(samples(model, len(image)).flatten(1), image.flatten(1), permutations)
    code = guide.distribution(image).sample()
    return Judged(found.ratio, found.p, code.square().mean().sqrt().item(), seconds)


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codes", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", nargs="+", default=list(LATENTS), choices=list(LATENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    found: dict[tuple[str, int, str], list[Judged]] = {}
    for data in chosen.data:
        for latents in LATENTS[data]:
            for system in SYSTEMS:
                for seed in chosen.seeds:
                    settings = {"data": data, "latents": latents, "epochs": EPOCHS[data], "seed": seed}
                    one = judged(*trained(system, settings))
                    found.setdefault((data, latents, system), []).append(one)
                    print(data, latents, system, seed, one, flush=True)
    text, good = report(found)
    write_block(chosen.results, "codes", f"{text}\n\n{WORDS}\n\n{provenance('benchmarks.codes')}")
    print(text)
    return 0 if good else 1


WORDS = f"""Mean ± standard deviation over seeds. The energy distance is that between images drawn from the model and
as many test images, {SIZE:,} at most, pixels drawn in both; it is biased, so that between equal distributions it is
not 0 but as much as the mean of {PERMUTATIONS} permutations, which it is divided by: 1 is perfect. Then in how many
seeds a permutation test rejects at 5 %, which depends on how many images there are. The spread of codes is the root
mean square of a coordinate, over test images and draws of the guide: 1 where they fill the prior. {EPOCHS["mnist"]}
epochs of MNIST, {EPOCHS["digits"]} of the embedded digits; settings are those of the recipes. CPU seconds are of the
training, on one thread of a machine that had other work."""


def report(found: Mapping[tuple[str, int, str], Sequence[Judged]]) -> tuple[str, bool]:
    """The table, and whether samples of the VAE are nearer to images in every seed."""
    header = ["images", "latents", "", "energy distance, times expected", "p below 0.05", "spread of codes", "CPU s"]
    rows = []
    for (data, latents, system), ones in found.items():
        rejected = sum(one.p < 0.05 for one in ones)
        numbers = [mean_and_spread(values, digits) for values, digits in zip(_columns(ones), (2, 2, 0), strict=True)]
        rows.append([data, str(latents), system, numbers[0], f"{rejected} of {len(ones)}", *numbers[1:]])
    pairs = [(ones, found[*key[:2], "auto-encoder"]) for key, ones in found.items() if key[2] == "VAE"]
    good = all(ours.ratio < theirs.ratio for one in pairs for ours, theirs in zip(*one, strict=True))
    return table(header, rows), good


def _columns(ones: Sequence[Judged]) -> list[list[float]]:
    return [[one.ratio for one in ones], [one.spread for one in ones], [one.seconds for one in ones]]


if __name__ == "__main__":
    sys.exit(main())
