"""Draws of a guide taken anew by their smoothed weights, to stand for the posterior's."""

import numpy as np
import torch
import xarray as xr

from ..energy.importance import pareto_smooth

__all__ = ["resampled"]

OF_DRAWS = {"posterior", "log_likelihood", "log_prior", "sample_stats", "posterior_predictive"}


def resampled(groups: dict[str, xr.Dataset]) -> tuple[dict[str, xr.Dataset], float]:
    """The groups with as many draws taken anew, with replacement, by their weights; and the largest Pareto k.

    Where weights are by datum, each datum's draws are taken by its own, and the total energy is left out.

    Raises:
        ValueError: if no draw of some datum has a density under the program.
    """
    log_weight = groups["sample_stats"].log_weight
    own = log_weight.dims[2:]
    if any(dim not in value.dims for dim in own for value in groups["posterior"].values()):
        log_weight, own = log_weight.sum(own), ()  # what is not laid out by datum is weighted as a whole
    columns = torch.from_numpy(log_weight.values.reshape(log_weight.sizes["draw"], -1))
    smoothed, k = pareto_smooth(columns)
    if not smoothed.isfinite().any(0).all():
        raise ValueError(
            f"none of {len(columns)} draws of the guide lies in the support of the program's latents; give the guide "
            f"the same supports."
        )
    rows = torch.multinomial(smoothed.softmax(0).T, len(columns), replacement=True).T.numpy()
    places = {dim: xr.DataArray(np.arange(log_weight.sizes[dim]), dims=dim) for dim in own}
    index = {"draw": xr.DataArray(rows.reshape(log_weight.shape[1:]), dims=("draw", *own)), **places}

    def taken(value: xr.DataArray) -> xr.DataArray:
        return value.isel(index).transpose("chain", "draw", ...)

    stats = groups["sample_stats"]
    groups = groups | {"sample_stats": stats.drop_vars("energy") if own else stats}
    draw = np.arange(len(columns))
    anew = {name: group.map(taken).assign_coords(draw=draw) for name, group in groups.items() if name in OF_DRAWS}
    return groups | anew, float(k.max())
