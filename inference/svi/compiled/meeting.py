"""Where processes meet within a graph, as for a batch normalisation over all rows: an operation of the graph."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.fx import GraphModule

from ..processes import Processes

__all__ = ["Meeting", "TracedMeetings", "meetings"]

_HOSTS: list["Meeting"] = []
"""Of the graph that is run; none while a process checks what it does alone."""


class Meeting:
    """The sums over all processes in one run of a graph, in the order that all have.

    Where this process fails on the way it goes to the rest of the meetings with nothing, since the others wait there;
    they hear of it at the end of the step. An error of a meeting itself is raised after the run: compiled code does not
    let it through.

    Args:
        processes: who meets.
        sizes: of the vectors that are summed, in order.
    """

    def __init__(self, processes: Processes, sizes: list[int]) -> None:
        self.processes, self.sizes = processes, sizes
        self.held, self.error = 0, None

    @contextmanager
    def held_by_all(self) -> Iterator[None]:
        """A block in which a graph is run in every process."""
        self.held, self.error = 0, None
        _HOSTS.append(self)
        try:
            yield
        finally:
            _HOSTS.pop()
            for size in self.sizes[self.held :]:
                self.sum(torch.zeros(size, dtype=torch.float64))
            if self.error is not None:
                raise self.error

    def sum(self, value: Tensor) -> Tensor:
        """Of a vector over all processes."""
        self.held += 1
        if self.error is None:
            try:
                return self.processes.sum(value)
            except BaseException as error:
                self.error = error
        return torch.zeros_like(value)


class TracedMeetings:
    """Meetings for a graph that is being captured, each after the last, so that no compiler changes their order.

    Attributes:
        sizes: of the vectors so far.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._last: Tensor | None = None

    def __call__(self, value: Tensor) -> Tensor:
        """The sum over all processes, once the graph is run; here the value."""
        self.sizes.append(value.numel())
        met: Tensor = torch.ops.pyrometer.met(value, value if self._last is None else self._last)
        self._last = met
        return met


def meetings(graph: GraphModule) -> int:
    """How many a graph has."""
    return sum(node.target is torch.ops.pyrometer.met.default for node in graph.graph.nodes)


def _met(value: Tensor, after: Tensor) -> Tensor:  # noqa: ARG001 - what comes before
    return _HOSTS[-1].sum(value) if _HOSTS else value.clone()


def _like(value: Tensor, after: Tensor) -> Tensor:  # noqa: ARG001
    return torch.empty_like(value)


_LIBRARY = torch.library.Library("pyrometer", "FRAGMENT")
_LIBRARY.define("met(Tensor value, Tensor after) -> Tensor")
_LIBRARY.impl("met", _met, "CPU")
_LIBRARY._register_fake("met", _like)
