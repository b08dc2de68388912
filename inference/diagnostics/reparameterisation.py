r"""Funnels, and the way out of them:  z = loc + scale * z', z' ~ p(. | 0, 1), in place of z ~ p(. | loc, scale)."""

from collections.abc import Callable, Iterable, Mapping

import pyro.poutine as poutine
import torch
import xarray as xr
from pyro.infer.reparam import LocScaleReparam
from torch import Tensor

from ..energy.scoring import run
from ..energy.structure import sample_sites
from ..energy.substitute import innermost
from ..energy.view import BoundView

__all__ = ["funnels", "noncentered"]

SPREAD, WIDTH = 0.1, 0.5
"""A funnel shows where log scale varies by more than the first, and the latent is wider than the second, in scales."""
ROUNDING = 1e-6


def noncentered(model: Callable, sites: Iterable[str] | None = None, centered: float = 0.0) -> Callable:
    r"""The same model with some latents written as loc + scale * z'; z' is then latent, and named ``SITE_decentered``.

    .. math:: z' \sim p(\cdot \mid c \, \text{loc}, \text{scale}^c), \qquad
              z = \text{loc} + \text{scale}^{1 - c} (z' - c \, \text{loc})

    Args:
        model: any Pyro callable. A guide for it is made anew: its latents have other names.
        sites: names of latents of a location-scale family, such as Normal, StudentT or Laplace; without, each whose
            distribution has ``loc`` and ``scale``.
        centered: c; 0 is the non-centred program, 1 the program as written.

    Returns:
        A Pyro callable, in which the sites themselves are deterministic.

    Reference: M. Gorinova, D. Moore, M. Hoffman (2020), Automatic reparameterisation of probabilistic programs, ICML.
    https://arxiv.org/abs/1906.03028

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from pyrometer import EnergyView
        >>> def model(y):
        ...     tau = pyro.sample("tau", dist.HalfNormal(2.0))
        ...     with pyro.plate("data", len(y)):
        ...         theta = pyro.sample("theta", dist.Normal(1.5, tau))
        ...         pyro.sample("y", dist.Normal(theta, 0.5), obs=y)
        >>> EnergyView(noncentered(model, ["theta"])).bind(torch.tensor([0.3, -0.1])).structure.latents
        ['tau', 'theta_decentered']
    """
    if not 0.0 <= centered <= 1.0:
        raise ValueError(f"centered must be from 0 (non-centred) to 1 (as written), got {centered}.")
    if isinstance(sites, str):
        raise TypeError(f"sites must be a list of names, got the text {sites!r}; write [{sites!r}].")
    if sites is not None:
        return poutine.reparam(model, config={name: LocScaleReparam(centered) for name in sites})

    def config(site: Mapping) -> LocScaleReparam | None:
        is_new = site["name"].endswith("_decentered")
        chosen = not site["is_observed"] and not is_new and _is_loc_scale(site["fn"])
        return LocScaleReparam(centered) if chosen else None

    return poutine.reparam(model, config=config)


@torch.no_grad()
def funnels(view: BoundView, latents: Mapping[str, Tensor], most: int = 100) -> xr.Dataset:
    """Where the scale of a latent's prior is itself uncertain, and the data do not hold the latent by themselves.

    Args:
        view: a bound view.
        latents: draws of every latent, (S, *own), of a guide or of the posterior.
        most: of them looked at.

    Returns:
        A Dataset over ``site``, those latents of a location-scale family whose scale depends on other latents:
        ``spread``, the standard deviation over draws of the logarithm of the scale; ``width``, the standard deviation
        of the latent over its scale (root mean squares over elements): small where the data hold it; ``funnel``,
        whether the first is above 0.1 (a guide that misses the funnel makes it too small) and the second above 0.5.
    """
    count = min(most, len(next(iter(latents.values()))))
    scales: dict[str, list[Tensor]] = {}
    for draw in range(count):
        values = {name: value[draw] for name, value in latents.items()}
        trace = run(view.program.callable, view.structure, view.program.call, values)
        for name, node in sample_sites(trace).items():
            if not node["is_observed"] and _is_loc_scale(node["fn"]):
                scales.setdefault(name, []).append(innermost(node["fn"]).scale.double().expand(node["value"].shape))
    rows = {}
    for name, found in scales.items():
        log_scale = torch.stack(found).log()
        spread = log_scale.std(0).square().mean().sqrt().item()
        if spread > ROUNDING:
            own = latents[name][:count].double().std(0) / log_scale.mean(0).exp()
            rows[name] = spread, own.square().mean().sqrt().item()
    columns = {"spread": [row[0] for row in rows.values()], "width": [row[1] for row in rows.values()]}
    table = xr.Dataset({name: ("site", values) for name, values in columns.items()}, coords={"site": list(rows)})
    return table.assign(funnel=(table.spread > SPREAD) & (table.width > WIDTH))


def _is_loc_scale(fn: object) -> bool:
    inner = innermost(fn)
    return {"loc", "scale"} <= set(getattr(inner, "arg_constraints", {})) and not hasattr(inner, "base_dist")
