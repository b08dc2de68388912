"""How far latents are factors: the mutual information gap of four objectives, on images whose factors are known.

`python -m benchmarks.disentangling` writes a table into docs/results.md, in some ten minutes of one core.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from pyrometer import fit, temper
from pyrometer.data import FactorDataset, shapes
from pyrometer.guides import GaussianEncoder, KindAndCode
from pyrometer.inference.diagnostics import mutual_information, mutual_information_gap
from pyrometer.inference.svi import Decomposed
from pyrometer.models import VAE, KindAndCodeVAE

from .results_page import PAGE, provenance, table, write_block

__all__ = ["ENTRIES", "Entry", "Measured", "main", "measure", "report"]

SHAPE, KINDS, ELEMENTS, HIDDEN = (16, 16), 3, 6, 100
EPOCHS, SEEDS, BATCH, RATE = 60, 3, 108, 3e-3
WEIGHTS = (4.0, 8.0)
"""Both are shown, and none is chosen."""
PART = 3
"""Every third image, of which the terms are taken."""


class Entry(NamedTuple):
    """An objective: its name, whether the pair has a discrete latent, and the objective of N data."""

    name: str
    has_kind: bool
    objective: Callable[[int], Any]


class Measured(NamedTuple):
    """A trained pair: its gaps, in all and by factor, and in nats an image minus its ELBO and what its latents know."""

    name: str
    seed: int
    mig: float
    gaps: dict[str, float]
    negative_elbo: float
    information: float


def beta_vae(weight: float, model: Callable, guide: Callable, image: Tensor) -> Tensor:
    """The reconstruction, and ``weight`` times the divergence from the prior: F_beta[q] on the prior's measure."""
    beta = 1 / weight
    return Trace_ELBO().differentiable_loss(temper(model, beta, base="prior"), guide, image=image) / beta


def _weighted(weights: dict[str, float], size: int) -> Decomposed:
    return Decomposed(size, weights=weights)


def _beta_vae(weight: float, size: int) -> Callable:  # noqa: ARG001 - it needs no number of data
    return partial(beta_vae, weight)


ENTRIES = (
    Entry("ELBO", False, partial(_weighted, {})),
    *[Entry(f"beta-VAE, weight {w:g} on the divergence", False, partial(_beta_vae, w)) for w in WEIGHTS],
    *[Entry(f"beta-TCVAE, weight {w:g} within", False, partial(_weighted, {"within": w})) for w in WEIGHTS],
    Entry("ELBO, with a kind", True, partial(_weighted, {})),
    *[
        Entry(f"HFVAE, weight {w:g} within and between", True, partial(_weighted, {"within": w, "between": w}))
        for w in WEIGHTS
    ],
    Entry(
        "HFVAE, 8 and 8, 0.3 on what the kind knows",
        True,
        partial(_weighted, {"within": 8.0, "between": 8.0, "information/kind": 0.3}),
    ),
)


def pair(has_kind: bool) -> tuple[nn.Module, nn.Module]:
    """Six elements: a code of six dimensions, or a kind and a code of five."""
    if has_kind:
        sizes = (SHAPE, KINDS, ELEMENTS - 1, HIDDEN)
        return KindAndCodeVAE(*sizes), KindAndCode(*sizes)
    return VAE(SHAPE, ELEMENTS, HIDDEN), GaussianEncoder(SHAPE, ELEMENTS, HIDDEN)


def measure(entry: Entry, data: FactorDataset, seed: int, epochs: int) -> Measured:
    """Trains a pair on all images and measures it on the same: the factors are a complete grid, and were not seen."""
    pyro.set_rng_seed(seed)
    model, guide = pair(entry.has_kind)
    adam = partial(torch.optim.Adam, lr=RATE)
    how: dict[str, Any] = {"optimizer": adam, "schedule": lambda t: min(1, 2 * (1 - t)), "compile": False}
    objective = entry.objective(len(data))
    images = {"image": data.image}
    fit(model, guide, images, objective=objective, epochs=epochs, batch_size=BATCH, seed=seed, progress=False, **how)
    gap = mutual_information_gap(guide, images, data.factors)
    part = {"image": data.image[::PART]}
    with torch.no_grad():
        terms = Decomposed(len(data)).terms(model, guide, **part)
    known = mutual_information(guide, part).joint.item()
    gaps = dict(zip(gap.factor.values.tolist(), gap.gap.values.tolist(), strict=True))
    return Measured(entry.name, seed, gap.mig.item(), gaps, sum(t.item() for t in terms.values()), known)


def report(measured: Sequence[Measured]) -> str:
    """A row for each objective: means over seeds, and the spread of the gap."""
    factors = list(measured[0].gaps)
    rows = []
    for name in dict.fromkeys(one.name for one in measured):
        own = [one for one in measured if one.name == name]
        migs = torch.tensor([one.mig for one in own])
        gaps = [f"{sum(one.gaps[factor] for one in own) / len(own):.2f}" for factor in factors]
        spread = f"{migs.min():.2f}-{migs.max():.2f}"
        nats = [sum(getattr(one, what) for one in own) / len(own) for what in ("negative_elbo", "information")]
        rows.append([name, f"{migs.mean():.3f}", spread, *gaps, *(f"{value:.2f}" for value in nats)])
    header = ["objective", "MIG", "over seeds", *factors, "-ELBO", "information"]
    return table(header, rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.disentangling", description=(__doc__ or "")[:110])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    data, measured = shapes(), []
    for entry in ENTRIES:
        for seed in range(chosen.seeds):
            measured.append(measure(entry, data, seed, chosen.epochs))
            print(*measured[-1], flush=True)
    about = (
        f"{len(data)} images of 16 x 16, {chosen.epochs} epochs, {ELEMENTS} latent elements (with a kind: one of them "
        f"discrete, of {KINDS} values), {chosen.seeds} seeds. MIG is the mean of the gaps to its right, each 1 where "
        "one latent knows the factor and no other does, and 0 where none or two know the same; -ELBO (all weights 1) "
        "and the information of all latents are nats an image, of every third. Trained and measured on all images of "
        "the grid; no training sees the factors."
    )
    text = f"{about}\n\n{report(measured)}\n\n{provenance('benchmarks.disentangling')}"
    write_block(chosen.results, "disentangling", text)
    print(text)


if __name__ == "__main__":
    main()
