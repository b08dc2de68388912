"""The call of torch's compiler: a function of tensors in, machine code for the shapes of one example out."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._inductor import cpu_vec_isa
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv

__all__ = ["compile_at"]

OPTIONS = {"fallback_random": True, "cpp.vec_isa_ok": True}
"""Torch's own random operations, so that a seed means the same; and no trial builds for each kind of vector unit.

The trials take most of the first compilation in a process. Where they would fail, the graph fails to build as well, and
is built again after them.
"""


def compile_at(
    function: Callable[..., list[Tensor]], example: Sequence[Tensor], options: dict[str, Any]
) -> Callable[..., list[Tensor]]:
    """The function, compiled for tensors of the shapes, strides and types of the example.

    Compiled code is kept on disk by torch, under a key made of the graph and of the options.

    Args:
        function: takes tensors, may write to them, gives a list of tensors; it is called once, with tensors that have
            no numbers.
        example: what it is called with.
        options: of torch's inductor, beside ours.
    """
    # An environment for shapes, though all of them are fixed: without it torch keeps nothing on disk.
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    shapes = [mode.from_tensor(tensor, static_shapes=True) for tensor in example]
    # Torch's own way to a graph, dynamo, would look at all that the function reads before each call.
    graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*shapes)

    with _errors_only(logging.getLogger("torch._inductor")):
        try:
            return torch._inductor.compile(graph, shapes, options={**OPTIONS, **options})
        except torch._inductor.exc.CppCompileError:
            cpu_vec_isa.valid_vec_isa_list.cache_clear()
            return torch._inductor.compile(graph, shapes, options={**OPTIONS, "cpp.vec_isa_ok": None, **options})


@contextmanager
def _errors_only(logger: logging.Logger) -> Iterator[None]:
    # It warns of every operation that it does not compile itself, of which nobody who trains can do anything.
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
