"""Energies of two separately trained systems on one scale: raw, by the Gibbs distribution, and by temperature scaling.

`python -m benchmarks.energy_calibration` writes its table into docs/results.md. One system sees the upper half of a
digit and is trained by likelihood, the other the lower half, by a margin. Exits with 1 where scaling does not lower
the likelihood's loss on test images, or choosing by calibrated probability is not above choosing by raw energy.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

import pyrometer
from pyrometer.data import ImageDataset, digits, train_test_split
from pyrometer.inference.diagnostics import gibbs_probabilities, reliability, temperature_scaling
from pyrometer.networks import mlp

from .results_page import PAGE, mean_and_spread, provenance, table, write_block

__all__ = ["EnergyClassifier", "Measured", "chosen_right", "main", "margin_loss", "measure", "nothing", "report"]

TEST, VALIDATION = 1 / 2, 1 / 3
"""Of all images; and of those that are left."""
EPOCHS = 100
HIDDEN = 64
UPPER, LOWER = slice(0, 4), slice(4, 8)
SYSTEMS = {"upper half, likelihood": UPPER, "lower half, margin": LOWER}


class EnergyClassifier(nn.Module):
    r"""E(x, y) of ten labels from some rows of an image, and p(y | x) = exp(-E(x, y)) / sum_k exp(-E(x, k))."""

    def __init__(self, rows: slice) -> None:
        super().__init__()
        self.rows, self.network = rows, mlp(32, HIDDEN, 10)

    def energies(self, image: Tensor) -> Tensor:
        """(N, 10)."""
        return self.network(image[:, self.rows].flatten(1))

    def forward(self, image: Tensor, digit: Tensor | None = None) -> None:
        """The program."""
        with pyro.plate("data", len(image)):
            pyro.sample("digit", dist.Categorical(logits=-self.energies(image)), obs=digit)


def margin_loss(model: Callable, guide: Callable, image: Tensor, digit: Tensor) -> Tensor:  # noqa: ARG001
    """max(0, 1 + E(x, y) - the lowest other energy), summed over data (LeCun et al. 2006, equation 11)."""
    assert isinstance(model, EnergyClassifier)
    energies = model.energies(image)
    own = energies.gather(-1, digit[:, None]).squeeze(-1)
    others = energies.scatter(-1, digit[:, None], torch.inf).amin(-1)
    return (1 + own - others).relu().sum()


def nothing(image: Tensor, digit: Tensor | None = None) -> None:
    """The guide of a model without latents."""


class Measured(NamedTuple):
    """One seed; pairs are of (upper, lower), on test images.

    Attributes:
        accuracy: of each system, in per cent.
        beta: fitted to validation images.
        loss: the negative log likelihood by system, in nats an image, at beta = 1 and as fitted.
        ece: likewise, and what it would be on average were the probabilities right.
        disagreements: images on which one system is right and the other wrong.
        picks: by rule, how many of them it decides rightly.
        overall: by rule, the accuracy on all images, in per cent.
    """

    accuracy: list[float]
    beta: list[float]
    loss: list[tuple[float, float]]
    ece: list[tuple[float, float, float]]
    disagreements: int
    picks: dict[str, int]
    overall: dict[str, float]


def main() -> int:
    """The command; gives the exit status."""
    words = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.energy_calibration", description=words)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    measured = []
    for seed in chosen.seeds:
        measured.append(measure(seed))
        print(seed, measured[-1], flush=True)
    text, good = report(measured)
    write_block(chosen.results, "energy_calibration", f"{text}\n\n{provenance('benchmarks.energy_calibration')}")
    print(text)
    return 0 if good else 1


def measure(seed: int) -> Measured:
    """Trains both systems, fits their temperatures on validation images, and judges them on test images."""
    halves = train_test_split(digits(), TEST, seed)
    training, validating = train_test_split(halves.train, VALIDATION, seed)
    models = [trained(rows, training, seed) for rows in SYSTEMS.values()]
    with torch.no_grad():
        validation, test = ([m.energies(d.image) for m in models] for d in (validating, halves.test))
    truth = halves.test.digit
    beta = [temperature_scaling(energies, validating.digit).beta for energies in validation]
    tables = [
        [reliability(gibbs_probabilities(energies, b), truth) for b in (1.0, own)]
        for energies, own in zip(test, beta, strict=True)
    ]
    loss = [
        (_loss(energies, truth, 1.0), _loss(energies, truth, own)) for energies, own in zip(test, beta, strict=True)
    ]
    ece = [(raw.ece.item(), fit.ece.item(), fit.ece_if_calibrated.item()) for raw, fit in tables]
    accuracy = [100 * raw.accuracy.item() for raw, _ in tables]
    return Measured(accuracy, beta, loss, ece, *chosen_right(test, beta, truth))


def trained(rows: slice, training: ImageDataset, seed: int) -> EnergyClassifier:
    """The system that sees the upper rows by likelihood, that of the lower by a margin."""
    pyro.set_rng_seed(seed)
    model = EnergyClassifier(rows)
    objective = Trace_ELBO() if rows == UPPER else margin_loss
    how = {"epochs": EPOCHS, "batch_size": 64, "optimizer": partial(torch.optim.Adam, lr=0.003), "compile": False}
    pyrometer.fit(model, nothing, training.batch(), objective=objective, seed=seed, progress=False, **how)
    return model


def chosen_right(
    energies: Sequence[Tensor], beta: Sequence[float], truth: Tensor
) -> tuple[int, dict[str, int], dict[str, float]]:
    """How many images one of two systems alone gets right; by rule, how many of them, and how many in all, it decides.

    Between two answers a rule takes that of the lower energy or the larger probability; the last two rules add
    energies, weighted by 1 or by beta, and may answer what neither system does.
    """
    answers = torch.stack([one.argmin(-1) for one in energies])
    one_right = (answers == truth).sum(0) == 1
    surest = {
        "lowest raw energy": torch.stack([-one.amin(-1) for one in energies]),
        "Gibbs, beta = 1": torch.stack([gibbs_probabilities(one).amax(-1) for one in energies]),
        "Gibbs, fitted beta": torch.stack(
            [gibbs_probabilities(one, b).amax(-1) for one, b in zip(energies, beta, strict=True)]
        ),
    }
    said = {rule: answers.gather(0, score.argmax(0)[None])[0] for rule, score in surest.items()}
    said["sum of raw energies"] = torch.stack(list(energies)).sum(0).argmin(-1)
    said["sum of beta E"] = torch.stack([b * one for one, b in zip(energies, beta, strict=True)]).sum(0).argmin(-1)
    picks = {rule: int((one == truth)[one_right].sum()) for rule, one in said.items()}
    return (
        int(one_right.sum()),
        picks,
        {rule: 100 * (one == truth).double().mean().item() for rule, one in said.items()},
    )


def report(measured: Sequence[Measured]) -> tuple[str, bool]:
    """Both tables, and whether scaling was of use."""
    rows = [
        [
            name,
            mean_and_spread([one.accuracy[i] for one in measured], 1),
            mean_and_spread([one.beta[i] for one in measured], 2),
            *(mean_and_spread([one.loss[i][j] for one in measured], 3) for j in (0, 1)),
            *(mean_and_spread([one.ece[i][j] for one in measured], 3) for j in (0, 1, 2)),
        ]
        for i, name in enumerate(SYSTEMS)
    ]
    header = ["system", "accuracy, %", "beta", "NLL at 1", "NLL at beta", "ECE at 1", "ECE at beta", "ECE by chance"]
    picks = [
        [
            rule,
            mean_and_spread([100 * one.picks[rule] / one.disagreements for one in measured], 1),
            mean_and_spread([one.overall[rule] for one in measured], 1),
        ]
        for rule in measured[0].picks
    ]
    disagreements = mean_and_spread([float(one.disagreements) for one in measured], 0)
    shown = f"{disagreements} images a seed that one system alone gets right"
    better = all(one.picks["Gibbs, fitted beta"] > one.picks["lowest raw energy"] for one in measured)
    lower = all(fitted < raw for one in measured for raw, fitted in one.loss)
    chosen = table(["chosen by", f"right of {shown}, %", "right of all, %"], picks)
    return f"{table(header, rows)}\n\n{chosen}", better and lower


def _loss(energies: Tensor, truth: Tensor, beta: float) -> float:
    return nn.functional.cross_entropy(-beta * energies, truth).item()


if __name__ == "__main__":
    sys.exit(main())
