"""From a guide, or from MCMC, to ArviZ: draws, likelihoods, energies, importance weights, predictions."""

import datetime
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import xarray as xr
from pyro.infer import MCMC

from .. import arviz_versions
from ..energy.free_energy import reliable_pareto_k
from ..energy.scoring import total_energy
from ..energy.structure import Structure
from ..energy.user_code import warn_caller
from ..energy.view import BoundView
from .arviz_groups import (
    Row,
    constant_group,
    joined,
    observed_group,
    prior_groups,
    values_of,
)
from .dimensions import term_dims
from .importance_resampling import resampled
from .mcmc_draws import by_chain, from_mcmc
from .posterior_draws import PosteriorPart, from_guide
from .predictive import run_forward

__all__ = ["container", "drawn_groups", "to_arviz"]


@torch.no_grad()
def to_arviz(
    view: BoundView,
    source: Callable | MCMC,
    draws: int = 1000,
    resample: bool = False,
    data: Sequence[int] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Any:
    r"""ArviZ's InferenceData (1.x: a DataTree) from draws of a guide, or from a result of Pyro's MCMC.

    Args:
        view: a bound view of the model.
        source: q(z | x), a Pyro program that takes the arguments that the view is bound to; or a ``pyro.infer.MCMC``
            that has run on the program. Discrete latents that it leaves out are drawn from their exact conditional.
        draws: the number of draws S of a guide, all in one chain, since they are independent, and of the prior.
        resample: draw from the guide's draws anew, with Pareto-smoothed weights p(x, z) / q(z): where Pareto k is
            small, the result stands for the posterior. Where data share no latent, each has weights of its own.
        data: which elements of the data plate are kept, all without. Draws are made in parts, so that no more than
            these is held of a large fit.
        attributes: what else is written down, such as seed and settings; what is no number or text goes in as JSON.

    Returns:
        InferenceData whose dimensions are ``chain`` (1, or those of MCMC), ``draw`` (S), one for each plate, named as
        the plate, and ``SITE_dim_I`` for what is left of a site's shape, with the groups

        * ``posterior``: every latent site, and what ``pyro.deterministic`` computes of them; ``prior``: the same;
        * ``log_likelihood``: log p(x | z) of every observed site, and ``log_prior``: log p(z) of every latent, by datum
          along the data plate, in nats;
        * ``sample_stats``: ``energy``, the total E(x, z) (left out where each datum is resampled by itself, since
          there is no total then); of a guide ``log_weight``, log p(x, z) - log q(z), by datum where no latent is
          shared, else of the total, in nats; of MCMC ``diverging``;
        * ``posterior_predictive``, ``prior_predictive``: the observed sites, simulated;
        * ``observed_data``; ``constant_data``: tensors among the view's arguments that are not observed.

        Attributes say versions, date, sampler and, of weights, the largest ``pareto_k``. A program whose prior, or
        data, cannot be drawn has no prior, or no predictive groups, and ``no_prior`` or ``no_predictions`` says why.

    Warns:
        UserWarning: if the data are resampled and Pareto k is above the limit for so many draws.

    Raises:
        ValueError: if the guide or the MCMC result misses a latent, the program observes nothing, ``data`` names no
            element, or there are fewer than 2 draws (100 to resample).

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
    _check(view.structure, draws, resample, data)
    if isinstance(source, MCMC) and resample:
        raise ValueError("resample needs weights p(x, z) / q(z), which MCMC has not; its draws are unweighted.")
    groups, noted = drawn_groups(view, source, draws, data, sum_discrete=resample)
    if resample:
        groups, noted["pareto_k"] = resampled(groups)
        _warn_of(noted["pareto_k"], draws)
        noted["sampler"] = "importance-resampled draws of the guide"
    return container(groups, noted | dict(attributes or {}))


def drawn_groups(
    view: BoundView, source: Callable | MCMC, draws: int, data: Sequence[int] | None = None, sum_discrete: bool = False
) -> tuple[dict[str, xr.Dataset], dict[str, Any]]:
    """The groups of ``to_arviz``, not resampled, and what is to be noted; ``sum_discrete`` as in ``from_guide``."""
    structure = view.structure
    noted: dict[str, Any] = {"sampler": "independent draws of the guide"}
    if isinstance(source, MCMC):
        parts, chains = from_mcmc(view, source)
        noted["sampler"] = "pyro.infer.MCMC"
    else:
        parts, chains = from_guide(view, source, draws, sum_discrete), 1
    no_predictions: dict[str, str] = {}
    groups = joined((_posterior(view, part, no_predictions) for part in parts), view, data)
    if isinstance(source, MCMC):
        groups = by_chain(groups, source, chains)
    prior, no_prior = prior_groups(view, draws, data)
    groups |= prior | observed_group(structure, data) | constant_group(view, data)
    return groups, noted | no_predictions | no_prior


def _warn_of(k: float, draws: int) -> None:
    limit = reliable_pareto_k(draws)
    if not k <= limit:
        warn_caller(
            f"Pareto k is up to {k:.2f}, above {limit:.2f}: draws resampled from {draws} of the guide do not stand for "
            f"the posterior; take a guide that is closer to it, or more draws."
        )


def container(groups: Mapping[str, xr.Dataset], attributes: Mapping[str, Any]) -> Any:
    """ArviZ's container of the groups, with versions, the date and these attributes."""
    everywhere = _attributes(attributes)
    return arviz_versions.from_datasets({name: group.assign_attrs(everywhere) for name, group in groups.items()})


def _check(structure: Structure, draws: int, resample: bool, data: Sequence[int] | None) -> None:
    structure.refuse_without_data()
    least = 100 if resample else 2
    if draws < least:
        raise ValueError(f"draws must be at least {least}{' to resample' if resample else ''}, got {draws}.")
    if data is None:
        return
    if structure.data_plate is None:
        raise ValueError("data names elements of the data plate, and the program has none; leave it out.")
    wrong = [index for index in data if not 0 <= index < structure.size]
    if wrong or not len(data):
        raise ValueError(f"data must name some of the elements 0 to {structure.size - 1}, got {list(data)[:5]}.")


def _posterior(view: BoundView, part: PosteriorPart, no_predictions: dict[str, str]) -> dict[str, list[Row]]:
    """The groups of a part of the draws; ``no_predictions`` is told where a distribution cannot be drawn from."""
    structure, program = view.structure, view.program
    latents = [structure.sites[name] for name in structure.latents]
    count = len(next(iter(part.latents.values())))
    terms = program.terms(part.latents)
    energy = total_energy(terms, torch.Size([count]), structure)
    try:
        values, predicted = run_forward(program, part.latents, count), structure.data
    except NotImplementedError as error:  # such as a distribution that has a log_prob alone
        no_predictions["no_predictions"] = f"the data cannot be drawn: {error}"
        values, predicted = run_forward(program, part.latents, count, draw_data=False), []
    return {
        "posterior": values_of([*latents, *structure.computed], {**values, **part.latents}),
        "log_likelihood": [(s.name, -terms[s.name].energy, term_dims(s, structure)) for s in structure.data],
        "log_prior": [(s.name, -terms[s.name].energy, term_dims(s, structure)) for s in latents],
        "sample_stats": [("energy", energy, []), *_weights(part, structure)],
        "posterior_predictive": values_of(predicted, values),
    }


def _weights(part: PosteriorPart, structure: Structure) -> list[Row]:
    if part.log_weights is None:
        return []
    if part.by_datum:
        return [("log_weight", part.log_weights, [structure.data_plate or ""])]
    return [("log_weight", part.log_weights.squeeze(-1), [])]


def _attributes(given: Mapping[str, Any]) -> dict[str, Any]:
    versions = {f"{name}_version": importlib.metadata.version(name) for name in ("pyro-ppl", "torch", "arviz")}
    plain = {k: v if isinstance(v, str | int | float) else json.dumps(v, default=str) for k, v in given.items()}
    return {
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(),
        "inference_library": "pyrometer",
        "inference_library_version": importlib.metadata.version("pyrometer"),
        **versions,
        **{name: int(value) if isinstance(value, bool) else value for name, value in plain.items()},
    }
