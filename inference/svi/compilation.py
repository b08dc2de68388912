"""Whether a training takes compiled steps: what was asked for, whether it pays, and what stands in the way."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from ..energy.compiled import COMPILING_SECONDS
from .compiled import Engine
from .compiled.budget import affordable
from .compiled.products import faster_products
from .compiled.self_check import Plain
from .data import Batch
from .training import Training

__all__ = ["check_compile", "decide_on_compiling", "worthwhile"]

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


def decide_on_compiling(training: Training, compile: bool | str, asked: bool, loss_seconds: float) -> None:
    """Give the training an engine, or none.

    Args:
        training: its ``compile`` and ``engine`` are set; the first is what a resumed run is to be given again.
        compile: True, False, or "auto", where it is to pay.
        asked: whether this call has asked for compiled steps, so that a refusal is a warning.
        loss_seconds: what an evaluation of the loss took.
    """
    alone = training.fabric.world_size == 1
    if compile == "auto":
        compile = alone and worthwhile(STEP_PER_LOSS * loss_seconds, training.total)
    training.compile, training.engine = bool(compile), _engine(training, asked) if compile else None
    if training.engine is None:
        return
    if not asked and training.total is not None:
        training.engine.most = affordable(_saved(STEP_PER_LOSS * loss_seconds, training.total))
    if not alone:
        training.engine.refuse("several processes take each step together")
    elif training.loss is not training.pair:
        training.engine.refuse('the precision of the training converts numbers on the way; "32-true" and "bf16" do not')


def worthwhile(step_seconds: float, steps: int | None) -> bool:
    """Whether compiling pays for itself over so many steps, each of which takes so long plainly."""
    return steps is not None and _saved(step_seconds, steps) > COMPILING_SECONDS


def _saved(step_seconds: float, steps: int) -> float:
    """The seconds that compiled steps save."""
    python = min(step_seconds, PYTHON_SECONDS)
    return steps * (0.9 * python + 0.3 * (step_seconds - python))


def _engine(training: Training, asked: bool) -> Engine:
    def plain(batch: Batch, numbers: Mapping[str, float]) -> float:
        value = training.plain_loss(batch, numbers)
        training.optimizer.step()
        return value

    rounded = training.products is not nullcontext
    return Engine(
        Plain(training.pair, training.optimizer, plain),
        "bf16" if rounded else faster_products(),
        repeats=training.batches.steps == 1 and training.batches.ahead,
        tolerance=ROUNDED_TOLERANCE if rounded else TOLERANCE,
        asked=asked,
    )
