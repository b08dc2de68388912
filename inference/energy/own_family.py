r"""The best member of a guide's own family for each datum:  min over lambda_n of F_1[q(z_n; lambda_n)].

An amortised guide computes the parameters of its distributions from the data. Here every datum gets parameters of its
own, which start where the guide puts them. What that gains is the amortisation gap (Cremer et al. 2018).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import constraints, transform_to

from .guide_draws import Guide
from .landscape import landscape
from .scoring import local_energy
from .vectorize import Program

__all__ = ["NoOwnFamily", "own_family"]

DRAWS = 16
RATE = 0.03
PREFERRED = {"probs": "logits", "covariance_matrix": "scale_tril", "precision_matrix": "scale_tril"}
"""Parameters that another one stands for."""


class NoOwnFamily(ValueError):  # noqa: N818 - it says what is missing
    """A guide's distributions cannot be given parameters of their own."""


def own_family(program: Program, guide: Callable, steps: int) -> Callable:
    r"""The guide with parameters of its own for every datum, optimised by Adam from where the guide puts them.

    .. math:: \lambda_n = \lambda(x_n) + \delta_n, \qquad \min_\delta \; E_q[\log q(z_n; \lambda_n) + E_n(z_n)]

    in unconstrained parameters. Where a site's distribution depends on another latent, the shift is the same for all
    its values.

    Args:
        program: the program; every free latent lies inside the data plate.
        guide: q(z | x).
        steps: of the optimiser.

    Raises:
        NoOwnFamily: if a site of the guide has a distribution without parameters that torch can constrain, such as a
            flow.

    Reference: C. Cremer, X. Li, D. Duvenaud (2018), Inference suboptimality in variational autoencoders, section 3.
    https://arxiv.org/abs/1801.03558
    """
    shifts: dict[str, Tensor] = {}
    shifted = _shifted(guide, shifts)
    q = Guide(shifted, program.structure.data_plate, *program.call, given={})  # its first run makes the shifts
    optimizer = torch.optim.Adam(list(shifts.values()), lr=RATE, betas=(0.9, 0.99))
    with torch.enable_grad():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
            gradients = torch.autograd.grad(_loss(program, q), list(shifts.values()), allow_unused=True)
            for shift, gradient in zip(shifts.values(), gradients, strict=True):
                shift.grad = None if gradient is None else torch.nan_to_num(gradient, 0.0, 0.0, 0.0)
            optimizer.step()
    for shift in shifts.values():
        shift.requires_grad_(False)
    return shifted


def _loss(program: Program, q: Guide) -> Tensor:
    """F_1[q] summed over the data, whose gradient is unbiased for discrete sites too."""
    sample = q.draw(DRAWS, gradient=True)
    value = _energy(program, sample.latents) - local_energy(sample.terms)
    discrete = [term.energy for name, term in sample.terms.items() if not _moves(sample.latents[name])]
    if not discrete:
        return value.mean(0).sum()
    # The score function, with the mean of the other draws as its baseline.
    others = (value.sum(0) - value) / (len(value) - 1)
    score = -sum(discrete[1:], discrete[0])
    return (value + (value - others).detach() * score).mean(0).sum()


def _energy(program: Program, drawn: Mapping[str, Tensor]) -> Tensor:
    """E_n of draws, (S, N); discrete latents that the guide leaves out are summed out, at beta = 1."""
    if all(name in drawn for name in program.structure.latents):
        return local_energy(program.terms({name: drawn[name] for name in program.structure.latents}))
    land = landscape(program, {})
    u = land.coordinates({name: drawn[name] for name in land.continuous})
    return land.log_jacobian(u) - land.log_density(u, 1.0, "lebesgue")


def _moves(value: Tensor) -> bool:
    return value.requires_grad


def _shifted(guide: Callable, shifts: dict[str, Tensor]) -> Callable:
    def program(*args: Any, **kwargs: Any) -> Any:
        with _Shift(shifts):
            return guide(*args, **kwargs)

    return program


class _Shift(Messenger):
    """Adds shifts to the unconstrained parameters of every sample site, making those that are not there yet."""

    def __init__(self, shifts: dict[str, Tensor]) -> None:
        super().__init__()
        self.shifts = shifts

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or not isinstance(msg["fn"], dist.TorchDistribution | torch.distributions.Distribution):
            return
        msg["fn"] = self._moved(msg["name"], msg["fn"])

    def _moved(self, name: str, fn: Any) -> Any:
        if isinstance(fn, dist.Independent):
            return self._moved(name, fn.base_dist).to_event(fn.reinterpreted_batch_ndims)
        if isinstance(fn, dist.MaskedDistribution):
            return self._moved(name, fn.base_dist).mask(fn._mask)
        if isinstance(fn, dist.Delta):
            return fn
        parameters = {key: self._shift(name, key, getattr(fn, key), fn) for key in _parameter_names(name, fn)}
        return type(fn)(**parameters, validate_args=False)

    def _shift(self, name: str, key: str, value: Tensor, fn: Any) -> Tensor:
        transform = transform_to(fn.arg_constraints[key])
        free = transform.inv(value)
        label = f"{name}.{key}"
        if label not in self.shifts:
            self.shifts[label] = torch.zeros_like(free, requires_grad=True)
        # In units of the distribution's own width, so that one learning rate suits every scale.
        unit = fn.stddev.detach() if key == "loc" else 1.0
        return transform(free.detach() + unit * self.shifts[label])


def _parameter_names(name: str, fn: Any) -> list[str]:
    stated: list[str] = list(fn.arg_constraints)
    names = list(dict.fromkeys(PREFERRED.get(key, key) for key in stated))
    names = [key for key in names if key in stated]
    usable = bool(names) and all(isinstance(getattr(fn, key, None), Tensor) for key in names)
    generic = type(fn) in (dist.TransformedDistribution, torch.distributions.TransformedDistribution)
    if not usable or generic or any(_depends(fn.arg_constraints[key]) for key in names):
        raise NoOwnFamily(
            f"the site {name!r} of the guide has a {type(fn).__name__}, whose parameters cannot be moved by datum."
        )
    return names


def _depends(constraint: Any) -> bool:
    return bool(getattr(constraints, "is_dependent", lambda _: False)(constraint)) or bool(constraint.is_discrete)
