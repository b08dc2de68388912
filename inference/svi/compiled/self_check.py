"""Does a compiled step do what the plain one does? Both are taken from the same weights and seeds, and undone."""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
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

Nudge = Callable[[Tensor], Tensor]
"""Of the places of weights: 1 for up, -1 for down."""

SEEDS = (20, 21)
NUDGES: tuple[Nudge, ...] = (lambda place: 1 - 2 * (place % 2), torch.ones_like)
"""Up and down in turn; and all up, for programs that start where something changes, as Gamma's sampler does at 1."""
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


class _Trial(NamedTuple):
    """Steps taken one after the other, and the weights before them."""

    starts: list[Tensor]
    results: list[_Result]

    def moves(self, steps: int) -> list[Tensor]:
        """Of every leaf, in the first so many steps."""
        return [after - start for after, start in zip(self.results[steps - 1].leaves, self.starts, strict=True)]


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

    def trial(step: Callable, nudge: Nudge | None = None) -> _Trial:
        """A step for each seed, after a nudge of the weights."""
        with undone(pair, optimizer, constants):
            if nudge is not None:
                _nudge(moving, nudge)
            starts = [leaf.detach().clone() for leaf in moving]
            return _Trial(starts, [_taken(pair, moving, step, batch, numbers, seed) for seed in SEEDS])

    expected, found = trial(plain_step), trial(fast)
    _compare_losses(found.results[0], expected.results[0], tolerance)
    # After the first step alone: later a running mean also has what rounding made of a bias before it.
    for one, other in zip(found.results[0].buffers, expected.results[0].buffers, strict=True):
        if not torch.allclose(one, other, rtol=100 * tolerance, atol=tolerance):
            raise Mismatch("a buffer is another after a compiled step")
    _compare_with_nudges(expected, found, functools.partial(trial, plain_step), tolerance)


def _compare_with_nudges(
    expected: _Trial, found: _Trial, nudged: Callable[[Nudge | None], _Trial], tolerance: float
) -> None:
    """Compare all steps; or, where the second hangs on what rounding made of the first, that one alone."""
    others: list[_Trial] = []
    for nudge in NUDGES:
        others.append(nudged(nudge))
        if _is_near(others[-1].results[-1], expected.results[-1], tolerance):
            _compare_losses(found.results[-1], expected.results[-1], tolerance)
        with suppress(Incomparable):
            return _compare_trials(expected, others[-1], found, len(SEEDS), tolerance)
    if not _is_near(nudged(None).results[0], expected.results[0], 0.0):
        raise Incomparable("plain steps from the same seed differ, so that there is nothing to compare with")
    for other in others[:-1]:
        with suppress(Incomparable):
            return _compare_trials(expected, other, found, 1, tolerance)
    return _compare_trials(expected, others[-1], found, 1, tolerance)


def _compare_trials(expected: _Trial, other: _Trial, found: _Trial, steps: int, tolerance: float) -> None:
    moves, others, own = (trial.moves(steps) for trial in (expected, other, found))
    _compare_moves(expected.starts, moves, others, own, tolerance)


def _compare_losses(found: _Result, expected: _Result, tolerance: float) -> None:
    if not _is_near(found, expected, tolerance):
        raise Mismatch(f"the loss of a compiled step is {found.loss}, that of a plain one {expected.loss}")


def _is_near(one: _Result, other: _Result, tolerance: float) -> bool:
    return abs(one.loss - other.loss) <= tolerance * (1 + abs(other.loss))


def _compare_moves(
    starts: list[Tensor], moves: list[Tensor], others: list[Tensor], found: list[Tensor], tolerance: float
) -> None:
    """Compare what was found with the moves of plain steps, where these are as they were after a nudge."""
    stables = [(other - move).abs() <= STABLE * move.abs() for move, other in zip(moves, others, strict=True)]
    if sum(int(stable.sum()) for stable in stables) < LEAST * sum(move.numel() for move in moves):
        raise Incomparable(
            "plain steps hang on rounding errors of the weights, so that there is nothing to compare with"
        )
    for start, move, stable, own in zip(starts, moves, stables, found, strict=True):
        moved, off = move[stable].norm(), (own - move)[stable].norm()
        if moved.square() < MOST * move.square().sum():
            continue
        if not off <= 100 * tolerance * moved + 1e-6 * start.norm():
            raise Mismatch(f"a parameter of shape {tuple(start.shape)} is off by {float(off / moved):.1e} of its move")


@torch.no_grad()
def _nudge(leaves: list[Tensor], nudge: Nudge) -> None:
    """Move every weight by a few rounding errors."""
    for leaf in leaves:
        signs = nudge(torch.arange(leaf.numel(), device=leaf.device)).reshape(leaf.shape)
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
