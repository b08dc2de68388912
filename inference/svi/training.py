"""The loop: a batch, a loss, a gradient, a step."""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from torch import Tensor

from .batches import Batches
from .data import Batch
from .nonfinite import NonFiniteWeightsError, explain
from .pair import Pair
from .progress import ProgressBar
from .random_state import default_generators, get_random_state, preserved_random_state, set_random_state
from .run import Row, RunDirectory

__all__ = ["Training"]

SECONDS_BETWEEN_CHECKPOINTS = 1.0


@dataclass
class Training:
    """A training under way: what it works on, and how far it is.

    Attributes:
        pair: model, guide and objective.
        loss: of a batch at a progress, in the precision of the training.
        optimizer: a torch optimizer of the pair's parameters.
        fabric: Lightning's Fabric.
        batches: the data.
        epochs: where it ends; None if ``steps`` says so.
        steps: likewise.
        schedule: progress in [0, 1] to a factor on the learning rates.
        on_epoch: (model, guide) to numbers for the history.
        data_size: how many data the loss of a batch stands for; None: as many as the batch has rows.
    """

    pair: Pair
    loss: Callable[[Batch, float], Tensor]
    optimizer: Any
    fabric: Any
    batches: Batches
    epochs: int | None
    steps: int | None
    schedule: Callable[[float], float] | None
    on_epoch: Callable[[Any, Any], Mapping[str, float]] | None
    data_size: int | None
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    whole: bool = True  # no epoch has been cut short by `steps`
    history: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generators = default_generators(self.fabric.device)
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.total = self.steps
        if self.epochs is not None and self.batches.steps is not None:
            self.total = self.epochs * self.batches.steps

    @property
    def finished(self) -> bool:
        """All epochs or all steps are done."""
        return self.step == self.steps if self.epochs is None else self.epoch == self.epochs

    @property
    def uses_progress(self) -> bool:
        """Something depends on how much of the training is done, and so on its length."""
        return self.schedule is not None or self.pair.objective.uses_progress

    def run(self, directory: RunDirectory | None, show: bool) -> None:
        """Train to the end; checkpoints go into the directory."""
        started, saved = time.monotonic() - self.seconds, time.monotonic()
        with _without_validation(), ProgressBar(show, self.total, self.step) as bar:
            while not self.finished:
                self._epoch(bar)
                now = time.monotonic()
                self.seconds = now - started
                if self.finished or self._is_due(now - saved):
                    self.save(directory)
                    saved = now

    def save(self, directory: RunDirectory | None) -> None:
        """Write a checkpoint into the directory, if there is one, and raise if a weight is not finite."""
        weight = self.pair.non_finite()
        if weight is not None:
            raise NonFiniteWeightsError(
                f"the weight {weight} is not finite after epoch {self.epoch}, though the loss was: the gradient was "
                "not. Lower the learning rate or clip gradients."
            )
        if directory is not None:
            directory.save(self.epoch, self.history, self.state())

    def state(self) -> dict[str, Any]:
        """What the rest of the training depends on."""
        generator = self.batches.generator
        return {
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "whole": self.whole,
            "weights": self.pair.weights(),
            "optimizer": self.optimizer.state_dict(),
            "random": get_random_state(),
            "generator": None if generator is None else generator.get_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint: a state, and the history up to it."""
        generator = self.batches.generator
        if (generator is None) != (state["generator"] is None):
            raise ValueError(
                "data must be a loader with a generator of its own if, and only if, the run began with one."
            )
        self.pair.load(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        set_random_state(state["random"])
        if generator is not None:
            generator.set_state(state["generator"])
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.whole, self.history = state["whole"], state["history"]

    def _is_due(self, seconds: float) -> bool:
        return seconds >= SECONDS_BETWEEN_CHECKPOINTS

    def _epoch(self, bar: ProgressBar) -> None:
        total, count, number, rate = 0.0, 0, 0, self.rates[0]
        for number, batch in enumerate(self.batches.epoch(self.epoch), start=1):
            progress = self._progress()
            if self.schedule is not None:
                rate = self._set_rates(self.schedule(progress))
            loss = self._step(batch, progress, number)
            size = self.data_size or self.batches.size(batch)
            total, count = total + loss, count + size
            self.step += 1
            bar.update(self.step, self.epoch + 1, loss / size, rate)
            if self.step == self.steps:
                self.whole = number == self.batches.steps
                break
        if number == 0:
            raise ValueError(f"data gave no batch in epoch {self.epoch + 1}: it must start anew in every epoch.")
        self.epoch += 1
        row: Row = {"epoch": self.epoch, "steps": self.step, "loss": total / count, "rate": rate}
        self.history.append({**row, **self._metrics(row)})

    def _step(self, batch: Batch, progress: float, number: int) -> float:
        value = self._gradient(batch, progress, number)
        self.optimizer.step()
        return value

    def _gradient(self, batch: Batch, progress: float, number: int) -> float:
        before = [generator.get_state() for generator in self.generators]
        self.optimizer.zero_grad()
        try:
            loss = self.loss(batch, progress)
            if not self.pair.objective.accumulates:
                self.fabric.backward(loss)
            value = loss.item()
        except (ArithmeticError, RuntimeError, ValueError):
            # Some programs fail before there is a loss, for example where they draw from NaN probabilities.
            if self.pair.non_finite() is None:
                raise
            value = math.nan
        if not math.isfinite(value):
            for generator, state in zip(self.generators, before, strict=True):
                generator.set_state(state)
            rows, place = self.batches.rows(self.epoch, number - 1), (self.epoch + 1, number)
            raise explain(self.pair, lambda: self.loss(batch, progress), batch, value, place, rows)
        return value

    def _progress(self) -> float:
        if self.total is None:
            return self.epoch / (self.epochs or 1)
        return min(self.step / self.total, 1.0)

    def _set_rates(self, factor: float) -> float:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        return self.rates[0] * factor

    def _metrics(self, row: Row) -> Row:
        if self.on_epoch is None:
            return {}
        self.pair.eval()
        with preserved_random_state(), torch.no_grad():
            metrics = self.on_epoch(*self.pair.programs)
        self.pair.train()
        if not isinstance(metrics, Mapping) or row.keys() & metrics.keys():
            raise ValueError(
                f"on_epoch must give a dict of numbers with names other than {list(row)}, got {metrics!r}."
            )
        return {name: value.item() if isinstance(value, Tensor) else float(value) for name, value in metrics.items()}


@contextmanager
def _without_validation() -> Iterator[None]:
    # What Pyro warns of, a NaN loss, raises here.
    with pyro.validation_enabled(False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Encountered NaN", category=UserWarning)
        yield
