r"""Training at a temperature:  F_beta[q] = E_q[E] - T H(q)  in place of minus the ELBO, with T = 1 / beta."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

from pyro.infer import Trace_MMD, TraceTMC_ELBO
from pyro.infer.elbo import ELBO
from torch import Tensor

from ..energy.temper import temper
from .data import Batch
from .objective import Numbers, Objective, as_objective

__all__ = ["Beta", "at_temperature"]

Beta = float | Callable[[float], float]
BETA = "inverse temperature"
"""Among the numbers of an objective: no argument can have this name."""
CHECKED = (0.0, 0.25, 0.5, 0.75, 1.0)


def at_temperature(objective: Any, beta: Beta) -> Objective:
    r"""The objective at an inverse temperature, or along a schedule of them.

    An ELBO of Pyro is evaluated on the tempered model and divided by beta, which gives F_beta[q], in nats of energy.
    A function with an argument ``beta`` is passed it.

    Args:
        objective: as ``fit`` takes it.
        beta: a number, or a function from the fraction of the training that is done.

    Raises:
        ValueError: if ``beta`` is not positive and finite throughout, or differs from 1 and the objective is neither an
            ELBO that can be tempered nor a function with an argument ``beta``.
        TypeError: if ``beta`` gives no number, or ``objective`` is of the wrong kind.
    """
    _check(beta)
    untempered, is_one = as_objective(objective), not callable(beta) and beta == 1
    if not untempered.is_elbo and "beta" in inspect.signature(objective).parameters:
        loss = functools.partial(_passing_beta, untempered, None if is_one else beta)
        return dataclasses.replace(untempered, loss=loss, numbers=_numbers(untempered, beta))
    if is_one:
        return untempered
    if not untempered.is_elbo:
        raise ValueError(
            f"beta = {beta} has no meaning for this objective, a function without an argument beta: give it one and "
            f"compute F_beta[q] there, for example by pyrometer.temper(model, beta), or leave fit's beta at 1."
        )
    _check_elbo(objective)
    loss = functools.partial(_free_energy, untempered, beta)
    factor = functools.partial(_temperature, beta) if untempered.accumulates else None
    return dataclasses.replace(untempered, loss=loss, numbers=_numbers(untempered, beta), gradient_factor=factor)


def _free_energy(
    untempered: Objective, beta: Beta, model: Callable, guide: Callable, batch: Batch, numbers: Numbers
) -> Tensor:
    value = _value(beta, numbers)
    return untempered.loss(temper(model, value), guide, batch, numbers) / value


def _passing_beta(
    untempered: Objective, beta: Beta | None, model: Callable, guide: Callable, batch: Any, numbers: Numbers
) -> Tensor:
    others = {name: number for name, number in numbers.items() if name != BETA}
    if "beta" not in batch:
        batch = {**batch, "beta": 1.0 if beta is None else _value(beta, numbers)}
    elif beta is not None:
        raise ValueError(
            "beta is an entry of the data and so is what the objective gets as its argument beta; rename the entry to "
            "train at a temperature."
        )
    return untempered.loss(model, guide, batch, others)


def _numbers(untempered: Objective, beta: Beta) -> Callable[[float], dict[str, float]]:
    """Those of the objective, and beta where it changes."""
    if not callable(beta):
        return untempered.numbers
    return lambda progress: {**untempered.numbers(progress), BETA: _at(beta, progress)}


def _value(beta: Beta, numbers: Numbers) -> float | Tensor:
    return numbers[BETA] if callable(beta) else float(beta)


def _at(beta: Beta, progress: float) -> float:
    return float(beta(progress) if callable(beta) else beta)


def _temperature(beta: Beta, numbers: Numbers) -> float | Tensor:
    return 1 / _value(beta, numbers)


def _check(beta: Any) -> None:
    varies: bool = callable(beta)
    for progress in CHECKED if varies else CHECKED[:1]:
        name = f"beta({progress})" if varies else "beta"
        try:
            value = _at(beta, progress)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"beta must be a number, or a function from the fraction of the training done to one; {name} failed "
                f"with {type(error).__name__}: {error}"
            ) from error
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(
                f"beta must be a positive, finite inverse temperature, got {name} = {value}. For the limit beta = inf "
                f"train a point estimate with AutoDelta, or use EnergyView(model).bind(...).zero_temperature()."
            )


def _check_elbo(objective: Any) -> None:
    name = type(objective).__name__
    if objective is not None and (not isinstance(objective, ELBO) or isinstance(objective, Trace_MMD)):
        raise ValueError(
            f"beta must be 1 with {name}, which is no bound on the free energy: pass one such as Trace_ELBO()."
        )
    if isinstance(objective, TraceTMC_ELBO):
        raise ValueError(f"beta must be 1 with {name}, which draws from the model: pass TraceEnum_ELBO() instead.")
    if name.startswith("Jit"):
        raise ValueError(f"beta must be 1 with {name}, which compiles the model for good: pass {name[3:]}() instead.")
