"""How large a graph may be: the time that a compiler takes grows with its operations, as those of a long Python loop.

It is counted in operations, never by the clock, so that a run that is resumed compiles the same graphs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch.fx import Graph

from .not_traceable import NotTraceable

__all__ = ["LARGE", "SMALL", "affordable", "budget", "check_forward", "check_size"]

SMALL, LARGE = 600, 10_000
"""Operations of a graph that is always compiled, and of one beyond which none is."""
SECONDS, SECONDS_PER_OPERATION = 4.0, 0.012
"""Of inductor and the C++ compiler, on a core of a present-day server: about, and of each operation."""
SHARE = 1 / 3
"""The part of what compiled steps save that may be spent on compiling them."""
_MOST: ContextVar[int | None] = ContextVar("most", default=None)


def affordable(saved_seconds: float) -> int:
    """How many operations a graph may have that saves so much time and nobody has asked for.

    Example:
        >>> affordable(30.0), affordable(120.0)
        (600, 3000)
    """
    operations = (SHARE * saved_seconds - SECONDS) / SECONDS_PER_OPERATION
    return max(SMALL, min(LARGE, int(operations)))


@contextmanager
def budget(operations: int) -> Iterator[None]:
    """A block in which larger graphs are refused, by a :class:`NotTraceable`."""
    token = _MOST.set(operations)
    try:
        yield
    finally:
        _MOST.reset(token)


def check_forward(graph: Graph) -> None:
    """Refuse while a loss is traced what is already too large, so that nobody waits for the rest."""
    most = _MOST.get()
    if most is not None and len(graph.nodes) > most:
        raise NotTraceable(_refusal(f"more than {most}", " or more", most, most))


def check_size(graph: Graph) -> None:
    """Refuse a whole graph that is too large."""
    most, operations = _MOST.get(), sum(node.op == "call_function" for node in graph.nodes)
    if most is not None and operations > most:
        raise NotTraceable(_refusal(str(operations), "", operations, most))


def _refusal(count: str, or_more: str, operations: int, most: int) -> str:
    seconds = SECONDS + SECONDS_PER_OPERATION * operations
    otherwise = ", or ask for it by compile=True" if most < LARGE else ""
    return (
        f"the step has {count} operations, which would take about {seconds:.0f} s{or_more} to compile: write loops "
        f"over sites as a pyro.plate{otherwise}"
    )
