"""Simulated data:  x ~ p(x | z) at given latents, or z, x ~ p(z, x) from the model alone."""

from collections.abc import Mapping

import torch
import xarray as xr
from torch import Tensor

from ..energy.scoring import run
from ..energy.simulated_data import seen_elements
from ..energy.structure import sample_sites
from ..energy.substitute import DrawData
from ..energy.vectorize import Program, beside_plates, from_plates
from ..energy.view import BoundView
from .dimensions import value_dims, with_coordinates

__all__ = ["run_forward", "seen", "simulate"]


@torch.no_grad()
def run_forward(
    program: Program, latents: Mapping[str, Tensor], draws: int, draw_data: bool = True
) -> dict[str, Tensor]:
    """The values of every site in S runs of the model, (S, *own) each; the data give their shapes alone.

    Latents that are passed, (S, *own), keep their values, the others and, with ``draw_data``, the data are drawn. All
    runs are one along an outer plate, where the program allows that.

    Raises:
        NotImplementedError: a distribution cannot be drawn from.
    """
    simulator, structure = DrawData()(program.callable) if draw_data else program.callable, program.structure
    if program.broadcasts:
        trace = run(simulator, structure, program.call, beside_plates(structure, latents), draws=draws)
        values = {name: site["value"] for name, site in sample_sites(trace).items()}
        return from_plates(structure, values, draws)
    rows = []
    for draw in range(draws):
        own = {name: value[draw] for name, value in latents.items()}
        trace = run(simulator, structure, program.call, own)
        rows.append({name: site["value"] for name, site in sample_sites(trace).items()})
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def simulate(view: BoundView) -> xr.Dataset:
    """Latents and data drawn from the model, as many as the view has; the data give their shapes alone."""
    values = run_forward(view.program, {}, 1)
    sites = [site for site in view.structure.sites.values() if site.shape.numel() > 0]
    rows = {site.name: (value_dims(site), values[site.name][0].numpy()) for site in sites}
    return with_coordinates(xr.Dataset(rows), view.structure)


@torch.no_grad()
def seen(view: BoundView, latents: Mapping[str, Tensor]) -> xr.Dataset:
    """Which elements of the data no mask leaves out; of the sites alone that have a mask.

    Args:
        view: a bound view.
        latents: a value of every latent, in the site's own shape.
    """
    structure = view.structure
    nodes = sample_sites(run(view.program.callable, structure, view.program.call, latents))
    masked = [site for site in structure.data if not seen_elements(nodes[site.name]).all()]
    rows = {site.name: (value_dims(site), seen_elements(nodes[site.name]).numpy()) for site in masked}
    return xr.Dataset(rows)
