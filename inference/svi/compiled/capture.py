"""One evaluation of a loss and its gradient as a graph of tensor operations, with no Pyro and no autograd in it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from ...compiler.torch_internals import trace
from ..data import Batch
from ..decaying_averages import preserved_averages
from ..pair import Pair
from ..pair_checks import preserved_buffers
from ..random_state import preserved_random_state
from .fixed_places import use_fixed_places
from .masks import fix_masks
from .outside_noise import without_outside_noise
from .rewriting import set_in_order, substitute
from .signature import rebuilt, tensors_of
from .traceable import NotTraceable, traceable
from .undone_draws import leave_out_undone_draws, noting_undone_draws
from .user_line import line_of_error

__all__ = ["Capture", "capture", "is_random"]

aten = torch.ops.aten
OF_TORCH = re.compile("value out of a tracing tensor")
ALIASES = (aten.detach.default, aten.alias.default, aten.lift_fresh.default)


@dataclass
class Capture:
    """A graph from leaves, constants, numbers and a batch to the loss, and the gradients of the leaves that have one.

    Attributes:
        graph: its inputs in that order, then those that passes add.
        leaves: the trainable parameters.
        moved: of each, whether the loss of such a batch has a gradient for it.
        constants: other tensors that the program holds (buffers, data it closes over): inputs, so that a change in
            place is seen.
        numbers: names of what depends on the progress.
        noise: the draws that have been moved out, as a graph without inputs; and their shapes.
    """

    graph: GraphModule
    leaves: list[Tensor]
    moved: list[bool]
    constants: list[Tensor]
    numbers: list[str]
    noise: GraphModule | None = None
    shapes: list[torch.Size] = field(default_factory=list)

    @property
    def moving(self) -> list[Tensor]:
        """The leaves that such a batch moves."""
        return [leaf for leaf, moved in zip(self.leaves, self.moved, strict=True) if moved]


def capture(pair: Pair, batch: Batch, numbers: Mapping[str, float]) -> Capture:
    """Trace the loss of a batch, and its gradient, once.

    Random draws stay operations of the graph, so that every run of it draws afresh; those after which the random state
    is put back are left out. What programs do in Python happens now and never again.

    Args:
        pair: what is trained.
        batch: a batch of the shape that the graph is for.
        numbers: those of the objective that depend on the progress.

    Raises:
        NotTraceable: the program's Python depends on the values of tensors.
    """
    leaves, moved = pair.trainable(), []
    names, tensors = list(numbers), tensors_of(batch)
    given = [torch.tensor(numbers[name], dtype=torch.float64, device="cpu") for name in names]

    def evaluate(*inputs: Tensor) -> list[Tensor]:
        values = dict(zip(names, inputs, strict=False))
        loss, gradients = pair.loss_and_gradients(rebuilt(batch, inputs[len(names) :]), values)
        moved[:] = [gradient is not None for gradient in gradients]
        return [loss.detach(), *[gradient.detach() for gradient in gradients if gradient is not None]]

    with _undone(pair), torch.enable_grad(), without_outside_noise(lambda: pair.loss_and_gradients(batch, numbers)):
        graph = _traced(evaluate, [*given, *[tensor.clone() for tensor in tensors]])
    leave_out_undone_draws(graph, {node for node in graph.graph.nodes if is_random(node)})
    fix_masks(graph)
    use_fixed_places(graph)
    constants = _lift(graph, leaves)
    _tidy(graph)
    return Capture(graph, leaves, moved, constants, names)


def _traced(evaluate: Callable[..., list[Tensor]], inputs: Sequence[Tensor]) -> GraphModule:
    with traceable(), noting_undone_draws():
        try:
            return trace(evaluate, *inputs)
        except NotTraceable as error:
            raise NotTraceable(str(error).partition("\n")[0]) from None  # Pyro adds the sites so far
        except Exception as error:  # what a program does that a trace cannot follow may fail in any way
            raise NotTraceable(_why(error)) from error


def _why(error: Exception) -> str:
    if not OF_TORCH.search(str(error)):
        first = (str(error).splitlines() or [""])[0]
        return f"{line_of_error(error)} cannot be followed by a trace ({type(error).__name__}: {first})"
    return (
        f"{line_of_error(error)} reads the value of a tensor (as a size, an index or a number), on which what it does "
        "next may depend: keep it a tensor, or pass it to the program as a number"
    )


@contextmanager
def _undone(pair: Pair) -> Iterator[None]:
    """A pass inside moves no random state, no running statistics and no averages of a cost."""
    with preserved_random_state(), preserved_buffers([pair]), preserved_averages():
        yield


def is_random(node: Node) -> bool:
    """The operation draws from torch's generator."""
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags


def _lift(module: GraphModule, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Make inputs of the tensors that the graph holds: first the leaves, then the others, which are returned."""
    graph = module.graph
    _write_out_numbers(module)
    held = [node for node in graph.nodes if node.op == "get_attr" and isinstance(_value(module, node), Tensor)]
    known = {id(leaf) for leaf in leaves}
    constants = {id(value): value for node in held if id(value := _value(module, node)) not in known}
    first = next(iter(graph.nodes))
    with graph.inserting_before(first):
        inputs = {id(value): graph.placeholder(f"held_{i}") for i, value in enumerate([*leaves, *constants.values()])}
    for tensor in [*leaves, *constants.values()]:
        inputs[id(tensor)].meta["val"] = tensor.detach()
    for node in held:
        node.replace_all_uses_with(inputs[id(_value(module, node))])
        graph.erase_node(node)
    return list(constants.values())


def _write_out_numbers(module: GraphModule) -> None:
    """A number in the program's source, as ``torch.tensor(3)``, is a number in the graph, for a compiler to use."""
    for node in [node for node in module.graph.nodes if node.target is aten.lift_fresh_copy.default]:
        source = node.all_input_nodes[0]
        value = _value(module, source) if source.op == "get_attr" else None
        if not isinstance(value, Tensor) or value.numel() != 1:
            continue
        with module.graph.inserting_before(node):
            options = {"dtype": value.dtype, "device": value.device}
            number = module.graph.call_function(aten.full.default, (list(value.shape), value.item()), options)
        substitute(node, number)
        if not source.users:
            module.graph.erase_node(source)


def _value(module: GraphModule, node: Node) -> Any:
    return getattr(module, str(node.target))


def _tidy(module: GraphModule) -> None:
    """Leave out what autograd leaves behind: detached views, and results that nobody uses."""
    for node in list(module.graph.nodes):
        if node.target in ALIASES:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    set_in_order(module)
