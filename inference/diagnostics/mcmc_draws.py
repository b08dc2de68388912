"""Draws of every latent from a result of Pyro's MCMC, a part at a time, and their chains."""

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr
from pyro.infer import MCMC
from torch import Tensor

from ..energy.view import BoundView
from .discrete_draws import draw_discrete
from .posterior_draws import PosteriorPart, part_sizes

__all__ = ["by_chain", "from_mcmc"]


def from_mcmc(view: BoundView, mcmc: MCMC) -> tuple[Iterator[PosteriorPart], int]:
    """The draws of MCMC, chain after chain, and the number of chains.

    Raises:
        ValueError: naming a continuous latent that was not sampled, or a shape that is not the site's own.
    """
    structure = view.structure
    samples: Mapping[str, Tensor] = mcmc.get_samples(group_by_chain=True)
    missing = [name for name in structure.latents if name not in samples and not structure.is_discrete(name)]
    if missing:
        raise ValueError(
            f"the MCMC result has no draws of {missing}; it has {list(samples)}. Pass the result of a kernel on the "
            f"program of this view."
        )
    known = {name: samples[name] for name in structure.latents if name in samples}
    for name, value in known.items():
        if value.shape[2:] != structure.sites[name].shape:
            raise ValueError(
                f"the MCMC result has draws of {name!r} of shape {tuple(value.shape[2:])}; the view's site has "
                f"{tuple(structure.sites[name].shape)}: bind the view to the data that MCMC was run on."
            )
    flat = {name: value.flatten(0, 1) for name, value in known.items()}
    chains, draws = next(iter(samples.values())).shape[:2]

    def parts() -> Iterator[PosteriorPart]:
        sizes = part_sizes(structure, chains * draws)
        for values in zip(*(value.split(sizes) for value in flat.values()), strict=True):
            latents = dict(zip(flat, values, strict=True))
            count = len(values[0])
            yield PosteriorPart({**latents, **draw_discrete(view.program, latents, count)}, None, False)

    return parts(), chains


def by_chain(groups: dict[str, xr.Dataset], mcmc: MCMC, chains: int) -> dict[str, xr.Dataset]:
    """Draws of one chain after another as (chain, draw, ...), and where trajectories diverged."""

    def split(value: xr.DataArray) -> xr.DataArray:
        return xr.DataArray(value.values.reshape(chains, -1, *value.shape[2:]), dims=value.dims)

    split_up = {}
    for name, group in groups.items():
        others = {dim: group[dim] for dim in group.dims if dim not in ("chain", "draw")}
        split_up[name] = group.drop_vars(["chain", "draw"]).map(split).assign_coords(others)
    stats = split_up["sample_stats"]
    diverging = _divergences(mcmc, chains, stats.sizes["draw"])
    if diverging is not None:
        split_up["sample_stats"] = stats.assign(diverging=(("chain", "draw"), diverging))
    counts = {"chain": range(chains), "draw": range(stats.sizes["draw"])}
    return {name: group.assign_coords(counts) for name, group in split_up.items()}


def _divergences(mcmc: MCMC, chains: int, draws: int) -> np.ndarray | None:
    """Which draws ended a divergent trajectory, (C, S); None where the kernel does not say."""
    told = mcmc.diagnostics().get("divergences")
    if told is None:
        return None
    found = np.zeros((chains, draws), dtype=bool)
    for chain, indices in enumerate(told.values()):
        found[chain, list(indices)] = True
    return found
