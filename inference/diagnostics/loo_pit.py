r"""Where does a datum lie in what is predicted without it?  u_n = P(y_rep,n <= y_n),  y_rep,n ~ p(y_n | all others)."""

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ..energy.importance import effective_sample_size, pareto_smooth
from ..energy.structure import Structure
from ..energy.view import BoundView
from .dimensions import element_names
from .left_out import Withheld, predictions_without
from .rank_bands import RankBand, departure, p_value, rank_band

__all__ = ["LEVEL", "loo_pit", "pit_band", "weighted_pit"]

LEVEL = 0.99
"""The probability with which the right model passes, at least."""
MOST_DATA = 1000
"""Data that are left out, one by one; of more, so many are chosen evenly."""


@torch.no_grad()
def loo_pit(view: BoundView, groups: Mapping[str, xr.Dataset]) -> xr.Dataset:
    r"""Leave-one-out probability integral transforms of the data, which are uniform where the model is right.

    .. math:: u_n = P(y^{rep}_n \le y_n \mid y_{-n}) \approx \sum_s w_{ns} 1[y^{rep}_{ns} \le y_n]

    with draws and weights of ``predictions_without``. Too many u at both ends say that the model predicts too narrowly,
    too many in the middle too widely. Each element of a datum is a quantity of its own, and the u of all are judged
    together, by the simultaneous band of ``rank_band``.

    Args:
        view: a bound view.
        groups: of ``drawn_groups``, with ``sum_discrete``; the data nan where a mask leaves them out.

    Returns:
        A Dataset over ``quantity`` (``SITE`` or ``SITE[i, j]``) and ``data``: ``pit``, u, nan where there is no datum;
        ``departure`` of each quantity, see ``rank_bands.departure``, and ``p``, its probability if the model is right;
        ``pareto_k`` of the weights by datum, where there are any. The attribute ``draws`` says how many. Empty, with
        the reason as the attribute ``no_loo_pit``, where data cannot be left out one by one.

    Warning:
        The u share a posterior, by which they avoid each other a little: the right model passes more often than the
        level says, and small faults may pass with it.

    Reference: A. Gelman et al. (2013), Bayesian data analysis, section 6.3; A. Vehtari, A. Gelman, J. Gabry (2017),
    Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC. https://arxiv.org/abs/1507.04544
    """
    structure = view.structure
    try:
        sites, predicted, log_weights = predictions_without(view, groups)
    except Withheld as reason:
        return xr.Dataset(attrs={"no_loo_pit": str(reason)})
    chosen = np.linspace(0, structure.size - 1, min(structure.size, MOST_DATA)).round().astype(int)
    smoothed, k = pareto_smooth(log_weights[:, chosen])
    rows: dict[str, np.ndarray] = {}
    for site in sites:
        data = _by_datum(groups["observed_data"][site.name], structure)[chosen]
        u = weighted_pit(data, _by_datum(predicted[site.name], structure)[:, chosen], smoothed)
        rows |= dict(zip(element_names(site, structure), u.T.numpy(), strict=True))
    table = _judged({name: u for name, u in rows.items() if not np.isnan(u).all()}, chosen)
    if (k > -np.inf).any():
        table = table.assign(pareto_k=("data", k.numpy()))
    return table.assign_attrs(draws=len(smoothed))


def weighted_pit(data: Tensor, draws: Tensor, log_weights: Tensor) -> Tensor:
    r"""Where data stand among weighted draws, (N, E) in (0, 1), nan where they are: 0 is below all draws, 1 above.

    .. math:: u = \frac{S_n \sum_s w_{ns} 1[y_{ns} < y_n] + (1 + S_n \sum_s w_{ns} 1[y_{ns} = y_n]) U}{S_n + 1},
              \qquad U \sim U(0, 1)

    where S_n = 1 / sum of w_ns^2 is what the draws are worth. Ties are broken at random, so that discrete data are
    judged as continuous ones are. With equal weights, u is exactly uniform where data and draws are of one
    distribution: it is ``randomised_pit``.

    Args:
        data: (N, E).
        draws: (S, N, E).
        log_weights: (S, N), not normalised.

    Example:
        >>> u = weighted_pit(torch.tensor([[2.5]]), torch.tensor([[[1.0]], [[2.0]], [[3.0]]]), torch.zeros(3, 1))
        >>> bool(0.5 < u < 0.75)  # above two of three
        True
    """
    weights, size = log_weights.softmax(0), effective_sample_size(log_weights).unsqueeze(-1)

    def share(met: Tensor, n: int) -> Tensor:
        return weights[:, n] @ met.to(weights.dtype)

    below = torch.stack([share(draws[:, n] < own, n) for n, own in enumerate(data)])
    ties = torch.stack([share(draws[:, n] == own, n) for n, own in enumerate(data)])
    u = (size * below + (1 + size * ties) * torch.rand(below.shape, dtype=weights.dtype)) / (size + 1)
    return torch.where(data.isnan(), torch.nan, u)


def pit_band(table: xr.Dataset) -> RankBand:
    """What the ECDF of every quantity of ``loo_pit`` stays inside, so that all do with probability ``LEVEL``."""
    count = int(table.pit.notnull().sum("data").min())  # where masks leave different data out, the widest
    return rank_band(count, 1 - (1 - LEVEL) / table.sizes["quantity"])


def _judged(rows: Mapping[str, np.ndarray], chosen: np.ndarray) -> xr.Dataset:
    own = [u[~np.isnan(u)] for u in rows.values()]
    far = [float(departure(u)) for u in own]
    table = {
        "pit": (("quantity", "data"), np.stack(list(rows.values()))),
        "departure": ("quantity", far),
        "p": ("quantity", [p_value(len(u), tail) for u, tail in zip(own, far, strict=True)]),
    }
    return xr.Dataset(table, {"quantity": list(rows), "data": chosen})


def _by_datum(values: xr.DataArray, structure: Structure) -> Tensor:
    """Values over (chain, draw, ...) as (S, N, E), and data as (N, E)."""
    if "draw" not in values.dims:
        return torch.from_numpy(values.transpose(structure.data_plate, ...).values).reshape(structure.size, -1)
    found = torch.from_numpy(values.isel(chain=0).transpose("draw", structure.data_plate, ...).values)
    return found.reshape(len(found), structure.size, -1)
