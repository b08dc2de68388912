"""The groups of ArviZ's container: variables with the draws in front as Datasets over (chain, draw, ...)."""

import gc
from collections.abc import Iterable, Mapping, Sequence

import torch
import xarray as xr
from torch import Tensor

from ..energy.data_arguments import arguments_by_name
from ..energy.structure import Site, Structure
from ..energy.view import BoundView
from .dimensions import value_dims, with_coordinates
from .posterior_draws import part_sizes
from .predictive import run_forward

__all__ = [
    "Row",
    "constant_group",
    "joined",
    "observed_group",
    "prior_groups",
    "values_of",
]

LARGE = 1_000_000
"""Numbers of a part whose memory is looked after."""
Row = tuple[str, Tensor, list[str]]
"""A variable: its name, its values with the draws in front, the names of their other dimensions."""


def values_of(sites: Iterable[Site], values: Mapping[str, Tensor]) -> list[Row]:
    """Values of sites, (S, *own), by the names of their dimensions."""
    return [(site.name, values[site.name], value_dims(site)) for site in sites]


def joined(parts: Iterable[dict[str, list[Row]]], view: BoundView, data: Sequence[int] | None) -> dict[str, xr.Dataset]:
    """Parts of the draws as one Dataset a group over (chain, draw, ...), of the data asked for."""
    found: dict[str, list[xr.Dataset]] = {}
    for part in parts:
        for name, rows in part.items():
            variables = {n: (["chain", "draw", *dims], value.unsqueeze(0).numpy()) for n, value, dims in rows}
            found.setdefault(name, []).append(_of(xr.Dataset(variables), view.structure, data))
        if sum(value.numel() for rows in part.values() for _, value, _ in rows) > LARGE:
            gc.collect()  # traces hold on to their tensors in cycles, of which Python sees the number and not the size
    whole = {name: xr.concat(group, "draw") if len(group) > 1 else group[0] for name, group in found.items()}
    return {name: group.assign_coords(draw=range(group.sizes["draw"])) for name, group in whole.items() if group}


def prior_groups(
    view: BoundView, draws: int, data: Sequence[int] | None
) -> tuple[dict[str, xr.Dataset], dict[str, str]]:
    """The groups of the prior; or none, and the reason."""
    structure = view.structure
    latents = [structure.sites[name] for name in structure.latents]

    def part(count: int) -> dict[str, list[Row]]:
        values = run_forward(view.program, {}, count)
        prior = values_of([*latents, *structure.computed], values)
        return {"prior": prior, "prior_predictive": values_of(structure.data, values)}

    try:
        return joined((part(count) for count in part_sizes(structure, draws)), view, data), {}
    except NotImplementedError as error:  # such as an improper prior
        return {}, {"no_prior": f"the prior cannot be drawn from: {error}"}


def observed_group(structure: Structure, data: Sequence[int] | None) -> dict[str, xr.Dataset]:
    """The data, if the program has any beside factors."""
    values = {site.name: (value_dims(site), structure.observed[site.name].numpy()) for site in structure.data}
    return {"observed_data": _of(xr.Dataset(values), structure, data)} if values else {}


def constant_group(view: BoundView, data: Sequence[int] | None) -> dict[str, xr.Dataset]:
    """Tensors among the arguments that are no observed value, along the data plate where they are as long as it."""
    structure = view.structure
    found = {}
    for name, value in arguments_by_name(view.program).items():
        if not isinstance(value, Tensor) or any(_equal(value, known) for known in structure.observed.values()):
            continue
        dims = [f"{name}_dim_{axis}" for axis in range(value.dim())]
        if value.dim() and structure.data_plate is not None and len(value) == structure.size:
            dims[0] = structure.data_plate
        found[name] = (dims, value.detach().cpu().numpy())
    return {"constant_data": _of(xr.Dataset(found), structure, data)} if found else {}


def _of(dataset: xr.Dataset, structure: Structure, data: Sequence[int] | None) -> xr.Dataset:
    """Coordinates, and of the data plate the elements asked for; copied, so that the others can be let go."""
    dataset = with_coordinates(dataset, structure)
    if data is None or structure.data_plate not in dataset.dims:
        return dataset
    return dataset.isel({structure.data_plate: list(data)}).copy(deep=True)


def _equal(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and torch.equal(one, other))
