"""What is used of torch that its documentation does not promise; the compiler, and tracing are reached from here.

Each is looked up when it is called. A version of torch that has it no more, or with other arguments, raises then, and
the callers take that for a compiler that fails: they go on without, and tell the reason.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._inductor.exc import CppCompileError as CompilerError
from torch.fx import GraphModule, Tracer

from .command_lines import spaces_allowed

__all__ = [
    "CompilerError",
    "compile_graph",
    "forget_vector_units",
    "is_known",
    "propagate_shapes",
    "shapes_of",
    "trace",
    "trace_shapes",
    "tracer",
]


def trace(function: Callable, *inputs: Tensor) -> GraphModule:
    """The operations of a function, which is run on these inputs; those whose shapes depend on values are an error."""
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(function, _error_on_data_dependent_ops=True)(*inputs)


def trace_shapes(function: Callable, *inputs: Tensor) -> GraphModule:
    """The operations of a function, none of which is run; it may hold further tensors."""
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)


def tracer() -> Tracer | None:
    """What traces at the moment."""
    from torch.fx.experimental.proxy_tensor import get_proxy_mode

    mode = get_proxy_mode()
    return None if mode is None else mode.tracer


def is_known(value: Tensor, tracing: Any) -> bool:
    """The value of a tensor is the same in each run of what is being traced."""
    from torch.fx.experimental.proxy_tensor import get_proxy_slot

    slot = get_proxy_slot(value, tracing, None)
    return slot is not None and slot.constant is not None


def propagate_shapes(graph: GraphModule, inputs: Sequence[Tensor]) -> None:
    """Give every node the meta data of its result."""
    from torch.fx.passes.fake_tensor_prop import FakeTensorProp

    FakeTensorProp(graph).propagate(*(tensor.detach() for tensor in inputs))


def shapes_of(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of the same shapes, strides and types, without numbers.

    An environment for shapes comes with them, though all of them are fixed: without one torch keeps nothing on disk.
    """
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    return [mode.from_tensor(tensor, static_shapes=True) for tensor in tensors]


def forget_vector_units() -> None:
    """Let the next compilation find out anew which vector units the compiler and the processor have."""
    from torch._inductor import cpu_vec_isa

    cpu_vec_isa.valid_vec_isa_list.cache_clear()


def compile_graph(graph: GraphModule, inputs: Sequence[Tensor], options: dict[str, Any]) -> Any:
    """The graph as compiled by torch's inductor for inputs of these shapes, wherever torch lies; no setting is left."""
    with spaces_allowed():
        return torch._inductor.compile(graph, list(inputs), options=options)
