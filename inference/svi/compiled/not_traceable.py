"""The refusal of a program whose steps cannot be one graph."""

__all__ = ["NotTraceable"]


class NotTraceable(RuntimeError):  # noqa: N818 - it says what a program is, and the caller goes on without a graph
    """A program whose steps cannot be one graph, as one whose Python depends on the value of a tensor; says why."""
