"""Which steps several processes take in compiled form: all of them the same, as each may refuse for all."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from torch.fx import Graph, GraphModule

from ...compiler import UnsafeCodeError
from ..data import Batch
from ..exchange import Exchange, make_exchange
from ..pair import Pair
from ..processes import Processes
from ..sharding import Share
from ..shared_normalisation import SharedNormalisation
from .build import compile_function, graph_of_loss
from .capture import Capture
from .engine import Engine
from .meeting import Meeting, TracedMeetings, meetings
from .self_check import Incomparable, Mismatch, undone
from .shared_step import Part, SharedStep
from .traceable import NotTraceable
from .update_rule import next_rates

__all__ = ["SharedEngine"]

T = TypeVar("T")


class SharedEngine(Engine):
    """An engine in each of several processes, which build, check and drop their graphs together.

    Each has graphs of its own share of a batch, by the shape of the whole. Every check is of what a process does alone,
    so that one that fails in it leaves nobody waiting.

    Args:
        processes: who takes the steps.
        weight: that of the loss of a share.
        normalisation: over the rows of all processes.
        settings: see ``Engine``.
    """

    def __init__(
        self,
        processes: Processes,
        weight: Callable[[Batch], float],
        normalisation: SharedNormalisation,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.processes, self.weight, self.normalisation = processes, weight, normalisation
        self._exchange: Exchange | None = None

    def _key(self, batch: Batch) -> str:
        assert isinstance(batch, Share)
        return batch.kind

    def _is_in_place(self) -> bool:
        return bool(self.processes.gathered_numbers(super()._is_in_place()).all())

    def _built(self, batch: Batch, numbers: Mapping[str, float]) -> Any:
        steps = super()._built(batch, numbers)
        if steps is not None:
            self.events[-1] += f", in {self.processes.count} processes"
        return steps

    def _compiled(self, batch: Batch, numbers: Mapping[str, float]) -> SharedStep:
        captured, sizes = self._in_all(lambda: self._captured(batch, numbers))
        told = self.processes.gathered([captured.moved, sizes])
        if any(other != told[0][1] for _, other in told):
            raise Mismatch("a network normalises over the rows of all processes, but not as often in each of them")
        moved = [any(each) for each in zip(*(own for own, _ in told), strict=True)]
        exchange = self._exchange_of(captured)
        weight = self.weight(batch) if self.plain.pair.objective.accumulates else 1.0
        part = Part(captured, weight, moved, Meeting(self.processes, sizes))
        return self._in_all(lambda: SharedStep(part, self.plain.optimizer, exchange, compile_function))

    def _captured(self, batch: Batch, numbers: Mapping[str, float]) -> tuple[Capture, list[int]]:
        """The graph of this share, and the sizes of what processes sum within it."""
        if _is_empty(batch):
            leaves = self.plain.pair.trainable()
            return Capture(GraphModule({}, Graph()), leaves, [False] * len(leaves), [], []), []
        meet = TracedMeetings()
        with self.normalisation.over_all_rows(meet=meet), _weighted(self.plain.pair, self.weight(batch)):
            captured = graph_of_loss(self.plain.pair, batch, numbers, self.products)
        if meetings(captured.graph) != len(meet.sizes):
            raise Mismatch("a network normalises rows of which it makes no use")
        return captured, meet.sizes

    def _exchange_of(self, captured: Capture) -> Exchange:
        """One for all graphs, while the leaves are the same."""
        if self._exchange is None or self._exchange.shapes != [leaf.shape for leaf in captured.leaves]:
            self._exchange = make_exchange(self.processes, captured.leaves)
        return self._exchange

    def _checked(self, steps: Any, batch: Batch, numbers: Mapping[str, float]) -> Any:
        check = super()._checked

        def checked() -> Any:
            if not _is_empty(batch):
                return check(steps, batch, numbers)
            with undone(self.plain.pair, self.plain.optimizer, []):  # there is nothing to compare; but it is compiled
                steps([batch], [numbers], [next_rates(self.plain.optimizer)])
            return steps

        return self._in_all(checked)

    def _in_all(self, call: Callable[[], T]) -> T:
        """What ``call`` gives here, if it fails in no process.

        Raises:
            Mismatch: in all, with the reason of the first in which it fails; of what can be compared and what cannot,
                the former counts.
        """
        results, failure = [], ("", "")
        try:
            results.append(call())
        except Exception as error:
            kind = "incomparable" if isinstance(error, Incomparable) else "failed"
            failure = kind, _reason(error)
        told = self.processes.gathered(failure)
        for kind, raised in (("failed", Mismatch), ("incomparable", Incomparable)):
            reasons = [(rank, reason) for rank, (one, reason) in enumerate(told) if one == kind]
            if reasons:
                rank, reason = reasons[0]
                raise raised(reason if len(reasons) == len(told) else f"{reason} (in process {rank})")
        return results[0]


@contextmanager
def _weighted(pair: Pair, weight: float) -> Iterator[None]:
    """A block in which the loss is weighted before it is differentiated, where that can be: of meetings on the way back
    the results go to shares of another weight."""
    objective = pair.objective
    if not objective.accumulates:
        pair.objective = dataclasses.replace(objective, loss=lambda *given: weight * objective.loss(*given))
    try:
        yield
    finally:
        pair.objective = objective


def _is_empty(batch: Batch) -> bool:
    return isinstance(batch, Share) and batch.fraction == 0


def _reason(error: Exception) -> str:
    if isinstance(error, Mismatch | NotTraceable | UnsafeCodeError):
        return str(error)
    first = (str(error).splitlines() or [""])[0]
    return f"the step cannot be captured or compiled ({type(error).__name__}: {first})"
