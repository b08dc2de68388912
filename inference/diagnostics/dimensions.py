"""Names and coordinates for the dimensions of a program's values: its plates, and SITE_dim_I."""

import numpy as np
import xarray as xr

from ..energy.structure import Site, Structure

__all__ = ["data_axis", "element_names", "term_dims", "value_dims", "with_coordinates"]


def with_coordinates(dataset: xr.Dataset, structure: Structure) -> xr.Dataset:
    """Counts along every dimension; along a subsampled plate, the indices of the data that were chosen."""
    chosen = {str(dim): structure.subsamples[str(dim)].numpy() for dim in dataset.sizes if dim in structure.subsamples}
    counts = {dim: range(size) for dim, size in dataset.sizes.items()}
    return dataset.assign_coords(counts | chosen)


def value_dims(site: Site) -> list[str]:
    """A name for each dimension of the site's value: its plates', and ``SITE_dim_I`` for the others."""
    batch = len(site.shape) - site.event_dim
    plates = {batch + dim: plate for plate, dim in site.plate_dims.items()}
    return [plates.get(axis, f"{site.name}_dim_{axis}") for axis in range(len(site.shape))]


def term_dims(site: Site, structure: Structure) -> list[str]:
    """The dimensions of a site's energy: the data plate, if the site lies inside it and it is not sequential."""
    return [plate for plate in site.plate_dims if plate == structure.data_plate]


def data_axis(site: Site, structure: Structure) -> int | None:
    """Which dimension of the site's value the data lie along."""
    plate = structure.data_plate
    return site.batch + site.plate_dims[plate] if plate in site.plate_dims else None


def element_names(site: Site, structure: Structure) -> list[str]:
    """``SITE``, or ``SITE[i, j]`` for each of its elements, without the index of the data."""
    axis = data_axis(site, structure)
    shape = [size for place, size in enumerate(site.shape) if place != axis]
    return [f"{site.name}{list(index)}" if index else site.name for index in np.ndindex(*shape)]
