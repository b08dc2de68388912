r"""Sums over points of the latent space:  F_beta = -(1/beta) log mean over k of exp(-beta E(x, z_k))."""

import math
from collections.abc import Mapping

from torch import Tensor

from .scoring import global_energy, local_energy
from .structure import Site
from .view import BoundView

__all__ = ["energies_at", "free_energy_at"]


def free_energy_at(energy: Tensor, beta: float | Tensor) -> Tensor:
    """F_beta by datum, (N,), of the energies of every datum at every point, (K, N), the points being alike.

    Example:
        >>> import torch
        >>> free_energy_at(torch.tensor([[1.0, 3.0], [1.0, 5.0]]), beta=100.0).round(decimals=3)
        tensor([1.0000, 3.0070])
    """
    return (math.log(len(energy)) - (-beta * energy).logsumexp(0)) / beta


def energies_at(bound: BoundView, points: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The energies of every datum at every point, (K, N), and that of the sites outside the data plate, ().

    Raises:
        ValueError: if a latent lies outside the data plate, has no points, or points of another shape.
    """
    structure = bound.structure
    if structure.data_plate is None or structure.shared_latents:
        raise ValueError(
            f"the latents {structure.shared_latents} lie outside the data plate {structure.data_plate!r}: they couple "
            f"the data, and cannot be inferred datum by datum; put them into it, or train with a guide."
        )
    terms = bound.program.terms({name: _everywhere(points, structure.sites[name]) for name in structure.latents})
    energy = local_energy(terms)
    return energy, global_energy(terms, energy.shape[:1])[0]


def _everywhere(points: Mapping[str, Tensor], site: Site) -> Tensor:
    """The points of a site, (K, *event_shape), at every element of its plates, (K, *site.shape)."""
    event_shape = site.shape[site.batch :]
    if site.name not in points or points[site.name].shape[1:] != event_shape:
        got = f"of shape {tuple(points[site.name].shape)}" if site.name in points else f"only of {sorted(points)}"
        raise ValueError(
            f"points must hold values of the latent {site.name!r}, of shape (points, *event_shape), here (points, "
            f"*{tuple(event_shape)}); there are values {got}."
        )
    own = points[site.name]
    return own.reshape(len(own), *[1] * site.batch, *event_shape).expand(-1, *site.shape)
