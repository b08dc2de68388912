"""One x, many outcomes: draws of models of the horn and the falling pen, and a regressor's answers, beside data.

`python -m benchmarks.outcomes` writes its tables into docs/results.md. Draws are compared with fresh data by the energy
distance, whose null distribution is that of permutations. Exits with 1 where no training of a latent angle gives draws
that are off, on average over seeds, by less than twice what fresh data are, or a regressor is by less than ten times.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor, nn

from pyrometer import EnergyView, Marginalised, Minimised, fit
from pyrometer.data import horn, horn_radii, pen
from pyrometer.guides import ConditionalAngle
from pyrometer.inference.diagnostics import energy_distance
from pyrometer.models import Horn, MixtureDensity
from pyrometer.networks import CurveDecoder, RadiiDecoder, mlp

from .circles import circle
from .results_page import PAGE, mean_and_spread, provenance, table, write_block

__all__ = ["Answer", "main", "regression", "trainings"]

SIZE, RATE, PERMUTATIONS, JUDGED = 1000, 0.02, 300, 200

SIMULATED: dict[str, Callable[..., dict[str, Tensor]]] = {"horn": horn, "pen": pen}

Data = dict[str, Tensor]
Draw = Callable[[Tensor], Tensor]


class Answer(NamedTuple):
    """How outcomes are answered for given x, and minus the log density by datum, in nats, where there is one."""

    draw: Draw
    energy: Callable[[Data], float] = lambda _: math.nan


def trainings(name: str) -> dict[str, Callable[[Data, int], Answer]]:
    """What is compared on the horn or the pen, each trained on data by a seed."""
    ways: dict[str, Callable[[Data, int], Answer]] = {
        "the true program": partial(_truth, horn_radii if name == "horn" else lambda x: torch.ones(*x.shape, 2)),
        "mean squared error, its answer": regression,
        "mixture density, 16 components": partial(_mixture, 16, 5.0 if name == "horn" else 1.0),
    }
    if name == "horn":
        ways["angle, radii, minimised"] = partial(_angle, RadiiDecoder, Minimised(circle(2048)))
        ways["angle, radii, marginalised"] = partial(_angle, RadiiDecoder, Marginalised(circle(2048)))
        ways["angle, radii, amortised"] = partial(_angle, RadiiDecoder, None)
        return ways | {"angle, curve, amortised": partial(_angle, CurveDecoder, None)}
    for suffix, beta in (("", 1.0), (", cooled", _cooling)):
        ways[f"angle, curve, marginalised{suffix}"] = partial(
            _angle, CurveDecoder, Marginalised(circle(512)), beta=beta
        )
        ways[f"angle, curve, amortised{suffix}"] = partial(_angle, CurveDecoder, None, beta=beta)
    return ways


def regression(data: Data, seed: int) -> Answer:
    """A network of x, trained on the mean squared error, and what it answers."""
    torch.manual_seed(seed)
    network = mlp(1, 32, 32, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    for _ in range(600):
        optimizer.zero_grad()
        (network(data["x"].unsqueeze(-1)) - data["point"]).square().mean().backward()
        optimizer.step()
    return Answer(lambda x: network(x.unsqueeze(-1)).detach())


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outcomes", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", nargs="+", default=list(SIMULATED), choices=list(SIMULATED))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the tables")
    chosen = parser.parse_args()
    good = True
    for name in chosen.data:
        text, fine = _report(name, chosen.seeds)
        text = f"{text}\n\n{WORDS}\n\n{provenance('benchmarks.outcomes')}"
        write_block(chosen.results, f"outcomes of the {name}", text)
        print(text)
        good &= fine
    return 0 if good else 1


WORDS = f"""Mean ± standard deviation over seeds. Each is trained on {SIZE} points and answers {SIZE} x; answers (x, y)
are compared with {SIZE} fresh points, each coordinate in units of its standard deviation. The energy distance is
squared and biased, so that between fresh data and fresh data it is not 0 but as much as the mean of {PERMUTATIONS}
permutations, which is what it is divided by in the next column; then in how many seeds a permutation test rejects at
5 %. -log p is that of {JUDGED} fresh points, in nats a point.
Angles are drawn, and fresh points too, alike in all rows of a seed, so that rows share their luck. Cooled is from
beta = 0.01 to 1 over the first half of the training."""


def _report(name: str, seeds: Sequence[int]) -> tuple[str, bool]:
    """A table, and whether it shows what it should."""
    rows, ratios = [], {}
    for way, train in trainings(name).items():
        found = [_judged(train, SIMULATED[name], seed) for seed in seeds]
        ratios[way] = statistics.mean(row[1] for row in found)
        rows.append([way, *_cells(found)])
        print(name, rows[-1], flush=True)
    good = ratios["mean squared error, its answer"] > 10 and min(r for w, r in ratios.items() if "angle" in w) < 2
    header = ["answers", "energy distance x 1000", "times fresh data's", "p below 0.05", "fresh -log p"]
    return table(header, rows), good


def _judged(train: Callable[[Data, int], Answer], simulate: Callable[..., Data], seed: int) -> list[float]:
    """The energy distance, its ratio to the mean under permutations, whether p is below 0.05, and -log p."""
    answer = train(simulate(SIZE, seed), seed)
    fresh, elsewhere = simulate(SIZE, seed + 1000), simulate(SIZE, seed + 2000)["x"]
    pyro.set_rng_seed(seed)
    given = torch.cat([elsewhere.unsqueeze(-1), answer.draw(elsewhere)], -1)
    truth = torch.cat([fresh["x"].unsqueeze(-1), fresh["point"]], -1)
    unit = truth.std(0).clamp(min=1e-6)
    found = energy_distance(given / unit, truth / unit, PERMUTATIONS)
    first = {name: value[:JUDGED] for name, value in fresh.items()}
    return [found.value, found.ratio, float(found.p < 0.05), answer.energy(first)]


def _truth(radii: Callable[[Tensor], Tensor], data: Data, seed: int) -> Answer:  # noqa: ARG001 - as trainings are called
    return _answer(Horn(_Known(radii)))


class _Known(RadiiDecoder):
    """A decoder whose radii are known."""

    def __init__(self, known: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.known = known

    def radii(self, x: Tensor) -> Tensor:
        return self.known(x)


def _answer(model: Horn) -> Answer:
    def energy(fresh: Data) -> float:
        return EnergyView(model).bind(**fresh).free_energy().value.item() / JUDGED

    return Answer(lambda x: model(x=x).detach(), energy)


def _angle(decoder: Callable[[], nn.Module], objective: Any, data: Data, seed: int, beta: Any = 1.0) -> Answer:
    pyro.set_rng_seed(seed)
    model, guide = Horn(decoder()), None if objective else ConditionalAngle(hidden=64)
    # Without a guide there is no noise of its draws, and a step is slower.
    _fitted(model, guide, data, {"objective": objective, "beta": beta, "seed": seed}, 3000 if guide else 600)
    return _answer(model)


def _mixture(components: int, spread: float, data: Data, seed: int) -> Answer:
    pyro.set_rng_seed(seed)
    model = MixtureDensity(components, spread=spread)
    summed = Marginalised({"component": torch.arange(components)})
    _fitted(model, None, data, {"objective": summed, "seed": seed}, 1500)
    return Answer(lambda x: model(x=x).detach(), lambda fresh: -model.log_evidence(**fresh).mean().item())


def _fitted(model: nn.Module, guide: Any, data: Data, how: dict[str, Any], steps: int) -> None:
    how |= {"batch_size": 64, "progress": False, "compile": False, "schedule": _decay}
    fit(model, guide, data, steps=steps, optimizer=partial(torch.optim.Adam, lr=RATE), **how)


def _cooling(progress: float) -> float:
    """From a hundredth to 1 over the first half."""
    return 0.01 ** max(0.0, 1 - 2 * progress)


def _decay(progress: float) -> float:
    return min(1.0, 2 * (1 - progress))


def _cells(rows: Sequence[Sequence[float]]) -> list[str]:
    distance, ratio, rejected, energy = (list(column) for column in zip(*rows, strict=True))
    spans = [mean_and_spread([1000 * d for d in distance], 2), mean_and_spread(ratio, 2)]
    return [*spans, f"{sum(rejected):.0f} of {len(rows)}", "-" if math.isnan(energy[0]) else mean_and_spread(energy, 2)]


if __name__ == "__main__":
    sys.exit(main())
