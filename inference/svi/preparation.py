"""All that a training can be refused for before its first step, so that nothing is written or lost."""

import functools
import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro.optim import PyroOptim
from torch import Tensor

from .data import Batch, parts, row_count
from .decaying_averages import preserved_averages
from .objective import Objective
from .pair import Pair
from .pair_checks import latent_sites, preserved_buffers, traces
from .random_state import preserved_random_state
from .scaling import check_global_latents, full_size

__all__ = [
    "build_optimizer",
    "check_guide",
    "check_length",
    "check_loss",
    "check_schedule",
    "check_seed",
    "inspect_pair",
]


def check_length(epochs: int | None, steps: int | None) -> None:
    """Exactly one of the two, and a positive integer."""
    if (epochs is None) == (steps is None):
        raise ValueError(f"fit takes exactly one of epochs and steps, got epochs={epochs} and steps={steps}.")
    for name, length in (("epochs", epochs), ("steps", steps)):
        if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
            raise ValueError(f"{name} must be a positive integer, got {length!r}.")


def check_guide(guide: Callable | None, objective: Objective) -> None:
    """A program, or None exactly where the objective infers the latents itself."""
    if (guide is None) != objective.infers_latents:
        raise TypeError(
            "guide must be None with this objective, which infers the latents itself: it would never be trained."
            if objective.infers_latents
            else "guide must be a Pyro program with this objective; pass one, or objective=Minimised(...) or "
            "Marginalised(...). Where every latent is enumerated, a program that samples nothing is enough."
        )


def check_seed(seed: Any) -> int:
    """A seed that torch, numpy and Python take; one drawn from torch's generator where it is None."""
    if seed is None:
        return int(torch.randint(2**31, ()))
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be an integer from 0 to 2**32 - 1, or None to draw one, got {seed!r}.")
    return seed


def check_schedule(schedule: Callable[[float], float] | None) -> None:
    """A function whose value at 0 is a factor for a learning rate."""
    if schedule is not None and not (math.isfinite(factor := float(schedule(0.0))) and factor >= 0):
        raise ValueError(f"schedule must give a finite factor >= 0 on the learning rate, got schedule(0.0) = {factor}.")


def build_optimizer(optimizer: Any, parameters: list[Tensor]) -> torch.optim.Optimizer:
    """The torch optimizer of these parameters, by default Adam with learning rate 0.001.

    Raises:
        TypeError: ``optimizer`` is one of Pyro's, is built already, or does not give an optimizer that can take a step.
    """
    remedy = "pass a function of the parameters, such as functools.partial(torch.optim.Adam, lr=0.001)."
    if optimizer is None:
        optimizer = functools.partial(torch.optim.Adam, lr=1e-3)
    if isinstance(optimizer, PyroOptim):
        raise TypeError(f"optimizer must be one of torch's, got Pyro's {optimizer!r}: {remedy}")
    if isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer must be built by fit, which finds the parameters, got a built one: {remedy}")
    if not callable(optimizer):
        raise TypeError(f"optimizer must be callable, got {optimizer!r}: {remedy}")
    built = optimizer(parameters)
    if not isinstance(built, torch.optim.Optimizer) or isinstance(built, torch.optim.LBFGS):
        raise TypeError(
            f"optimizer must give a torch.optim.Optimizer (LBFGS apart), got {type(built).__name__}: {remedy}"
        )
    return built


def inspect_pair(pair: Pair, samples: list[Batch], total: int | None) -> int | None:
    """Run the pair once on each sample of the batches, note its parameters, and raise where it cannot be trained.

    Args:
        pair: what is to be trained.
        samples: batches of all shapes that will come.
        total: the number of data of which each batch has a part, where the rows have one source and it is known.

    Returns:
        How many data the loss of a batch stands for, or None if that is the number of its rows.
    """
    sizes = []
    for batch in map(pair.changed, samples):
        for source, part in parts(batch).items():
            try:
                sizes.append(_inspect_part(pair, part, total))
            except ValueError as error:
                raise ValueError(f"{source}, {row_count(part)} rows: {error}") from error
    return sizes[0] if pair.objective.is_elbo else None


def _inspect_part(pair: Pair, part: dict[str, Tensor], total: int | None) -> int | None:
    with pair.on_device():
        of_model, of_guide = traces(*pair.programs, **part)
    pair.note_parameters(of_model)
    pair.note_parameters(of_guide)
    if pair.objective.is_elbo:
        summed_out = latent_sites(of_model).keys() - latent_sites(of_guide).keys()
        if summed_out and not pair.objective.enumerates:
            raise ValueError(
                f"objective must sum out the sites {sorted(summed_out)}, which the guide leaves to enumeration: pass "
                "objective=TraceEnum_ELBO()."
            )
        if total is not None and row_count(part) < total:
            check_global_latents(of_model, row_count(part), total)
    return full_size(of_model)


def check_loss(pair: Pair, loss: Callable[[Batch, Mapping[str, float]], Tensor], batch: Batch) -> float:
    """Evaluate the objective once, under Pyro's validation, and leave all as it was; gives the seconds it took."""
    if pair.objective.is_elbo and parts(batch).keys() != {"data"}:
        raise ValueError(
            f"objective must take the streams {sorted(batch)} by name, and an ELBO of Pyro takes one batch: pass a "
            "function (model, guide, **streams) such as SemiSupervised(...)."
        )
    with preserved_random_state(), preserved_buffers([pair]), preserved_averages(), warnings.catch_warnings():
        # A NaN is reported by the first step, with its site.
        warnings.filterwarnings("ignore", message="Encountered NaN", category=UserWarning)
        began = time.perf_counter()
        try:
            with pyro.validation_enabled(True):
                loss(batch, pair.objective.numbers(0.0))
        finally:
            for leaf in pair.leaves().values():
                leaf.grad = None
        pair.note_averages()
        return time.perf_counter() - began
