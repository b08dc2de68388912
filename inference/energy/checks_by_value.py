"""Checks of a program that compare the values of tensors: not where a graph is traced, of which no value is known."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["checks_by_value", "without_checks_by_value"]

_CHECKED: ContextVar[bool] = ContextVar("checked", default=False)


def checks_by_value() -> bool:
    """Whether programs are to be checked by the values of their tensors.

    Example:
        >>> with without_checks_by_value():
        ...     checks_by_value()
        False
        >>> checks_by_value()
        True
    """
    return not _CHECKED.get()


@contextmanager
def without_checks_by_value() -> Iterator[None]:
    """A block in which programs are what an earlier run of the same has found them to be."""
    token = _CHECKED.set(True)
    try:
        yield
    finally:
        _CHECKED.reset(token)
