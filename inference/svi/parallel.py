"""Training in several processes at once: each on its share of every batch, and all with the same weights."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .additivity import stands_for_all_data
from .compiled.build import Steps
from .compiled.shared_step import SharedStep
from .data import Batch
from .messages import told_error
from .pair import Pair
from .processes import Processes
from .random_state import noise_state, set_random_state
from .run import Row, RunDirectory
from .sharding import Share, share
from .shared_normalisation import SharedNormalisation
from .training import CONVERTED, Evaluate, Training

__all__ = ["ParallelTraining", "together"]


@dataclass
class ParallelTraining(Training):
    """A training under way in several processes.

    Before each step the gradients of all are summed, so that every process takes the step that a single one would take
    on the whole batch. Where one fails or is interrupted, it is between two steps of all that all raise its error.

    Attributes:
        processes: who takes part.
        seed: that of the training; with the rank it decides what is drawn in this process.
        weighted: a loss stands for all data, and that of a share for its part of them.
    """

    processes: Processes = field(kw_only=True)
    seed: int = field(kw_only=True)
    weighted: bool = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parameters = self.pair.trainable()
        self.normalisation = SharedNormalisation(self.pair, self.processes)
        self.own_loss, self.loss = self.loss, self._shared_loss
        self.first_look = True
        if self.processes.rank > 0:
            set_random_state(noise_state(self.seed, self.processes.rank))

    def _run(self, directory: RunDirectory | None, show: bool) -> None:
        super()._run(directory, show and self.processes.rank == 0)  # the first process writes and shows
        self.processes.total(0.0, self._interrupt())

    def _obey_interrupts(self) -> None:
        """All stop together, at the sum of their losses."""

    def hindrance(self) -> str | None:
        """What stands in the way of compiled steps: also that processes would have to meet within a graph."""
        if self.processes.device.type != "cpu":
            return "several processes take compiled steps on CPUs alone"
        return None if self.own_loss is self.pair else CONVERTED

    def own_seconds(self, seconds: float) -> float:
        """By the rows of the first process, whose share is the largest; of the handlers' time each has all."""
        whole = self.batches.samples()[0]
        fraction = share(whole, 0, self.processes.count).fraction
        return self.processes.told(lambda: seconds * fraction)

    def state(self) -> dict[str, Any]:
        """What the rest of the training depends on, with the random state of every process."""
        state = super().state()
        first, *others = self.processes.gathered(state["random"])
        return {**state, "random": first, "random_of_others": others}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, of as many processes or of others; a process without a state there draws anew."""
        states = [state["random"], *state.get("random_of_others", [])]
        rank = self.processes.rank
        own = states[rank] if rank < len(states) else noise_state(self.seed, rank, state["step"])
        super().load({**state, "random": own})

    def _epochs_ahead(self) -> int:
        return 1  # by the clock of a process more might be taken, which is another in each

    def _is_due(self, seconds: float) -> bool:
        return super()._is_due(self.processes.gathered_numbers(seconds)[0].item())  # one clock for all

    def _take(self, group: list[Batch], steps: Steps | None, number: int) -> tuple[list[float], list[float]]:
        if steps is None:
            return super()._take(group, steps, number)
        assert isinstance(steps, SharedStep)
        numbers, rates = self._numbers(0), self._rates(0, steps)
        value, error = self._attempt(functools.partial(self._by_graph, steps), group[0], numbers, number)
        total = steps.exchange.total(value, error or self._interrupt())
        steps.update(rates)
        if steps.step.groups is None:
            self.optimizer.step()
        return [total], [rates[0]]

    def _by_graph(self, steps: SharedStep, batch: Batch, numbers: Mapping[str, float]) -> float:
        self.first_look = False
        return steps.gradient(batch, numbers)

    def plain_step(self, batch: Batch, numbers: Mapping[str, float]) -> float:
        """A step by the share of this process alone."""
        self.first_look = False
        return super().plain_step(batch, numbers)

    def _gradient(self, evaluate: Evaluate, batch: Batch, numbers: Mapping[str, float], number: int) -> float:
        value, error = self._attempt(evaluate, batch, numbers, number)
        total = self.processes.total(value, error or self._interrupt())
        self.processes.sum_gradients(self.parameters)
        return total

    def _attempt(
        self, evaluate: Evaluate, batch: Batch, numbers: Mapping[str, float], number: int
    ) -> tuple[float, BaseException | None]:
        """The loss of this share and no error; or an error, which all are to be told of, since they would wait."""
        self.first_look = True
        try:
            self._check_normalised(batch)
            return super()._gradient(evaluate, batch, numbers, number), None
        except BaseException as raised:
            told = told_error(raised)
            if told is not None:  # to all of them
                raise told from None
            return 0.0, raised

    def plain_loss(self, batch: Batch, numbers: Mapping[str, float]) -> float:
        """The part that a share has in the loss of the batch; its gradient is left in the parameters."""
        if _fraction(batch) == 0:
            self.optimizer.zero_grad()
            return 0.0
        value = super().plain_loss(batch, numbers)
        if not self.pair.objective.accumulates:
            return value
        weight = self.weight(batch)  # such a loss has gradients before it can be weighted
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad *= weight
        return weight * value

    def _shared_loss(self, batch: Batch, numbers: Mapping[str, float]) -> Tensor:
        # When a loss that is not finite is looked into, the other processes are elsewhere.
        look, self.first_look = self.first_look, False
        with self.normalisation.over_all_rows(look):
            loss = self.own_loss(dict(batch), numbers)  # Fabric makes another of its type to convert it
        return loss if self.pair.objective.accumulates else self.weight(batch) * loss

    def weight(self, batch: Batch) -> float:
        """That of the loss of a share in the loss of the batch."""
        return _fraction(batch) if self.weighted else 1.0

    def _check_normalised(self, batch: Batch) -> None:
        if self.normalisation.layers and self.batches.size(batch) < self.processes.count:
            raise ValueError(
                f"a batch has {self.batches.size(batch)} rows for {self.processes.count} processes, of which each must "
                "have one where a network normalises over them: choose another batch size, so that the last batch has "
                "more, or fewer processes."
            )

    def _metrics(self, row: Row) -> Row:
        return {} if self.on_epoch is None else self.processes.told(lambda: super(ParallelTraining, self)._metrics(row))

    def _interrupt(self) -> KeyboardInterrupt | None:
        return KeyboardInterrupt() if self.interrupts.noted else None


def together(
    processes: Processes, pair: Pair, objective: Any, samples: list[Batch], seed: int
) -> Callable[..., Training]:
    """Give the pair the weights that it has in the first process, and say how its training is begun in all of them.

    Raises:
        ValueError: the weights differ in shape, or the objective cannot be shared.
    """
    tensors = {**pair.leaves(), **dict(pair.named_buffers())}
    processes.agree({"weights": {name: list(tensor.shape) for name, tensor in tensors.items()}})
    processes.spread(list(tensors.values()))
    weighted = processes.told(lambda: stands_for_all_data(pair, objective, samples, processes.count))
    return functools.partial(ParallelTraining, processes=processes, seed=seed, weighted=weighted)


def _fraction(batch: Batch) -> float:
    return batch.fraction if isinstance(batch, Share) else 1.0
