"""The loop: a batch, a loss, a gradient, a step."""

import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from torch import Tensor

from .batches import Batches
from .compiled.build import Steps
from .compiled.engine import Engine
from .compiled.update_rule import next_rates
from .data import Batch
from .interrupts import Interrupts, noted_interrupts
from .nonfinite import NonFiniteWeightsError, explain
from .pair import Pair
from .progress import ProgressBar
from .random_state import default_generators, get_random_state, preserved_random_state, set_random_state
from .run import Row, RunDirectory

__all__ = ["Training"]

SECONDS_BETWEEN_CHECKPOINTS = 1.0
CONVERTED = 'the precision of the training converts numbers on the way; "32-true" and "bf16" do not'

Evaluate = Callable[[Batch, Mapping[str, float]], float]
"""A batch and the objective's numbers to the loss."""


@dataclass
class Training:
    """A training under way: what it works on, and how far it is.

    Attributes:
        pair: model, guide and objective.
        loss: of a batch with the objective's numbers, in the precision of the training.
        optimizer: a torch optimizer of the pair's parameters.
        fabric: Lightning's Fabric.
        batches: the data.
        epochs: where it ends; None if ``steps`` says so.
        steps: likewise.
        schedule: progress in [0, 1] to a factor on the learning rates.
        on_epoch: (model, guide) to numbers for the history.
        data_size: how many data the loss of a batch stands for; None: as many as the batch has rows.
        products: a block in which matrix products have the precision of the training.
        compile: whether steps are compiled.
        engine: what compiles them; None: all are plain.
    """

    pair: Pair
    loss: Callable[[Batch, Mapping[str, float]], Tensor]
    optimizer: Any
    fabric: Any
    batches: Batches
    epochs: int | None
    steps: int | None
    schedule: Callable[[float], float] | None
    on_epoch: Callable[[Any, Any], Mapping[str, float]] | None
    data_size: int | None
    products: Callable[[], AbstractContextManager] = nullcontext
    compile: bool | str = False
    engine: Engine | None = None
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    whole: bool = True  # no epoch has been cut short by `steps`
    history: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generators, self.interrupts = default_generators(self.fabric.device), Interrupts()
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

    def hindrance(self) -> str | None:
        """What stands in the way of compiled steps, whatever the programs are."""
        return None if self.loss is self.pair else CONVERTED

    def own_seconds(self, seconds: float) -> float:
        """Of the time that the loss of a whole batch takes, this process's."""
        return seconds

    @property
    def how(self) -> str:
        """How steps were taken, in a line."""
        return "plain steps" if self.engine is None else self.engine.report()

    def run(self, directory: RunDirectory | None, show: bool) -> None:
        """Train to the end; checkpoints go into the directory.

        Raises:
            KeyboardInterrupt: between two steps, where somebody has pressed Ctrl-C.
        """
        with noted_interrupts() as self.interrupts:
            self._run(directory, show)

    def _run(self, directory: RunDirectory | None, show: bool) -> None:
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
            "compile": self.compile,
            "shapes": None if self.engine is None else self.engine.state(),
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
        if self.engine is not None and state["shapes"] is not None:
            self.engine.load(state["shapes"])

    def _obey_interrupts(self) -> None:
        self.interrupts.obey()

    def _is_due(self, seconds: float) -> bool:
        return seconds >= SECONDS_BETWEEN_CHECKPOINTS

    def _epoch(self, bar: ProgressBar) -> None:
        """An epoch; or, where an epoch is one step, as many as can be taken in one call."""
        single, total, count, number, size = self.batches.steps == 1, 0.0, 0, 0, 1
        rates = [self.rates[0]]
        for group, steps in self._groups(self._epochs_ahead() if single else 1):
            losses, rates = self._take(group, steps, 0 if single else number)
            for batch, loss, rate in zip(group, losses, rates, strict=True):
                size = self.data_size or self.batches.size(batch)
                total, count, number = total + loss, count + size, number + 1
                self.step += 1
                if single:
                    self._end_epoch(total / count, rate)
                    total, count = 0.0, 0
            bar.update(self.step, self.epoch + (not single), losses[-1] / size, rates[-1])
            self._obey_interrupts()
        if number == 0:
            raise ValueError(f"data gave no batch in epoch {self.epoch + 1}: it must start anew in every epoch.")
        if not single:
            self.whole = self.step != self.steps or number == self.batches.steps
            self._end_epoch(total / count, rates[-1])

    def _end_epoch(self, loss: float, rate: float) -> None:
        self.epoch += 1
        row: Row = {"epoch": self.epoch, "steps": self.step, "loss": loss, "rate": rate}
        self.history.append({**row, **self._metrics(row)})
        if self.engine is not None and self.on_epoch is not None:
            self.engine.doubt()

    def _epochs_ahead(self) -> int:
        """How many epochs of one step may be taken before anybody looks."""
        if self.engine is None or self.on_epoch is not None:
            return 1
        return max(1, (self.total or 0) - self.step)

    def _groups(self, epochs: int) -> Iterator[tuple[list[Batch], Steps | None]]:
        """The batches of so many epochs, in lists that are taken in one call; ends early when a checkpoint is due."""
        coming = itertools.chain.from_iterable(self.batches.epoch(self.epoch + ahead) for ahead in range(epochs))
        if self.steps is not None:
            coming = itertools.islice(coming, self.steps - self.step)
        began = time.monotonic()
        group: list[Batch] = []
        steps: Steps | None = None
        for batch in coming:
            own = None if self.engine is None else self.engine.steps(batch, self._numbers(0))
            if group and own is not steps:
                yield group, steps
                group = []
            group.append(batch)
            steps = own
            if steps is None or len(group) == steps.most or not self.batches.ahead:
                yield group, steps
                group = []
                if epochs > 1 and time.monotonic() - began > SECONDS_BETWEEN_CHECKPOINTS:
                    return
        if group:
            yield group, steps

    def _take(self, group: list[Batch], steps: Steps | None, number: int) -> tuple[list[float], list[float]]:
        """Take a step for each batch; gives losses and rates. ``number`` batches of ``self.epoch`` are done."""
        if steps is None:
            rate = self._set_rates(self._progress(0))
            return [self._step(group[0], self._numbers(0), number)], [rate]
        before = [generator.get_state() for generator in self.generators]
        numbers = [self._numbers(ahead) for ahead in range(len(group))]
        rates = [self._rates(ahead, steps) for ahead in range(len(group))]
        losses = steps(group, numbers, rates)
        good = next((index for index, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if good is not None:
            self._back_to(before)
            steps.draw(good)
            self.optimizer.zero_grad()
            raise self._explained(group[good], numbers[good], losses[good], number + good)
        if steps.step.groups is None:
            self.optimizer.step()
        return losses, [rate[0] for rate in rates]

    def _step(self, batch: Batch, numbers: Mapping[str, float], number: int) -> float:
        value = self._gradient(self.plain_loss, batch, numbers, number)
        self.optimizer.step()
        return value

    def _gradient(self, evaluate: Evaluate, batch: Batch, numbers: Mapping[str, float], number: int) -> float:
        """The loss of a batch, which is finite; whatever evaluates it leaves its gradient somewhere."""
        before = [generator.get_state() for generator in self.generators]
        try:
            value = evaluate(batch, numbers)
        except (ArithmeticError, RuntimeError, ValueError):
            # Some programs fail before there is a loss, for example where they draw from NaN probabilities.
            if self.pair.non_finite() is None:
                raise
            value = math.nan
        if not math.isfinite(value):
            self._back_to(before)
            raise self._explained(batch, numbers, value, number)
        return value

    def plain_loss(self, batch: Batch, numbers: Mapping[str, float]) -> float:
        """The loss of a batch; its gradient is left in the parameters."""
        self.optimizer.zero_grad()
        with self.products():
            loss = self.loss(batch, numbers)
            if not self.pair.objective.accumulates:
                self.fabric.backward(loss)
        return loss.item()

    def plain_step(self, batch: Batch, numbers: Mapping[str, float]) -> float:
        """Take a step by that gradient, and give the loss, whatever it is."""
        value = self.plain_loss(batch, numbers)
        self.optimizer.step()
        return value

    def _explained(self, batch: Batch, numbers: Mapping[str, float], value: float, number: int) -> Exception:
        epoch, number = (self.epoch + number, 0) if self.batches.steps == 1 else (self.epoch, number)
        rows, place = self.batches.rows(epoch, number), (epoch + 1, number + 1)
        return explain(self.pair, lambda: self.loss(batch, numbers), batch, value, place, rows)

    def _back_to(self, states: list[Tensor]) -> None:
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state)

    def _numbers(self, ahead: int) -> dict[str, float]:
        return self.pair.objective.numbers(self._progress(ahead))

    def _rates(self, ahead: int, steps: Steps) -> list[float]:
        """The rate of every group at a step that comes."""
        self._set_rates(self._progress(ahead))
        if steps.step.groups is None:
            return [group["lr"] for group in self.optimizer.param_groups]
        return next_rates(self.optimizer)

    def _progress(self, ahead: int) -> float:
        if self.total is None:
            return self.epoch / (self.epochs or 1)
        return min((self.step + ahead) / self.total, 1.0)

    def _set_rates(self, progress: float) -> float:
        """The first group's rate, all having been set by the schedule if there is one."""
        if self.schedule is not None:
            factor = self.schedule(progress)
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
        return self.optimizer.param_groups[0]["lr"]

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
