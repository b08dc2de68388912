"""Does a compiled step do what the plain one does? Both are taken from the same weights and seeds, and undone."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor
from torch.optim import Optimizer

from ..data import Batch
from ..pair import Pair
from ..random_state import preserved_random_state
from .build import Steps
from .update_rule import next_rates

__all__ = ["Incomparable", "Mismatch", "Plain", "self_check", "undone"]

SEEDS = (20, 21)
NUDGE = 10
"""Rounding errors by which weights are moved to see which updates are more than rounding."""
STABLE = 1e-3
"""The part of a move that such a nudge may change; a bias before a BatchNorm has no move that it does not turn over."""
MOST = 0.5
"""The part of a parameter's move, in squares, that has to be stable; where it is less, some of it is by accident."""
LEAST = 0.25
"""The part of all weights whose moves have to be stable, or the program remembers more than its weights."""


class Mismatch(RuntimeError):  # noqa: N818 - it says what was found, and the caller goes on without
    """A compiled step gave another loss, or other weights, than a plain one."""


class Incomparable(Mismatch):
    """The losses agree, and of the weights nothing can be said: those of plain steps from the same seed differ."""


class _Result(NamedTuple):
    loss: float
    leaves: list[Tensor]
    buffers: list[Tensor]


class Plain(NamedTuple):
    """What is trained, the optimizer of its parameters, and a function that takes a plain step and gives its loss."""

    pair: Pair
    optimizer: Optimizer
    step: Callable[[Batch, Mapping[str, float]], float]


def self_check(plain: Plain, steps: Steps, batch: Batch, numbers: Mapping[str, float], tolerance: float) -> None:
    """Compare two steps, one for each of two seeds, of ``plain`` and of ``steps`` (with the optimizer, where it is not
    in the graph), and leave weights, optimizer and random state as they were.

    Args:
        plain: what it is compared with; gradients are left in place.
        steps: what is to be checked.
        batch: a batch of its shape.
        numbers: those of the objective.
        tolerance: relative, of losses; that of moves is a hundred times as large.

    Raises:
        Incomparable: where what plain steps do to the weights hangs on rounding, as late in a training in bfloat16, or
            on more than weights and seed.
        Mismatch: saying what differs. Random numbers from outside torch show here, since a graph has them as constants.
    """

    pair, optimizer, plain_step = plain

    def fast(batch: Batch, numbers: Mapping[str, float]) -> float:
        optimizer.zero_grad()
        in_graph = steps.step.groups is not None
        rates = next_rates(optimizer) if in_graph else [group["lr"] for group in optimizer.param_groups]
        (loss,) = steps([batch], [numbers], [rates])
        if not in_graph:
            optimizer.step()
        return loss

    moving = steps.step.captured.moving
    constants = steps.step.captured.constants
    with undone(pair, optimizer, constants):
        before = [leaf.detach().clone() for leaf in moving]
        expected = [_taken(pair, moving, plain_step, batch, numbers, seed) for seed in SEEDS]
    with undone(pair, optimizer, constants):
        _nudge(moving)
        nudged = [leaf.detach().clone() for leaf in moving]
        again = [_taken(pair, moving, plain_step, batch, numbers, seed) for seed in SEEDS]
    with undone(pair, optimizer, constants):
        found = [_taken(pair, moving, fast, batch, numbers, seed) for seed in SEEDS]
    for a, b in zip(found, expected, strict=True):
        if not abs(a.loss - b.loss) <= tolerance * (1 + abs(b.loss)):
            raise Mismatch(f"the loss of a compiled step is {a.loss}, that of a plain one {b.loss}")
    # After the first step alone: later a running mean also has what rounding made of a bias before it.
    for one, other in zip(found[0].buffers, expected[0].buffers, strict=True):
        if not torch.allclose(one, other, rtol=100 * tolerance, atol=tolerance):
            raise Mismatch("a buffer is another after a compiled step")
    _compare_moves(before, _moves(expected, before), _moves(again, nudged), _moves(found, before), tolerance)


def _compare_moves(
    starts: list[Tensor], moves: list[Tensor], others: list[Tensor], found: list[Tensor], tolerance: float
) -> None:
    """Compare what was found with the moves of plain steps, where these are as they were after a nudge."""
    stables = [(other - move).abs() <= STABLE * move.abs() for move, other in zip(moves, others, strict=True)]
    if sum(int(stable.sum()) for stable in stables) < LEAST * sum(move.numel() for move in moves):
        raise Incomparable("plain steps from the same seed differ, so that there is nothing to compare with")
    for start, move, stable, own in zip(starts, moves, stables, found, strict=True):
        moved, off = move[stable].norm(), (own - move)[stable].norm()
        if moved.square() < MOST * move.square().sum():
            continue
        if not off <= 100 * tolerance * moved + 1e-6 * start.norm():
            raise Mismatch(f"a parameter of shape {tuple(start.shape)} is off by {float(off / moved):.1e} of its move")


def _moves(results: list[_Result], starts: list[Tensor]) -> list[Tensor]:
    return [after - start for after, start in zip(results[-1].leaves, starts, strict=True)]


@torch.no_grad()
def _nudge(leaves: list[Tensor]) -> None:
    """Move every weight by a few rounding errors, up and down in turn."""
    for leaf in leaves:
        signs = 1 - 2 * (torch.arange(leaf.numel(), device=leaf.device) % 2).reshape(leaf.shape)
        leaf.mul_(1 + NUDGE * torch.finfo(leaf.dtype).eps * signs)


def _taken(
    pair: Pair, leaves: list[Tensor], step: Callable, batch: Batch, numbers: Mapping[str, float], seed: int
) -> _Result:
    with preserved_random_state():
        pyro.set_rng_seed(seed)
        loss = step(batch, numbers)
    buffers = [buffer.clone() for buffer in pair.buffers() if buffer.is_floating_point()]
    return _Result(loss, [leaf.detach().clone() for leaf in leaves], buffers)


@contextmanager
def undone(pair: Pair, optimizer: Optimizer, constants: list[Tensor]) -> Iterator[None]:
    """Whatever steps are taken inside, afterwards all is as it was; tensors keep their places in memory."""
    tensors = [*pair.leaves().values(), *pair.buffers(), *constants]
    kept = [tensor.detach().clone() for tensor in tensors]
    states = {
        parameter: {key: _copy(value) for key, value in state.items()} for parameter, state in optimizer.state.items()
    }
    rates = [group["lr"] for group in optimizer.param_groups]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, old in zip(tensors, kept, strict=True):
                if not torch.equal(tensor, old):
                    tensor.copy_(old)
            for parameter, state in optimizer.state.items():
                _restore(state, states.get(parameter))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        optimizer.zero_grad()


def _restore(state: dict[str, Any], old: dict[str, Any] | None) -> None:
    old = old or {}
    for key in state.keys() - old.keys():
        del state[key]  # the first step of an optimizer makes it
    for key, value in old.items():
        if isinstance(state[key], Tensor) and isinstance(value, Tensor):
            state[key].copy_(value)
        else:
            state[key] = copy.deepcopy(value)


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)
