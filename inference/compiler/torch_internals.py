"""What is used of torch that its documentation does not promise; the compiler, tracing and loops are reached from here.

Each is looked up when it is called. A version of torch that has it no more, or with other arguments, raises then, and
the callers take that for a compiler that fails: they go on without, and tell the reason.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Tracer

from .command_lines import spaces_allowed

__all__ = ["compile_graph", "is_known", "propagate_shapes", "trace", "trace_shapes", "tracer", "while_loop"]


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


def while_loop(condition: Callable, body: Callable, carried: Any, others: Any) -> Any:
    """A loop that is one operation of a graph."""
    from torch._higher_order_ops.while_loop import while_loop_op

    return while_loop_op(condition, body, carried, others)


def compile_graph(graph: GraphModule, inputs: Sequence[Tensor], options: dict[str, Any]) -> Any:
    """The graph as compiled by torch's inductor for inputs of these shapes, wherever torch lies; no setting is left."""
    with spaces_allowed():
        return torch._inductor.compile(graph, list(inputs), options=options)
