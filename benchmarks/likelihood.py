r"""F_1 of binarised MNIST with one stochastic layer of 50, in nats an image, beside what has been published.

`python -m benchmarks.likelihood` writes its table into docs/results.md. It needs MNIST (see pyrometer.data.mnist) and a
processor that multiplies bfloat16 numbers; interrupted, it goes on where it was. Pixels are drawn with their grey value
as probability: those trained on anew at each step, those of the test images once, by the seed. Settings were chosen on
validation images.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor

from pyrometer import EnergyView, MonteCarlo
from pyrometer.inference.energy.log_weights import guide_log_weights
from pyrometer.inference.svi import add_to_summary
from pyrometer.inference.svi.estimators import doubly_reparameterised
from pyrometer.recipes import Recipe
from pyrometer.recipes.iwae import recipe as iwae
from pyrometer.recipes.iwae import tighter_bound
from pyrometer.recipes.vae import recipe as vae

from .parallel_runs import cpu_time_noted, in_processes, rows_of
from .results_page import PAGE, cpu_minutes, mean_and_spread, provenance, table, write_block

__all__ = ["Job", "Measured", "main", "measured", "report", "trained"]

SETTINGS = {"data": "mnist", "latents": 50, "hidden": 400, "redraw": True}
ROWS = ((5, 120),)
"""Draws of the bound, and for how many epochs each is trained."""
RATE = {1: 1e-3, 5: 2e-3}
"""The learning rate, by the draws of the bound."""
COARSE, FINE, AT_ONCE = 100, 5000, 20
"""Draws of the guide for every test image, and for some of them; the images of the latter at a time."""
CHAINS = 16
"""Of annealing, for each image."""
WATCHED = 500
"""Validation images whose bound of 20 draws is noted after each epoch, for whoever looks at the run."""
PUBLISHED = {1: "VAE 86.76 (1)", 5: "IWAE with 5 draws 85.54, with 50 84.78 (1)"}
SOURCE = """\
(1) Y. Burda, R. Grosse, R. Salakhutdinov (2016), Importance weighted autoencoders, table 1, by importance with 5,000
draws: 50 latents, two layers of 200 units, trained on 60,000 images where this trains on 50,000."""
HEADER = ["draws", "epochs", "seeds", "F_1 by annealing", "at most, by importance", "-ELBO", "CPU minutes", "published"]


class Job(NamedTuple):
    """A training on the bound of so many draws, and how many test images are annealed after it."""

    draws: int
    seed: int
    epochs: int
    images: int
    out: Path


class Measured(NamedTuple):
    """Of the test images, in nats an image: F_1 by annealing and a bound by importance, each with its error, and -ELBO.

    ``doubtful`` of the annealed images had two paths that disagree. ``cpu_seconds`` are those of the training, what is
    noted of its epochs included; None where it was interrupted and resumed, so that nobody knows.
    """

    annealed: tuple[float, float]
    importance: tuple[float, float]
    negative_elbo: float
    doubtful: int
    cpu_seconds: float | None


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.likelihood", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--draws", type=int, nargs="+", help="of the bound that is trained on; all rows, without")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="of every row, in place of its own")
    parser.add_argument("--images", type=int, default=100, help="test images for annealing, drawn by lot")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="where the runs go")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    jobs = [
        Job(draws, seed, epochs, chosen.images, chosen.out)
        for draws, epochs in rows_of(ROWS, chosen.draws, chosen.epochs, otherwise=120)
        for seed in chosen.seeds
    ]
    found = list(in_processes(reached, jobs, chosen.processes))
    text, doubtful = report(jobs, found), sum(one.doubtful for one in found)
    disagree = f"{doubtful} of {len(jobs) * chosen.images} images"
    words = WORDS.format(images=chosen.images, coarse=COARSE, fine=FINE, chains=CHAINS, doubtful=disagree)
    write_block(chosen.results, "likelihood", f"{text}\n\n{words}\n\n{SOURCE}\n\n{provenance('benchmarks.likelihood')}")
    print(text)


WORDS = """Mean ± standard deviation over seeds, for all test images; in brackets the standard error of the mean that
the estimates leave. Every test image has {coarse} draws of the guide; to their mean is added the mean difference, at
{images} images drawn by lot, to annealing with {chains} chains, or to {fine} draws. What is by draws of the guide,
-log mean w, is an upper bound of F_1, as in (1). Annealing is an estimate of F_1 itself; its paths from the prior and
from the guide disagree at {doubtful}. CPU minutes are of the training, on one thread, where they are known."""


def report(jobs: Sequence[Job], measured: Sequence[Measured]) -> str:
    """The table: a row for each number of draws and of epochs, with mean and standard deviation over seeds."""
    rows = []
    for draws, epochs in dict.fromkeys((job.draws, job.epochs) for job in jobs):
        ours = [one for job, one in zip(jobs, measured, strict=True) if (job.draws, job.epochs) == (draws, epochs)]
        cells = [_with_error([one.annealed for one in ours]), _with_error([one.importance for one in ours])]
        rows.append(
            [
                *(str(draws), str(epochs), str(len(ours)), f"**{cells[0]}**", cells[1]),
                mean_and_spread([one.negative_elbo for one in ours]),
                cpu_minutes([one.cpu_seconds for one in ours]),
                PUBLISHED.get(draws, ""),
            ]
        )
    return table(HEADER, rows)


def _with_error(values: Sequence[tuple[float, float]]) -> str:
    error = sum(error**2 for _, error in values) ** 0.5 / len(values)
    return f"{mean_and_spread([value for value, _ in values])} ({error:.2f})"


def reached(job: Job) -> Measured:
    """One training with its numbers, or what is left of either; of a finished one, what its folder says."""
    folder = job.out / f"likelihood-{job.draws}-{job.epochs}-{job.seed}"
    made, summary = trained(job.draws, job.seed, job.epochs, folder)
    how = [job.images, COARSE, FINE, CHAINS]
    if summary.get("measured_with") != how:
        found = {"likelihood": measured(made, job.images, summary["cpu_seconds"])._asdict(), "measured_with": how}
        summary = add_to_summary(folder, found)
    one = Measured(**summary["likelihood"])
    print(f"{folder}: F_1 {one.annealed[0]:.2f} by annealing, at most {one.importance[0]:.2f}", flush=True)
    return one


def trained(draws: int, seed: int, epochs: int, out: Path, **how: Any) -> tuple[Recipe, dict[str, Any]]:
    """The recipe `vae`, for one draw, or `iwae` after its training, and the summary of that.

    The history has the bound of validation images.
    """
    pyro.set_rng_seed(seed)
    settings = {**SETTINGS, "learning_rate": RATE.get(draws, 1e-3), "seed": seed}
    made = vae(**settings) if draws == 1 else iwae(**settings, draws=draws)
    assert made.validation is not None
    image, bound = made.validation["image"][:WATCHED], MonteCarlo(doubly_reparameterised, 20)

    def watch(model: Any, guide: Any) -> Mapping[str, float]:
        return {"validation_bound": tighter_bound(bound, model, guide, image)}

    options = {"out": out, "resume": True, "on_epoch": watch, "precision": "bf16", "progress": False, **how}
    with cpu_time_noted(out):
        made.fit(epochs, seed=seed, **options)
    return made, json.loads((out / "summary.json").read_text())


def measured(made: Recipe, images: int, seconds: float | None) -> Measured:
    """What the trained pair reaches at the held-out images, of which ``images`` are annealed."""
    pyro.set_rng_seed(0)
    image = made.held_out["image"]
    chosen = torch.randperm(len(image))[:images]
    coarse, elbo = _drawn(made, image, COARSE)
    fine, _ = _drawn(made, image[chosen], FINE, AT_ONCE)
    view = EnergyView(made.model).bind(image=image[chosen])
    annealed = view.free_energy(method="annealing", guide=made.guide, chains=CHAINS)
    assert annealed.per_datum is not None
    return Measured(
        *(_moved(coarse, chosen, annealed.per_datum.detach()), _moved(coarse, chosen, fine)),
        negative_elbo=-elbo,
        doubtful=int(annealed.evidence["disagree"].sum()),
        cpu_seconds=seconds,
    )


def _drawn(made: Recipe, image: Tensor, draws: int, at_once: int = 1000) -> tuple[Tensor, float]:
    """-log mean w of draws of the guide, (N,), and the mean ELBO."""
    bounds, elbos = [], []
    for part in image.split(at_once):
        view = EnergyView(made.model).bind(image=part)
        log_w = guide_log_weights(view.program, made.guide, 1.0, "lebesgue", {}, draws).log_weights.detach()
        bounds.append(math.log(draws) - log_w.logsumexp(0))
        elbos.append(log_w.mean(0))
    return torch.cat(bounds), torch.cat(elbos).mean().item()


def _moved(coarse: Tensor, chosen: Tensor, fine: Tensor) -> tuple[float, float]:
    """The mean of the coarse values, all of them, moved by the mean difference of the fine ones; and its error."""
    away = (fine - coarse[chosen]).double()
    return (coarse.double().mean() + away.mean()).item(), (away.std() / len(away) ** 0.5).item()


if __name__ == "__main__":
    main()
