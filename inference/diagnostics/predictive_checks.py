r"""Do simulated data look like the data?  p = P(T(x_rep) >= T(x)),  x_rep ~ p(x | z), z ~ p(z | x)."""

from collections.abc import Callable

import xarray as xr

__all__ = ["predictive_checks"]

STATISTICS: dict[str, Callable[[xr.DataArray, list], xr.DataArray]] = {
    "mean": lambda x, dims: x.mean(dims),
    "sd": lambda x, dims: x.std(dims),
    "minimum": lambda x, dims: x.min(dims),
    "maximum": lambda x, dims: x.max(dims),
}


def predictive_checks(predicted: xr.Dataset, observed: xr.Dataset) -> xr.Dataset:
    r"""Posterior predictive p-values of a mean, a standard deviation, a minimum and a maximum of each observed site.

    .. math:: p = \tfrac12 P(T(x_{rep}) > T(x)) + \tfrac12 P(T(x_{rep}) \ge T(x))

    over all elements of the site. Near 0 or 1, the model does not make such data; a value near a half says little,
    since the same data have chosen the posterior.

    Args:
        predicted: the observed sites simulated at draws of the posterior, over (chain, draw, ...).
        observed: the data.

    Returns:
        A Dataset over ``site`` and ``statistic``: ``observed``; ``simulated``, the mean of the statistic over draws;
        and ``p``. Sites of one number are left out.

    Reference: A. Gelman, X.-L. Meng, H. Stern (1996), Posterior predictive assessment of model fitness via realized
    discrepancies, Statistica Sinica 6.
    """
    sites = [name for name, value in observed.items() if value.size > 1]
    tables = [_checked(predicted[name].astype(float), observed[name].astype(float)) for name in sites]
    return xr.concat(tables, "site").assign_coords(site=sites) if sites else xr.Dataset()


def _checked(simulated: xr.DataArray, observed: xr.DataArray) -> xr.Dataset:
    own = list(observed.dims)
    rows = []
    for statistic in STATISTICS.values():
        one, many = statistic(observed, own), statistic(simulated, own)
        p = 0.5 * ((many > one).mean() + (many >= one).mean())
        rows.append(xr.Dataset({"observed": one, "simulated": many.mean(), "p": p}))
    return xr.concat(rows, "statistic").assign_coords(statistic=list(STATISTICS))
