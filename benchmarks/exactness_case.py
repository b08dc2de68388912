"""One shape of program and objective, trained twice from the same seed: by plain steps, and by compiled ones."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor

from pyrometer import fit

__all__ = ["ADAM", "STEPS", "Case", "Compared", "Trained", "compared", "differences", "trained"]

STEPS = 30
SEED = 3
ADAM = functools.partial(torch.optim.Adam, lr=0.02)
NOISE = 1e-5
"""An element whose gradient never exceeds this part of the largest of its step has no digit of it right in float32."""


class Case(NamedTuple):
    """What is trained, and how: the arguments of ``fit``."""

    model: Callable
    guide: Callable | None
    data: Any
    options: dict[str, Any] = {}  # noqa: RUF012 - nobody writes to it


class Trained(NamedTuple):
    """What a training has reached.

    Attributes:
        losses: of its epochs.
        parameters: unconstrained, in the order in which the optimizer has them.
        moved: of each of their elements, the largest gradient of a plain step, over the largest of that step.
        engine: how steps were taken.
    """

    losses: Tensor
    parameters: list[Tensor]
    moved: list[Tensor]
    engine: str


class Compared(NamedTuple):
    """A compiled training beside the plain one.

    Attributes:
        engine: how its steps were taken.
        losses: the largest relative difference of a loss.
        parameters: the largest over the parameters of |a - b| / |b|, in norms.
        left_out: elements whose gradient is rounding error, as that of a bias before a normalisation: Adam makes a
            whole step of it, of a sign that means nothing. They are in no norm.
        elements: of all parameters.
    """

    engine: str
    losses: float
    parameters: float
    left_out: int
    elements: int


def trained(build: Callable[[], Case], compile: bool, steps: int = STEPS) -> Trained:
    """Make a case from its seed and train it. Pyro's store is empty afterwards."""
    held: list[list[Tensor]] = []
    moved: list[Tensor] = []
    pyro.clear_param_store()
    pyro.set_rng_seed(SEED)
    case = build()
    options = {"optimizer": ADAM, "seed": SEED, "steps": steps, "progress": False, **case.options}
    factory = options.pop("optimizer")

    def optimizer(parameters: list[Tensor]) -> torch.optim.Optimizer:
        held.append(parameters)
        moved.extend(torch.zeros_like(parameter) for parameter in parameters)
        built = factory(parameters)
        if not compile:
            built.register_step_pre_hook(lambda *_: _note(parameters, moved))
        return built

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what falls back; ``engine`` says so
        result = fit(case.model, case.guide, case.data, optimizer=optimizer, compile=compile, **options)
    parameters = [parameter.detach().clone() for parameter in held[0]]
    pyro.clear_param_store()
    losses = torch.tensor([row["loss"] for row in result.history], dtype=torch.float64)
    return Trained(losses, parameters, moved, result.engine)


def compared(build: Callable[[], Case], steps: int = STEPS) -> Compared:
    """Train a case in both ways, and compare."""
    return differences(trained(build, compile=False, steps=steps), trained(build, compile=True, steps=steps))


def differences(plain: Trained, other: Trained) -> Compared:
    """How far a training is from the plain one."""
    losses = ((other.losses - plain.losses) / plain.losses).abs().max().item()
    worst, left_out = 0.0, 0
    for a, b, moved in zip(other.parameters, plain.parameters, plain.moved, strict=True):
        noise = (moved > 0) & (moved <= NOISE)
        left_out += int(noise.sum())
        off, size = (a - b)[~noise].norm().item(), b[~noise].norm().item()
        worst = max(worst, off / size if off else 0.0)
    return Compared(other.engine, losses, worst, left_out, sum(one.numel() for one in plain.parameters))


def _note(parameters: list[Tensor], moved: list[Tensor]) -> None:
    gradients = [torch.zeros_like(one) if one.grad is None else one.grad.abs() for one in parameters]
    largest = max(gradient.max().item() for gradient in gradients)
    for gradient, most in zip(gradients, moved, strict=True):
        torch.maximum(most, gradient / largest, out=most)
