"""Training in several processes at once: each on its share of every batch, and all with the same weights."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .additivity import stands_for_all_data
from .data import Batch
from .messages import told_error
from .pair import Pair
from .processes import Processes
from .random_state import noise_state, set_random_state
from .run import Row, RunDirectory
from .sharding import Share
from .shared_normalisation import SharedNormalisation
from .training import Training

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

    def _is_due(self, seconds: float) -> bool:
        return super()._is_due(self.processes.gathered_numbers(seconds)[0].item())  # one clock for all

    def _gradient(self, batch: Batch, numbers: Mapping[str, float], number: int) -> float:
        value, error = 0.0, None
        self.first_look = True
        try:
            self._check_normalised(batch)
            if _fraction(batch) > 0:
                value = super()._gradient(batch, numbers, number)
            else:
                self.optimizer.zero_grad()
        except BaseException as raised:  # or the others would wait for ever
            told = told_error(raised)
            if told is not None:  # to all of them
                raise told from None
            error = raised
        # Such a loss has gradients before it can be weighted.
        weight = self._weight(batch) if self.pair.objective.accumulates else 1.0
        total = self.processes.total(weight * value, error or self._interrupt())
        self.processes.sum_gradients(self.parameters, weight)
        return total

    def _shared_loss(self, batch: Batch, numbers: Mapping[str, float]) -> Tensor:
        # When a loss that is not finite is looked into, the other processes are elsewhere.
        look, self.first_look = self.first_look, False
        with self.normalisation.over_all_rows(look):
            loss = self.own_loss(dict(batch), numbers)  # Fabric makes another of its type to convert it
        return loss if self.pair.objective.accumulates else self._weight(batch) * loss

    def _weight(self, batch: Batch) -> float:
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
