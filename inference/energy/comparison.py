r"""Free energies at zero and finite temperature beside the guide's bound, and every gap between them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from .elbo_gap import elbo_gap
from .free_energy import FreeEnergy
from .importance import bound_log_weights, mean_free_energy
from .own_family import NoOwnFamily, own_family
from .problem import Problem
from .view import BoundView

__all__ = ["compare"]


def compare(
    view: BoundView,
    guide: Callable,
    draws: int = 1000,
    betas: Sequence[float] = (),
    method: str = "auto",
    family_steps: int = 300,
) -> xr.Dataset:
    r"""F_inf, F_1 and -ELBO with the gaps between them, in total and by datum, in nats.

    .. math::

        F_1 &= F_\infty + \text{entropic gap} \\
        -\text{ELBO} &= F_1 + \text{approximation gap} + \text{amortisation gap}, \qquad
        \text{approximation gap} = \min_{\lambda_n} KL(q(z_n; \lambda_n), p(z_n \mid x_n))

    The entropic gap is what the best explanation alone leaves out; it has either sign, as densities have units. The
    other two add up to KL(q, p(z | x)), the inference gap: what the guide's family cannot do, and what its network
    does not find within it (Cremer et al. 2018).

    Args:
        view: a bound view.
        guide: q(z | x), a Pyro program that takes the arguments that the view is bound to.
        draws: how many draws of the guide are taken.
        betas: inverse temperatures of a ladder, whose columns then stand beside, named ``ladder_...``.
        method: that of F_1: ``"auto"``, or one of ``BoundView.free_energy``. Importance reuses the draws.
        family_steps: of the optimiser that looks for the best of the guide's family by datum; 0 leaves it out.

    Returns:
        A Dataset. Numbers with their standard errors (``_error``), and by datum (``_per_datum``) over ``data`` where no
        latent is shared: ``free_energy`` (F_1), ``negative_elbo``, ``zero_temperature`` (F_inf: the lowest energy
        found), ``entropic_gap``, ``gap`` (-ELBO - F_1), and, where every latent lies inside the data plate,
        ``approximation_gap`` and ``amortization_gap``; what the optimiser has not found counts as approximation gap,
        which is an upper bound. ``ess`` and ``pareto_k`` as of the guide's draws. Attributes: ``bound`` and ``method``
        of F_1, ``draws``, and ``no_own_family``: why a guide's gap could not be split.

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
        >>> bool(table.amortization_gap > 0.9 * table.gap)  # the family has the posterior in it
        True
    """
    table = elbo_gap(view, guide, draws, method)
    lowest = view.zero_temperature(guide=guide)
    total, error = (torch.from_numpy(table[name].values) for name in ("free_energy", "free_energy_error"))
    entropic = {"entropic_gap": total - lowest.energy, "entropic_gap_error": error}
    table = _with(table, {"zero_temperature": lowest.energy} | entropic, "")
    if lowest.per_datum is not None and "free_energy_per_datum" in table:
        entropic = torch.from_numpy(table.free_energy_per_datum.values) - lowest.per_datum
        error = torch.from_numpy(table.free_energy_error_per_datum.values)
        by_datum = {"zero_temperature": lowest.per_datum, "entropic_gap": entropic, "entropic_gap_error": error}
        table = _with(table, by_datum, "_per_datum")
    if family_steps and "free_energy_per_datum" in table and "pareto_k" in table:
        table = _split(table, view, guide, draws, family_steps)
    if len(betas):
        ladder = view.ladder(betas, guide)
        table = table.merge(ladder.rename({name: f"ladder_{name}" for name in ladder}), combine_attrs="drop_conflicts")
        table = table.assign_attrs(ladder_method=ladder.attrs["method"])
    return table


def _split(table: xr.Dataset, view: BoundView, guide: Callable, draws: int, steps: int) -> xr.Dataset:
    """The inference gap as approximation gap and amortisation gap."""
    try:
        best = _best_of_family(view, guide, draws, steps)
    except NoOwnFamily as reason:
        return table.assign_attrs(no_own_family=str(reason))
    assert best.per_datum is not None
    assert best.per_datum_error is not None
    # Where the optimiser has left the support of the program, the amortised member is the best that is known.
    bound = torch.from_numpy(table.negative_elbo_per_datum.values)
    bound_error = torch.from_numpy(table.negative_elbo_error_per_datum.values)
    found = best.per_datum.isfinite()
    value = torch.where(found, best.per_datum, bound)
    error = torch.where(found, best.per_datum_error, bound_error)
    factor = view.structure.subsampling
    total = table.negative_elbo.item() + factor * (value - bound).nan_to_num(0.0).sum()
    table = _with(table, _parts(table, "", total, factor * error.square().sum().sqrt()), "")
    return _with(table, _parts(table, "_per_datum", value, error), "_per_datum")


def _parts(table: xr.Dataset, ending: str, best: Tensor, error: Tensor) -> dict[str, Tensor]:
    """Both parts of the gap and their errors, from the best bound within the family."""

    def of(name: str) -> Tensor:
        return torch.as_tensor(table[f"{name}{ending}"].values)

    return {
        "approximation_gap": best - of("free_energy"),
        "approximation_gap_error": (error.square() + of("free_energy_error").square()).sqrt(),
        "amortization_gap": of("negative_elbo") - best,
        "amortization_gap_error": (error.square() + of("negative_elbo_error").square()).sqrt(),
    }


def _best_of_family(view: BoundView, guide: Callable, draws: int, steps: int) -> FreeEnergy:
    best = own_family(view.program, guide, steps)
    with torch.no_grad():
        weights = bound_log_weights(Problem(view.program, 1.0, "lebesgue", {}), best, draws)
        return mean_free_energy(weights, view.program, 1.0, "lebesgue")


def _with(table: xr.Dataset, columns: dict[str, Tensor], ending: str) -> xr.Dataset:
    dims = ("data",) if ending else ()
    attributes: dict[str, Any] = {"units": "nats"}
    return table.assign({f"{n}{ending}": (dims, v.detach().numpy(), attributes) for n, v in columns.items()})
