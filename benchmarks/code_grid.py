r"""Exact free energies of a VAE with two latents:  F_1(x) = -log( h^2 sum over a lattice of p(x | code) p(code) ).

An oracle that shares nothing with the energy view: it calls the decoder, and writes the Bernoulli energy and the
Gaussian prior out by hand.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pyrometer.models import VAE

__all__ = ["GridFreeEnergy", "grid_free_energy"]


class GridFreeEnergy(NamedTuple):
    """F_1 by image with its checks, all (N,).

    Attributes:
        value: from the whole lattice.
        coarse: from every other point in each direction: the spacing doubled.
        beyond: the share of the posterior on the lattice's outermost points.
    """

    value: Tensor
    coarse: Tensor
    beyond: Tensor


@torch.no_grad()
def grid_free_energy(model: VAE, image: Tensor, extent: float = 8.0, spacing: float = 0.01) -> GridFreeEnergy:
    """F_1 of each image (N, H, W) of 0 and 1, in nats, by the trapezoidal rule on a square of the code plane.

    Args:
        model: with two latents.
        image: the images.
        extent: half the square's side.
        spacing: h, in units of the prior's standard deviation; ``extent`` must be an even multiple of it.

    The decoder runs in float32, as it does in the energy view; its logits are summed in float64.
    """
    half = round(extent / spacing)
    if model.latents != 2 or half % 2 or not math.isclose(half * spacing, extent):
        raise ValueError(
            f"the code must have 2 dimensions, got {model.latents}, and the extent be an even multiple of the spacing, "
            f"got {extent} and {spacing}."
        )
    axis = spacing * torch.arange(-half, half + 1, dtype=torch.float64)
    pixels = image.flatten(-2).double()
    total, coarse, edge = (torch.full((len(image),), -math.inf, dtype=torch.float64) for _ in range(3))
    for row, first in enumerate(axis):
        log_joint = _log_joint(model, pixels, torch.stack([first.expand_as(axis), axis], -1))
        total = torch.logaddexp(total, log_joint.logsumexp(0))
        if row % 2 == 0:
            coarse = torch.logaddexp(coarse, log_joint[::2].logsumexp(0))
        outermost = log_joint if row in (0, 2 * half) else log_joint[[0, -1]]
        edge = torch.logaddexp(edge, outermost.logsumexp(0))
    cell = 2 * math.log(spacing)
    return GridFreeEnergy(-total - cell, -coarse - cell - math.log(4), (edge - total).exp())


def _log_joint(model: VAE, pixels: Tensor, code: Tensor) -> Tensor:
    """log p(x | code) + log p(code) for codes (M, 2) and pixels (N, P): (M, N)."""
    logits = model.decode(code.to(next(model.parameters()))).flatten(-2).double()
    log_likelihood = logits @ pixels.mT - softplus(logits).sum(-1, keepdim=True)
    return log_likelihood - 0.5 * code.square().sum(-1, keepdim=True) - math.log(2 * math.pi)
