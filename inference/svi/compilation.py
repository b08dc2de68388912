"""Whether a training takes compiled steps: what was asked for, whether it pays, and what stands in the way."""

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from ..compiler import too_old, untested
from ..energy.user_code import warn_caller
from .compiled import Engine
from .compiled.budget import affordable
from .compiled.products import Products, faster_products
from .compiled.self_check import Plain
from .compiled.shared_engine import SharedEngine
from .parallel import ParallelTraining
from .training import Training

__all__ = ["check_compile", "decide_on_compiling", "worthwhile"]

COMPILING_SECONDS = 15.0
"""Until the first compiled step, with nothing on disk: 10 to 20 on two cores (`python -m benchmarks.first_step`)."""
STEP_PER_LOSS = 3
"""A step against an evaluation of its loss: forwards, and twice as much backwards."""
PYTHON_SECONDS = 0.003
"""Of a plain step, about the time that goes into handlers: all but a tenth of it is saved, and a third of the rest."""
TOLERANCE, ROUNDED_TOLERANCE = 1e-4, 1e-2
"""Of the loss of a compiled step against a plain one, relative: in float32, and with products in bfloat16."""


def check_compile(compile: Any) -> None:
    """True, False or "auto"."""
    if compile not in (True, False, "auto"):
        raise ValueError(f'compile must be True, False or "auto", got {compile!r}.')


def decide_on_compiling(
    training: Training, compile: bool | str, asked: bool, loss_seconds: float, again: Callable[[], float]
) -> None:
    """Give the training an engine, or none.

    Args:
        training: its ``compile`` and ``engine`` are set; the first is what a resumed run is to be given again.
        compile: True, False, or "auto", where it is to pay.
        asked: whether this call has asked for compiled steps, so that a refusal is a warning.
        loss_seconds: what the first evaluation of the loss took, which is the slowest.
        again: evaluates it once more, and gives the seconds.
    """
    if compile == "auto":
        compile = worthwhile(STEP_PER_LOSS * training.own_seconds(loss_seconds), training.total)
        if compile:
            loss_seconds = min(loss_seconds, again())
            compile = worthwhile(STEP_PER_LOSS * training.own_seconds(loss_seconds), training.total)
    training.compile, training.engine = bool(compile), _engine(training, asked) if compile else None
    if training.engine is None:
        return

    if asked and (warning := untested()):
        warn_caller(f"fit is asked for compiled steps, and {warning}.")
    hindrance = too_old() or training.hindrance()
    if hindrance is not None:
        training.engine.refuse(hindrance)
    if not asked and training.total is not None:
        training.engine.most = affordable(_saved(STEP_PER_LOSS * training.own_seconds(loss_seconds), training.total))


def worthwhile(step_seconds: float, steps: int | None) -> bool:
    """Whether compiling pays for itself over so many steps, each of which takes so long plainly."""
    return steps is not None and _saved(step_seconds, steps) > COMPILING_SECONDS


def _saved(step_seconds: float, steps: int) -> float:
    """The seconds that compiled steps save."""
    python = min(step_seconds, PYTHON_SECONDS)
    return steps * (0.9 * python + 0.3 * (step_seconds - python))


def _engine(training: Training, asked: bool) -> Engine:
    rounded, kind = training.products is not nullcontext, Engine
    faster: Products = "bf16"
    if isinstance(training, ParallelTraining):
        kind = functools.partial(SharedEngine, training.processes, training.weight, training.normalisation)
        faster = training.processes.told(faster_products)
    elif not rounded:
        faster = faster_products()
    return kind(
        plain=Plain(training.pair, training.optimizer, training.plain_step),
        products="bf16" if rounded else faster,
        repeats=training.batches.steps == 1 and training.batches.ahead,
        tolerance=ROUNDED_TOLERANCE if rounded else TOLERANCE,
        asked=asked,
    )
