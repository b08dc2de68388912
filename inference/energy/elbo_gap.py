r"""The free energy beside its variational bound, and the gap between them:  -ELBO - F_1 = KL(q, p(z | x))."""

from collections.abc import Callable

import torch
import xarray as xr
from torch import Tensor

from .free_energy import FreeEnergy, reliable_pareto_k
from .importance import (
    bound_log_weights,
    estimate_free_energy,
    jensen_gap_error,
    mean_free_energy,
)
from .landscape import landscape
from .log_weights import LogWeights
from .methods import quadrature_is_quick
from .problem import Problem
from .view import BoundView

__all__ = ["elbo_gap"]


@torch.no_grad()
def elbo_gap(view: BoundView, guide: Callable, draws: int = 1000, method: str = "importance") -> xr.Dataset:
    r"""F_1, -ELBO and their gap, in total and by datum.

    .. math:: F_1 = -\log p(x), \qquad -\text{ELBO} = E_q[E] - H(q) = F_1 + KL(q(z), p(z \mid x))

    Args:
        view: a bound view.
        guide: q(z | x), a Pyro program that takes the arguments that the view is bound to.
        draws: how many draws of the guide are taken.
        method: that of F_1. ``"importance"``: from the same draws (where every latent is discrete, enumeration, which
            is exact); ``"auto"``: quadrature in few dimensions, and annealing where the draws are unreliable; or any
            other method of ``BoundView.free_energy``.

    Returns:
        A Dataset in nats: ``free_energy`` (F_1), ``negative_elbo`` and ``gap`` with their standard errors (``_error``)
        and, over the dimension ``data`` where no latent is shared, the same ``_per_datum``; ``ess`` and, where a
        latent is continuous, ``pareto_k`` of the importance weights, by datum or of the total. The attribute
        ``bound`` says whether F_1 is ``"exact"`` or an ``"estimate"``, and ``method`` how it was computed. An F_1 from
        the draws of the ELBO shares their noise, and the gap's error is that of the difference.
    """
    program = view.program
    problem = Problem(program, 1.0, "lebesgue", {})
    weights = bound_log_weights(problem, guide, draws)
    bound = mean_free_energy(weights, program, 1.0, "lebesgue")
    estimate = estimate_free_energy(weights, program, 1.0, "lebesgue")
    discrete = all(view.structure.sites[name].discrete for name in view.structure.latents)
    free_energy = _free_energy(view, guide, estimate, method, discrete)
    error, error_by_datum = _gap_errors(free_energy, bound, estimate, weights, view.structure.subsampling)
    values = _rows(free_energy.value, bound.value) | _errors(free_energy.standard_error, bound.standard_error)
    table = {name: ((), float(value)) for name, value in (values | {"gap_error": error}).items()}
    if free_energy.per_datum is not None and bound.per_datum is not None:
        values = _rows(free_energy.per_datum, bound.per_datum) | _datum_errors(free_energy, bound)
        values["gap_error"] = error_by_datum
        table |= {f"{name}_per_datum": ("data", value.numpy()) for name, value in values.items()}
    dataset = xr.Dataset(table).assign_attrs(bound=free_energy.bound, method=free_energy.method, draws=draws)
    for name in dataset:
        dataset[name].attrs["units"] = "nats"
    by_datum = "data" if weights.by_datum else ()
    # Weights over discrete latents take a few values, and have no tail for Pareto's k to describe.
    names = ("ess",) if discrete else ("pareto_k", "ess")
    return dataset.assign({name: (by_datum, estimate.evidence[name].numpy()) for name in names})


def _free_energy(view: BoundView, guide: Callable, estimate: FreeEnergy, method: str, discrete: bool) -> FreeEnergy:
    if method not in ("auto", "importance"):
        return view.free_energy(method=method, guide=guide)
    if discrete:
        return view.free_energy(method="enumerate")
    if method == "importance":
        return estimate
    if quadrature_is_quick(landscape(view.program, {})):
        return view.free_energy(guide=guide)
    reliable = reliable_pareto_k(estimate.evidence["draws"])
    if (estimate.evidence["pareto_k"] < reliable).all():
        return estimate
    return view.free_energy(method="annealing", guide=guide)


def _gap_errors(
    free_energy: FreeEnergy, bound: FreeEnergy, estimate: FreeEnergy, weights: LogWeights, factor: float
) -> tuple[Tensor, Tensor]:
    """The standard error of the gap in total, and by column of the weights."""
    if free_energy is estimate:
        error = jensen_gap_error(weights.log_weights)
        return factor * error.square().sum().sqrt(), error
    both = (bound.standard_error.square() + free_energy.standard_error.square()).sqrt()
    if bound.per_datum_error is None or free_energy.per_datum_error is None:
        return both, both.unsqueeze(0)
    return both, (bound.per_datum_error.square() + free_energy.per_datum_error.square()).sqrt()


def _rows(free_energy: Tensor, bound: Tensor) -> dict[str, Tensor]:
    return {"free_energy": free_energy, "negative_elbo": bound, "gap": bound - free_energy}


def _errors(free_energy: Tensor, bound: Tensor) -> dict[str, Tensor]:
    return {"free_energy_error": free_energy, "negative_elbo_error": bound}


def _datum_errors(free_energy: FreeEnergy, bound: FreeEnergy) -> dict[str, Tensor]:
    assert free_energy.per_datum_error is not None
    assert bound.per_datum_error is not None
    return _errors(free_energy.per_datum_error, bound.per_datum_error)
