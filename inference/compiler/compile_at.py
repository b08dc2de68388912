"""A function of tensors in, machine code for the shapes of one example out."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from .accumulations import compiler_options
from .rehearsal import rehearse
from .torch_internals import CompilerError, compile_graph, forget_vector_units, shapes_of, trace_shapes

__all__ = ["compile_at"]

OPTIONS = {"fallback_random": True, "cpp.vec_isa_ok": True}
"""Torch's own random operations, so that a seed means the same; and no trial build for each kind of vector unit.

The trials take most of the first compilation in a process. Where they would fail, the graph fails to build as well, and
is built again after them.
"""

Function = Callable[..., list[Tensor]]


def compile_at(function: Function, example: Sequence[Tensor], options: dict[str, Any]) -> Function:
    """The function, compiled for tensors of the shapes, strides and types of the example.

    Torch keeps compiled code on disk, under a key made of the graph and of the options.

    Args:
        function: takes tensors, may write to them, gives a list of tensors; it is called once, with tensors that have
            no numbers.
        example: what it is called with later.
        options: of torch's inductor, beside ours.

    Raises:
        UnsafeCodeError: the compiled code has ended the process in which it was tried on copies of the example.
    """
    shapes = shapes_of(example)
    # Torch's own way to a graph, dynamo, would look at all that the function reads before each call.
    graph = trace_shapes(function, *shapes)

    chosen = {**OPTIONS, **compiler_options(), **options}
    with _errors_only(logging.getLogger("torch._inductor")), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parts of torch that the compiler imports
        try:
            compiled = compile_graph(graph, shapes, chosen)
        except CompilerError:
            forget_vector_units()
            compiled = compile_graph(graph, shapes, {**chosen, "cpp.vec_isa_ok": None})

    rehearse(compiled, example)
    return compiled


@contextmanager
def _errors_only(logger: logging.Logger) -> Iterator[None]:
    # It warns of every operation that it does not compile itself, of which nobody who trains can do anything.
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
