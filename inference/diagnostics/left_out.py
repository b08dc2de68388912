r"""What a program predicts of each datum from the others:  draws z_s, y_ns with weights that leave y_n out."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import xarray as xr
from torch import Tensor

from ..energy.elimination import log_partition
from ..energy.enumerated_trace import NotEnumerable, enumerated_trace
from ..energy.scoring import Term
from ..energy.structure import Site, Structure
from ..energy.vectorize import Program, Scoring
from ..energy.view import BoundView
from .arviz_groups import values_of
from .predictive import run_forward

__all__ = ["Predictions", "Withheld", "predictions_without"]

IMPOSSIBLE = -1e29
"""A log weight below is that of a draw without a density: where discrete latents are summed out, this is -1e30."""


class Withheld(ValueError):  # noqa: N818 - it says what is withheld, and why
    """Data cannot be left out one by one."""


class Predictions(NamedTuple):
    """Of each datum without it.

    Attributes:
        sites: the observed sites that are left out, each with an element for every datum.
        predicted: S draws of them, over (chain, draw, ...).
        log_weights: of the draws by datum, (S, N), in nats; all the same where the draws are of the prediction itself.
    """

    sites: list[Site]
    predicted: xr.Dataset
    log_weights: Tensor


@torch.no_grad()
def predictions_without(view: BoundView, groups: Mapping[str, xr.Dataset]) -> Predictions:
    r"""Draws of each datum, with weights that leave it out.

    .. math:: p(y_n \mid y_{-n}) = \int p(y_n \mid z) \, p(z \mid y_{-n}) \, dz, \qquad
              p(z \mid y_{-n}) \propto q(z) \cdot \frac{p(x, z)}{q(z)} \cdot \frac{1}{p(y_n \mid z)}

    Where the data share no latent, none tells anything of another: p(z | y_-n) is the prior, and the draws are of it,
    without weights and whatever the guide is. Else discrete latents inside the data plate are summed out of p(y_n | z),
    and drawn from their prior: a guide's draws of them would hold the datum to the value that it suggests itself.
    Continuous latents inside the data plate stay as they are drawn, and if Pareto k says so the weights cannot lead
    them back to their prior.

    Args:
        view: a bound view.
        groups: of ``drawn_groups``, with ``sum_discrete``.

    Raises:
        Withheld: with the reason, if there is no data plate, the program cannot simulate its data, or has factors that
            a simulation knows nothing of.
    """
    structure = view.structure
    sites = [site for site in structure.data if structure.data_plate in site.plate_dims]
    if not sites:
        raise Withheld("no plate that has a dimension holds the data, so that they cannot be left out one by one.")
    if not structure.shared_latents:
        return _of_the_prior(structure, sites, groups)
    if "posterior_predictive" not in groups:
        raise Withheld("the data cannot be drawn from the program.")
    log_weight = torch.from_numpy(groups["sample_stats"].log_weight.values).reshape(-1, 1)
    local = [n for n in structure.latents if structure.is_discrete(n) and n not in structure.shared_latents]
    if not local:
        log_likelihood = _of_sites(groups["log_likelihood"], [site.name for site in sites])
        return Predictions(sites, groups["posterior_predictive"], _without(log_weight, log_likelihood))
    kept = [name for name in structure.latents if name not in local]
    latents = {name: torch.from_numpy(groups["posterior"][name].values[0]) for name in kept}
    _refuse_factors(structure)
    log_likelihood = _summed(view.program, latents) - _of_sites(groups["log_prior"], kept)
    values = run_forward(view.program, latents, len(log_weight))
    rows = {name: (["chain", "draw", *dims], v.unsqueeze(0).numpy()) for name, v, dims in values_of(sites, values)}
    return Predictions(sites, xr.Dataset(rows), _without(log_weight, log_likelihood))


def _of_the_prior(structure: Structure, sites: list[Site], groups: Mapping[str, xr.Dataset]) -> Predictions:
    if "prior_predictive" not in groups:
        raise Withheld("the data share no latent, and their prior cannot be drawn from.")
    _refuse_factors(structure)
    predicted = groups["prior_predictive"]
    return Predictions(sites, predicted, torch.zeros(predicted.sizes["draw"], structure.size, dtype=torch.float64))


def _refuse_factors(structure: Structure) -> None:
    if structure.factors:
        raise Withheld(f"the sites {structure.factors} are factors, which play no part where data are simulated.")


def _without(log_weight: Tensor, log_likelihood: Tensor) -> Tensor:
    """(S, N); a draw without a density under the program has none without a datum either."""
    left = log_weight - log_likelihood
    return torch.where(log_weight > IMPOSSIBLE, left, -torch.inf)


def _of_sites(group: xr.Dataset, names: list[str]) -> Tensor:
    """The sum over those of these sites that lie along the data plate, (S, N)."""
    local = [torch.from_numpy(group[name].values[0]).double() for name in names if group[name].ndim > 2]
    return torch.stack(local).sum(0) if local else torch.zeros((), dtype=torch.float64)


def _summed(program: Program, latents: Mapping[str, Tensor]) -> Tensor:
    """log p(y_n, z_n | other latents) with all latents summed out that are not passed, (S, N)."""

    def one(values: Mapping[str, Tensor]) -> dict[str, Term]:
        found = log_partition(enumerated_trace(program, values), program.structure, 1.0, "lebesgue").per_datum
        if found is None:
            raise NotEnumerable("no term of the sum belongs to a single datum.")
        return {"data": Term(found, True, None)}

    try:
        return program.many(latents, Scoring("sums by datum", one, None))["data"].energy.double()
    except NotEnumerable as reason:
        raise Withheld(str(reason)) from reason
