"""From a fitted guide to ArviZ: posterior draws, likelihoods, energies, importance weights, predictions."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from .. import arviz_versions
from ..energy.log_weights import LogWeights, guide_log_weights
from ..energy.structure import Site, Structure
from ..energy.view import BoundView
from .dimensions import term_dims, value_dims, with_coordinates
from .predictive import predict

__all__ = ["to_arviz"]


@torch.no_grad()
def to_arviz(view: BoundView, guide: Callable, draws: int = 1000) -> Any:
    r"""ArviZ's InferenceData from independent draws of a guide.

    Args:
        view: a bound view of the model.
        guide: q(z | x), a Pyro program that takes the arguments that the view is bound to.
        draws: the number of draws S, all in one chain, since they are independent.

    Returns:
        InferenceData whose dimensions are ``chain`` (1), ``draw`` (S), one for each plate, named as the plate, and
        ``SITE_dim_I`` for what is left of a site's shape, with the groups

        * ``posterior``: every latent site, drawn from the guide;
        * ``log_likelihood``: log p(x | z) of every observed site, by datum along the data plate, in nats;
        * ``sample_stats``: ``energy``, the total E(x, z); ``log_weight``, log p(x, z) - log q(z), by datum where no
          latent is shared, else of the total, in nats;
        * ``posterior_predictive``: the observed sites, simulated at the draws;
        * ``observed_data``.

    Warning:
        The draws are the guide's, not the posterior's: where ``diagnose`` finds a large Pareto k, they are not to be
        taken for it.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyrometer import EnergyView
        >>> def model(y):
        ...     with pyro.plate("data", len(y)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 2.0))
        ...         pyro.sample("y", dist.Normal(z, 0.5), obs=y)
        >>> def guide(y):
        ...     with pyro.plate("data", len(y)):
        ...         pyro.sample("z", dist.Normal(y, 0.5))
        >>> data = to_arviz(EnergyView(model).bind(torch.tensor([0.3, -0.1])), guide, draws=100)
        >>> dict(data.posterior.sizes)
        {'chain': 1, 'draw': 100, 'data': 2}
    """
    structure = view.structure
    sites = [structure.sites[name] for name in structure.latents]
    # A pyro.factor is an observed site without a value.
    observed = [site for site in structure.sites.values() if site.observed and site.shape.numel() > 0]
    weights = guide_log_weights(view.program, guide, 1.0, "lebesgue", {}, draws)
    terms = view.terms(weights.latents)
    simulated = predict(view.program, weights.latents, [site.name for site in observed])
    groups = {
        "posterior": _group(structure, [(s.name, weights.latents[s.name], value_dims(s)) for s in sites]),
        "log_likelihood": _group(structure, [(s.name, -terms[s.name], term_dims(s, structure)) for s in observed]),
        "sample_stats": _group(structure, [("energy", weights.energy, []), _log_weight_row(weights, structure)]),
        "posterior_predictive": _group(structure, [(s.name, simulated[s.name], value_dims(s)) for s in observed]),
        "observed_data": _observed(view, observed),
    }
    attributes = {"draws": draws, "inference_library": "pyrometer", "sampler": "independent draws of the guide"}
    return arviz_versions.from_datasets({name: group.assign_attrs(attributes) for name, group in groups.items()})


def _group(structure: Structure, rows: Iterable[tuple[str, Tensor, list[str]]]) -> xr.Dataset:
    """Values with the draws in front, (S, ...), as a Dataset over (chain, draw, ...)."""
    variables = {name: (["chain", "draw", *dims], value.unsqueeze(0).numpy()) for name, value, dims in rows}
    return with_coordinates(xr.Dataset(variables), structure)


def _log_weight_row(weights: LogWeights, structure: Structure) -> tuple[str, Tensor, list[str]]:
    if weights.by_datum:
        return "log_weight", weights.log_weights, [structure.data_plate or ""]
    return "log_weight", weights.log_weights.squeeze(-1), []


def _observed(view: BoundView, observed: list[Site]) -> xr.Dataset:
    values = {site.name: (value_dims(site), view.structure.observed[site.name].numpy()) for site in observed}
    return with_coordinates(xr.Dataset(values), view.structure)
