"""The time of annealing against the matrix multiplications that it cannot do without.

`python -m benchmarks.annealing` writes its table into docs/results.md. A transition of one chain at one datum needs the
decoder's layers once forwards and once backwards to the code: two multiplications a layer, and none for the weights.
These are timed alone, in the same process and in turn with the transitions, at the same number of rows.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import pyrometer
from pyrometer.inference.energy.annealing import anneal, bridge, choose_evaluator
from pyrometer.inference.energy.hmc import Evaluate, State, piece_size, start
from pyrometer.inference.energy.landscape import Landscape, landscape
from pyrometer.inference.energy.starts import prior_start
from pyrometer.models import VAE

from .results_page import PAGE, provenance, table, write_block

__all__ = ["main", "matrix_work", "report"]

BLOCK = 10
"""Temperatures timed at once."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.annealing", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=int, default=50, help="images")
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=25, help="how often each is timed, in turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    text = report(chosen.data, chosen.chains, chosen.blocks)
    write_block(chosen.results, "annealing", f"{text}\n\n{provenance('benchmarks.annealing')}")
    print(text)


def report(data: int, chains: int, blocks: int) -> str:
    """The tables: transitions against their floor, and how the cost grows."""
    torch.manual_seed(0)
    model = VAE(latents=50).eval().requires_grad_(False)
    rows = [_row(model, data, chains, blocks, compiling) for compiling in (False, True)]
    header = ["transition", "microseconds a chain and datum", "multiplications alone", "ratio", "quartiles"]
    growth = _growth(model, data, chains, blocks)
    rate = rows[0][-1]
    return (
        table(header, [row[:-1] for row in rows])
        + f"\n\nVAE 784-200-200-50, {data} images, {chains} chains, float32; the multiplications ran at {rate} GFLOP/s."
        + f"\n\n{growth}"
    )


def matrix_work(decoder: nn.Module, rows: int) -> tuple[float, Callable[[], None]]:
    """The floating-point operations of one evaluation with its gradient at ``rows`` codes, and a run of them."""
    layers = [module for module in decoder.modules() if isinstance(module, nn.Linear)]
    inputs = [torch.randn(rows, layer.in_features) for layer in layers]
    outputs = [torch.randn(rows, layer.out_features) for layer in layers]

    def multiply() -> None:
        for layer, value, gradient in zip(layers, inputs, outputs, strict=True):
            torch.mm(value, layer.weight.T)
            torch.mm(gradient, layer.weight)

    return sum(4.0 * rows * layer.in_features * layer.out_features for layer in layers), multiply


def _landscape(model: VAE, data: int) -> Landscape:
    image = (torch.rand(data, *model.shape) < 0.2).float()
    return landscape(pyrometer.EnergyView(model).bind(image).program, {})


def _prepared(model: VAE, data: int, chains: int, compiling: bool) -> tuple[State, Tensor, Tensor, Evaluate]:
    """Chains at the prior, with coefficients and step sizes of one block of temperatures."""
    land = _landscape(model, data)
    path = bridge(land, prior_start(land), 1.0, "lebesgue")
    u = path.start.draw(chains)
    evaluate, _ = choose_evaluator(path.components, u, BLOCK, compiling)
    coefficients = torch.linspace(0, 0.01, BLOCK + 1, dtype=torch.float64)
    return start(u, evaluate), coefficients, torch.full((BLOCK, data, model.latents), 0.1), evaluate


def _row(model: VAE, data: int, chains: int, blocks: int, compiling: bool) -> list[str]:
    state, coefficients, steps, evaluate = _prepared(model, data, chains, compiling)
    pieces = -(-chains // piece_size(state.u))
    work, multiply = matrix_work(model.decoder, data * chains // pieces)
    moves: list[float] = []
    floors: list[float] = []
    for _ in range(blocks):
        began = time.perf_counter()
        anneal(state, coefficients, steps, evaluate)
        between = time.perf_counter()
        for _ in range(BLOCK * pieces):
            multiply()
        moves.append(between - began)
        floors.append(time.perf_counter() - between)
    ratios = sorted(move / floor for move, floor in zip(moves, floors, strict=True))
    each = 1e6 / (BLOCK * data * chains)
    low, middle, high = statistics.quantiles(ratios, n=4)
    rate = work * BLOCK * pieces / statistics.median(floors) / 1e9
    return [
        "compiled" if compiling else "as written",
        f"{each * statistics.median(moves):.2f}",
        f"{each * statistics.median(floors):.2f}",
        f"{middle:.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{rate:.0f}",
    ]


def _growth(model: VAE, data: int, chains: int, blocks: int) -> str:
    """Time of twice the data, and of twice the chains, over the time of one."""
    cases = {"once": (data, chains), "data": (2 * data, chains), "chains": (data, 2 * chains)}
    prepared = {name: _prepared(model, *case, compiling=False) for name, case in cases.items()}
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(blocks):
        for name, ready in prepared.items():
            began = time.perf_counter()
            anneal(*ready)
            times[name].append(time.perf_counter() - began)
    once, more_data, more_chains = (statistics.median(values) for values in times.values())
    return (
        f"As written, twice the images take {more_data / once:.2f} times as long, and twice the chains "
        f"{more_chains / once:.2f} times; the time is proportional to the number of temperatures by construction."
    )


if __name__ == "__main__":
    main()
