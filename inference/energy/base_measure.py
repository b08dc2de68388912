r"""Base measures of free energies: counting and volume, the prior, or the uniform distribution on a bounded support."""

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.distributions import constraints

__all__ = ["Base", "check_base", "check_temperature", "log_volume"]

Base = Literal["lebesgue", "prior", "uniform"]
INTERVALS = (constraints.interval, constraints.half_open_interval)


def check_temperature(beta: float, base: str) -> None:
    """Refuses inverse temperatures and base measures that no method takes.

    Raises:
        ValueError: if ``beta`` is not positive and finite, or ``base`` is unknown.
    """
    if not (beta > 0 and math.isfinite(beta)):
        raise ValueError(f"beta must be a positive, finite inverse temperature, got {beta}.")
    check_base(base)


def check_base(base: str) -> None:
    """Refuses an unknown base measure.

    Raises:
        ValueError: listing those there are.
    """
    if base not in get_args(Base):
        raise ValueError(f'base must be "lebesgue", "prior" or "uniform", got {base!r}.')


def log_volume(name: str, fn: Any) -> Tensor:
    r"""log \|Z\|, the volume of the support of a latent site, for every element of its batch, ``fn.batch_shape``.

    In float64, as it may be divided by a small beta. A discrete support is counted. A simplex of K parts has the volume
    1 / (K - 1)! in its first K - 1 coordinates.

    Example:
        >>> import pyro.distributions as dist
        >>> log_volume("angle", dist.Uniform(0.0, 2 * math.pi).expand([3]))
        tensor([1.8379, 1.8379, 1.8379], dtype=torch.float64)

    Raises:
        ValueError: if the support is unbounded: there is no uniform distribution on it.
    """
    if fn.has_enumerate_support:
        count = len(fn.enumerate_support(expand=False))
        return torch.tensor(math.log(count), dtype=torch.float64).expand(fn.batch_shape)
    support = fn.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if isinstance(support, INTERVALS):
        length = torch.as_tensor(support.upper_bound - support.lower_bound).double().log()
        shape = fn.batch_shape + fn.event_shape
        return length.expand(shape).reshape(*fn.batch_shape, -1).sum(-1)
    if support is constraints.simplex:
        parts = fn.event_shape[-1]
        volume = -math.lgamma(parts) * (fn.event_shape.numel() // parts)
        return torch.full(fn.batch_shape, volume, dtype=torch.float64)
    raise ValueError(
        f'base="uniform" needs latents of bounded support, and that of the site {name!r} '
        f'({type(fn).__name__}) is {support}; take base="lebesgue" or base="prior".'
    )
