"""Simulated data:  x ~ p(x | z) at given latents, or z, x ~ p(z, x) from the model alone."""

from collections.abc import Mapping

import pyro.poutine as poutine
import torch
import xarray as xr
from torch import Tensor

from ..energy.scoring import run
from ..energy.structure import sample_sites
from ..energy.vectorize import Program
from ..energy.view import BoundView
from .dimensions import value_dims, with_coordinates

__all__ = ["predict", "simulate"]


@torch.no_grad()
def predict(program: Program, latents: Mapping[str, Tensor], sites: list[str]) -> dict[str, Tensor]:
    """The observed ``sites`` simulated at S draws of the latents, (S, *own) each; the data give their shapes alone."""
    simulator = poutine.uncondition(program.callable)
    draws = len(next(iter(latents.values())))
    rows = []
    for draw in range(draws):
        values = {name: value[draw] for name, value in latents.items()}
        trace = run(simulator, program.structure, program.call, values)
        rows.append({name: site["value"] for name, site in sample_sites(trace).items() if name in sites})
    return {name: torch.stack([row[name] for row in rows]) for name in sites}


@torch.no_grad()
def simulate(view: BoundView) -> xr.Dataset:
    """Latents and data drawn from the model, as many as the view has; the data give their shapes alone."""
    program = view.program
    trace = run(poutine.uncondition(program.callable), program.structure, program.call, {})
    values = {name: site["value"] for name, site in sample_sites(trace).items()}
    sites = [site for site in program.structure.sites.values() if site.shape.numel() > 0]
    rows = {site.name: (value_dims(site), values[site.name].numpy()) for site in sites}
    return with_coordinates(xr.Dataset(rows), program.structure)
