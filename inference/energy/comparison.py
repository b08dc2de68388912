r"""The free energy beside its variational bound, and the gap between them:  -ELBO - F_1 = KL(q, p(z | x))."""

from collections.abc import Callable

import torch
import xarray as xr
from torch import Tensor

from .free_energy import FreeEnergy
from .importance import estimate_free_energy, guide_log_weights, jensen_gap_error, mean_free_energy
from .view import BoundView

__all__ = ["compare"]


@torch.no_grad()
def compare(view: BoundView, guide: Callable, draws: int = 1000) -> xr.Dataset:
    r"""F_1, -ELBO and their gap, in total and by datum, from one set of guide draws.

    .. math:: F_1 = -\log p(x), \qquad -\text{ELBO} = E_q[E] - H(q) = F_1 + KL(q(z), p(z \mid x))

    Args:
        view: a bound view.
        guide: q(z | x), a Pyro program that takes the arguments that the view is bound to.
        draws: how many draws of the guide are taken.

    Returns:
        A Dataset in nats: ``free_energy`` (F_1), ``negative_elbo`` and ``gap`` with their standard errors (``_error``)
        and, over the dimension ``data`` where no latent is shared, the same ``_per_datum``; ``ess`` and, where a
        latent is continuous, ``pareto_k`` of the importance weights, by datum or of the total. The attribute
        ``bound`` says whether F_1 is ``"exact"`` (every latent enumerated) or an ``"estimate"``. An estimated F_1
        shares its draws with the ELBO, and the gap's error is that of the difference.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyrometer import EnergyView
        >>> def model(y):
        ...     with pyro.plate("data", len(y)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 2.0))
        ...         pyro.sample("y", dist.Normal(z, 0.5), obs=y)
        >>> def prior_as_guide(y):
        ...     with pyro.plate("data", len(y)):
        ...         pyro.sample("z", dist.Normal(0.0, 2.0))
        >>> table = compare(EnergyView(model).bind(torch.tensor([0.3, -0.1])), prior_as_guide)
        >>> bool(table.gap > 4.3 * table.gap_error)
        True
    """
    program = view.program
    weights = guide_log_weights(program, guide, 1.0, "lebesgue", {}, draws)
    bound = mean_free_energy(weights, program, 1.0, "lebesgue")
    discrete = all(view.structure.sites[name].discrete for name in view.structure.latents)
    estimate = estimate_free_energy(weights, program, 1.0, "lebesgue")
    free_energy = view.free_energy(method="enumerate") if discrete else estimate
    gap_error = weights.log_weights.std(0) / draws**0.5 if discrete else jensen_gap_error(weights.log_weights)
    gap_error_total = view.structure.subsampling * gap_error.square().sum().sqrt()
    values = _rows(free_energy.value, bound.value) | _errors(free_energy.standard_error, bound.standard_error)
    table = {name: ((), float(value)) for name, value in (values | {"gap_error": gap_error_total}).items()}
    if free_energy.per_datum is not None and bound.per_datum is not None:
        values = _rows(free_energy.per_datum, bound.per_datum) | _datum_errors(free_energy, bound)
        values["gap_error"] = gap_error
        table |= {f"{name}_per_datum": ("data", value.numpy()) for name, value in values.items()}
    dataset = xr.Dataset(table).assign_attrs(bound=free_energy.bound, method=free_energy.method, draws=draws)
    for name in dataset:
        dataset[name].attrs["units"] = "nats"
    by_datum = "data" if weights.by_datum else ()
    # Weights over discrete latents take a few values, and have no tail for Pareto's k to describe.
    names = ("ess",) if discrete else ("pareto_k", "ess")
    return dataset.assign({name: (by_datum, estimate.evidence[name].numpy()) for name in names})


def _rows(free_energy: Tensor, bound: Tensor) -> dict[str, Tensor]:
    return {"free_energy": free_energy, "negative_elbo": bound, "gap": bound - free_energy}


def _errors(free_energy: Tensor, bound: Tensor) -> dict[str, Tensor]:
    return {"free_energy_error": free_energy, "negative_elbo_error": bound}


def _datum_errors(free_energy: FreeEnergy, bound: FreeEnergy) -> dict[str, Tensor]:
    assert free_energy.per_datum_error is not None
    assert bound.per_datum_error is not None
    return _errors(free_energy.per_datum_error, bound.per_datum_error)
