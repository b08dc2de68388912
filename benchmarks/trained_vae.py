"""The variational auto-encoders of MNIST that benchmarks measure: trained where they are missing."""

import json
from pathlib import Path
from typing import NamedTuple

from pyrometer import EnergyView
from pyrometer.guides import GaussianEncoder
from pyrometer.inference.energy import BoundView
from pyrometer.models import VAE
from pyrometer.recipes.run import OpenRun, open_run, run

__all__ = ["Trained", "trained_vae"]

EPOCHS = {2: 60, 50: 100}
"""How long to train, by the number of latents; else as long as the recipe does."""


class Trained(NamedTuple):
    """A trained pair, and an energy view of some test images."""

    model: VAE
    guide: GaussianEncoder
    view: BoundView


def trained_vae(latents: int, images: slice, out: Path) -> Trained:
    """The recipe `vae` on MNIST with so many latents, from its run ``out/vae-mnist-LATENTS``, at these test images.

    A missing run is trained and an interrupted one is finished first; a finished one is read, whatever its other
    settings are.

    Raises:
        ValueError: if the run in that folder is of another model, or has other latents.
    """
    folder = out / f"vae-mnist-{latents}"
    if not _finished(folder):
        settings = {"data": "mnist", "latents": latents, "epochs": EPOCHS.get(latents, 0)}
        run("vae", settings, folder, resume=True, progress=False)
    opened = open_run(folder)
    return _checked(opened, latents, images)


def _finished(folder: Path) -> bool:
    summary = folder / "summary.json"
    return summary.exists() and "free_energy" in json.loads(summary.read_text())


def _checked(opened: OpenRun, latents: int, images: slice) -> Trained:
    model, guide = opened.recipe.model, opened.recipe.guide
    if not (isinstance(model, VAE) and isinstance(guide, GaussianEncoder) and model.latents == latents):
        raise ValueError(
            f"{opened.path} must hold a run of the recipe vae with {latents} latents, and holds one of "
            f"{opened.name!r} with other settings; move it away, and it will be trained anew."
        )
    image = opened.recipe.held_out["image"][images]
    return Trained(model, guide, EnergyView(model).bind(image=image))
