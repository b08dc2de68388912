r"""Has the guide arrived?  sd_q(u_d) E_q[d log p(x, u) / d u_d] = 0 where no shift of the guide would gain anything."""

from collections.abc import Callable

import torch
import xarray as xr
from torch import Tensor

from ..energy.guide_draws import Guide
from ..energy.landscape import Landscape, landscape
from ..energy.view import BoundView

__all__ = ["push"]

ELEMENTS, FEWEST = 20_000, 100
"""Draws times data that are enough, and the fewest draws."""
ELEMENTS_AT_ONCE = 1000
"""Draws times data whose graph is held in memory."""


def push(view: BoundView, guide: Callable, draws: int = 1000) -> xr.Dataset:
    r"""How many nats of ELBO a guide gains at once, for each standard deviation that it is moved by.

    .. math:: g_d = \sigma_q(u_d) \, E_q\Big[\frac{\partial}{\partial u_d} \log p(x, u)\Big]

    in unconstrained coordinates u of the continuous latents, discrete ones summed out. At the exact posterior it is 0
    (Stein's identity), and at the best guide of any family that can be shifted. A guide that is still being pushed
    has not been trained to the end, and its weights, which are measured where it is, say little of the posterior.
    Of an amortised guide it is the mean over data that must be 0.

    Args:
        view: a bound view.
        guide: q(z | x).
        draws: of the guide; of many data fewer are taken.

    Returns:
        A Dataset over ``direction``: ``push`` and its standard error ``push_error``, in nats a standard deviation. Data
        that share no latent have a direction for each coordinate of a datum, named as ``SITE[i]``; else they are the
        principal directions of the guide, named by the coordinates that they have most of. Empty, with the reason as
        the attribute ``no_push``, where the latents are all discrete, or have no such coordinates or gradient.
    """
    try:
        land = landscape(view.program, {})
    except ValueError as reason:
        return xr.Dataset(attrs={"no_push": str(reason)})
    q, size = Guide(guide, view.plate, *view.program.call, given={}), max(1, view.structure.size)
    draws = min(draws, max(FEWEST, ELEMENTS // size))
    chunk = max(1, ELEMENTS_AT_ONCE // size)
    parts = [_gradients(land, q, min(chunk, draws - start)) for start in range(0, draws, chunk)]
    u, gradient = (torch.cat(part).double() for part in zip(*parts, strict=True))
    if not gradient.isfinite().all():
        return xr.Dataset(attrs={"no_push": "the gradient of log p is nan or infinite at some draws of the guide."})
    # A guide's directions of the most and least spread: along a narrow ridge the gradient itself is mostly noise.
    names = [f"{name}[{i}]" for name in land.continuous for i in range(land.width(name))]
    directions = _directions(u[:, 0]) if land.groups == 1 else torch.eye(len(names)).double()
    by_draw = ((gradient @ directions) * (u @ directions).std(0)).mean(1)
    table = {"push": by_draw.mean(0), "push_error": by_draw.std(0) / draws**0.5}
    return xr.Dataset(
        {name: ("direction", value.numpy()) for name, value in table.items()},
        coords={"direction": [_named(column, names) for column in directions.T]},
    )


def _gradients(land: Landscape, q: Guide, draws: int) -> tuple[Tensor, Tensor]:
    """Coordinates of draws and the gradient of log p there, (S, G, D) each."""
    with torch.no_grad():
        latents = q.draw(draws).latents
        u = land.coordinates({name: latents[name] for name in land.continuous})
    u.requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(land.log_density(u, 1.0, "lebesgue").sum(), u)
    return u.detach(), gradient


def _directions(u: Tensor) -> Tensor:
    """Principal directions of draws (S, D), as columns."""
    _, directions = torch.linalg.eigh(torch.cov(u.T).reshape(u.shape[1], -1))
    return directions


def _named(direction: Tensor, names: list[str]) -> str:
    """A coordinate, or the two that a direction has most of."""
    most = direction.abs().argsort(descending=True)[:2].tolist()
    return " with ".join(names[i] for i in most if abs(direction[i]) > 0.1)
