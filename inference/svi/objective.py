"""One form for everything that can be minimised: a Pyro ELBO object, or a function of the pair and a batch."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceTMC_ELBO
from pyro.poutine.runtime import effectful
from torch import Tensor

from ..energy.stable_enumeration import stable_enumeration
from .data import Batch
from .decaying_averages import averages_in_place

__all__ = ["Numbers", "Objective", "as_objective", "no_numbers"]

Numbers = Mapping[str, float | Tensor]
"""What in an objective depends on the progress, by name."""


def no_numbers(progress: float) -> dict[str, float]:  # noqa: ARG001 - whatever it is
    """The loss depends on nothing but weights and data."""
    return {}


@dataclass(frozen=True)
class Objective:
    """A loss in nats, and what the loop has to know about it.

    Attributes:
        loss: (model, guide, batch, numbers) to a scalar tensor.
        numbers: of a progress in [0, 1], which is the part of the training that is done: all that the loss depends on
            beside weights and data, as Python computes it. A graph of the loss takes these as inputs.
        is_elbo: one of Pyro's, in which a batch counts as the program says and a site is enumerated only on request.
        enumerates: discrete sites marked for it are summed out.
        accumulates: the call adds to the gradients itself, and its result has none.
        gradient_factor: numbers to what such gradients are yet to be multiplied by, where the loss already is.
        infers_latents: it minimises or sums over the latents itself, without a guide.
    """

    loss: Callable[[Callable, Callable, Batch, Numbers], Tensor]
    numbers: Callable[[float], dict[str, float]] = no_numbers
    is_elbo: bool = False
    enumerates: bool = False
    accumulates: bool = False
    gradient_factor: Callable[[Numbers], float | Tensor] | None = None
    infers_latents: bool = False

    @property
    def uses_progress(self) -> bool:
        """The loss depends on the progress."""
        return self.numbers is not no_numbers


def as_objective(objective: Any) -> Objective:
    """Decide, once, how an objective is called; None means ``Trace_ELBO()``.

    Raises:
        TypeError: it is an ELBO class rather than an object, or neither an ELBO nor callable.
    """
    if objective is None:
        return as_objective(Trace_ELBO())
    enumerates = isinstance(objective, TraceEnum_ELBO | TraceTMC_ELBO)
    differentiable, accumulating = (
        getattr(objective, name, None) for name in ("differentiable_loss", "loss_and_grads")
    )
    if isinstance(objective, type) or not (accumulating or callable(objective)):
        raise TypeError(
            "objective must be a Pyro ELBO object such as Trace_ELBO(), or a function (model, guide, **batch) that "
            f"gives a scalar tensor, got {objective!r}."
        )
    if differentiable and enumerates:
        # Pyro's own sums are infinite, or finite and wrong, where factors disagree by a few hundred nats.
        differentiable = stable_enumeration()(differentiable)
    if differentiable:
        return Objective(functools.partial(_differentiable, differentiable), is_elbo=True, enumerates=enumerates)
    if accumulating:
        return Objective(
            functools.partial(_accumulating, accumulating), is_elbo=True, enumerates=enumerates, accumulates=True
        )
    loss = functools.partial(_with_numbers, objective)
    numbers = getattr(objective, "numbers", None)
    if numbers is None:
        numbers = _progress if "progress" in inspect.signature(objective).parameters else no_numbers
    return Objective(loss, numbers, infers_latents=getattr(objective, "infers_latents", False))


def _progress(progress: float) -> dict[str, float]:
    return {"progress": progress}


def _differentiable(loss: Callable, model: Callable, guide: Callable, batch: Batch, _numbers: Numbers) -> Tensor:
    return _checked(loss(model, guide, **batch))


def _with_numbers(loss: Callable, model: Callable, guide: Callable, batch: Batch, numbers: Numbers) -> Tensor:
    return _checked(loss(model, guide, **numbers, **batch))


def _accumulating(loss: Callable, model: Callable, guide: Callable, batch: Batch, _numbers: Numbers) -> Tensor:
    # Pyro's ELBOs without a differentiable loss: TraceGraph_ELBO and RenyiELBO.
    with averages_in_place():
        value = loss(model, _announcing(guide), **batch)
    if isinstance(value, tuple):
        raise TypeError("objective must have one loss, but this one gives several (as wake-sleep does).")
    return torch.as_tensor(value)


def _announcing(guide: Callable) -> Callable:
    # RenyiELBO differentiates only if it has seen a parameter statement, and the weights of an nn.Module make none.
    @effectful(type="param")
    def statement() -> Tensor:
        return torch.zeros(())

    def program(*args: Any, **kwargs: Any) -> Any:
        statement(name="_announcement")
        return guide(*args, **kwargs)

    return program


def _checked(loss: Any) -> Tensor:
    if isinstance(loss, Tensor) and loss.dim() == 0 and loss.requires_grad:
        return loss
    got = repr(loss)
    if isinstance(loss, Tensor):
        got = f"shape {tuple(loss.shape)} with requires_grad={loss.requires_grad}"
    raise TypeError(f"objective must give a scalar tensor that depends on the parameters, got {got}.")
