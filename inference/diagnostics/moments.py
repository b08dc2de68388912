r"""The guide's means and standard deviations beside the posterior's, by importance weights or by reference draws."""

import math
from typing import Any

import numpy as np
import torch
import xarray as xr

from .. import arviz_versions
from ..energy.importance import effective_sample_size, pareto_smooth

__all__ = ["MOMENTS", "TOLERABLE_RATIO", "TOLERABLE_SHIFT", "element_rows", "reference_moments", "weighted_moments"]

MOMENTS = ["guide_mean", "guide_sd", "mean", "sd", "shift", "shift_error", "log_ratio", "log_ratio_error"]
DRAWS = ("chain", "draw")
TOLERABLE_SHIFT = 0.25
"""Posterior standard deviations that a mean may be off."""
TOLERABLE_RATIO = 4 / 3
"""Of standard deviations."""


def weighted_moments(posterior: xr.Dataset, log_weight: xr.DataArray) -> xr.Dataset:
    r"""Moments of a guide, and of the posterior by Pareto-smoothed weights of the same draws.

    .. math:: \hat\mu = \sum_s \bar w_s z_s, \qquad \hat\sigma^2 = \sum_s \bar w_s (z_s - \hat\mu)^2, \qquad
              \text{shift} = \frac{E_q[z] - \hat\mu}{\hat\sigma}, \qquad
              \text{log ratio} = \log \frac{\sigma_q}{\hat\sigma}

    Args:
        posterior: draws of a guide, over (chain, draw, ...).
        log_weight: log p(x, z) - log q(z) of them, over (chain, draw), or by datum.

    Returns:
        A Dataset with each continuous variable over ``moment``: ``guide_mean``, ``guide_sd``; ``mean``, ``sd`` of the
        posterior by the weights; ``shift``, how far the guide is off in posterior standard deviations, and
        ``log_ratio`` of standard deviations, with their standard errors; ``pareto_k`` and ``ess`` over the dimensions
        of the weights: the corrections mean nothing where k is above ``reliable_pareto_k``. With weights by datum,
        variables without that dimension are left out.

    Reference: A. Vehtari et al. (2024), Pareto smoothed importance sampling, section 2.1, JMLR 25(72).

    Example:
        >>> z = np.random.default_rng(0).normal(size=(1, 4000))  # N(0, 1) for N(0.5, 1)
        >>> draws = xr.Dataset({"z": (("chain", "draw"), z)})
        >>> weighted_moments(draws, 0.5 * draws.z).z.sel(moment="shift").round(1).item()
        -0.5
    """
    columns = torch.from_numpy(log_weight.values.reshape(log_weight.sizes["draw"], -1))
    smoothed, k = pareto_smooth(columns)
    weights = log_weight.copy(data=smoothed.softmax(0).numpy().reshape(log_weight.shape))
    own = log_weight.dims[2:]
    found = {name: _weighted(z, weights) for name, z in _continuous(posterior).items() if set(own) <= set(z.dims)}
    evidence = {"pareto_k": k, "ess": effective_sample_size(smoothed)}
    shape = [log_weight.sizes[dim] for dim in own]
    table = {name: (own, value.numpy().reshape(shape)) for name, value in evidence.items()}
    return xr.Dataset(found).assign_coords(moment=MOMENTS).assign(table).assign_attrs(draws=len(columns))


def reference_moments(posterior: xr.Dataset, reference: xr.Dataset) -> xr.Dataset:
    """The same beside reference draws: ``mean`` and ``sd`` are theirs, and the errors include their own.

    Args:
        posterior: independent draws of a guide, over (chain, draw, ...); where it has a point mass all are equal.
        reference: draws of the posterior over (chain, draw, ...), perhaps of MCMC; their worth is that of their
            effective sample size.
    """
    both = [name for name in _continuous(reference) if name in posterior]
    found = {name: _beside(posterior[name], reference[name]) for name in both}
    return xr.Dataset(found).assign_coords(moment=MOMENTS)


def element_rows(moments: xr.Dataset) -> list[dict[str, Any]]:
    """Every element as a row, its name (``element``, as ``theta[3]``) and its moments; those most off come first."""
    rows = []
    for name, values in moments.items():
        if "moment" not in values.dims:
            continue
        ordered = values.transpose("moment", ...)
        for index in np.ndindex(*ordered.shape[1:]):
            own = {str(m): float(ordered.values[(i, *index)]) for i, m in enumerate(ordered.moment.values)}
            rows.append({"element": f"{name}[{', '.join(map(str, index))}]" if index else str(name), **own})

    def off(row: dict[str, Any]) -> float:
        sizes = abs(row["shift"]) / TOLERABLE_SHIFT, abs(row["log_ratio"]) / math.log(TOLERABLE_RATIO)
        return max([size for size in sizes if not math.isnan(size)], default=0.0)

    return sorted(rows, key=off, reverse=True)


def _continuous(posterior: xr.Dataset) -> dict[str, xr.DataArray]:
    return {str(name): z for name, z in posterior.items() if np.issubdtype(z.dtype, np.floating)}


def _weighted(z: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    guide_mean, guide_variance = z.mean(DRAWS), z.var(DRAWS)
    mean = (weights * z).sum(DRAWS)
    variance = (weights * (z - mean) ** 2).sum(DRAWS)
    count, sd = z.sizes["draw"], variance**0.5
    # The delta method: both are sums over the same draws, of which each changes their difference by its influence.
    own = count * weights
    mean_influence = (z - guide_mean) - own * (z - mean)
    ratio_influence = 0.5 * ((z - guide_mean) ** 2 / guide_variance - own * (z - mean) ** 2 / variance + own - 1)
    shift, log_ratio = (guide_mean - mean) / sd, 0.5 * _log(guide_variance / variance)
    errors = mean_influence.std(DRAWS) / sd / count**0.5, ratio_influence.std(DRAWS) / count**0.5
    return _stacked(guide_mean, guide_variance**0.5, mean, sd, shift, errors[0], log_ratio, errors[1])


def _beside(z: xr.DataArray, reference: xr.DataArray) -> xr.DataArray:
    guide_mean, guide_sd, mean, sd = z.mean(DRAWS), z.std(DRAWS), reference.mean(DRAWS), reference.std(DRAWS)
    shift, ratio = (guide_mean - mean) / sd, guide_sd / sd
    independent = mean.copy(data=arviz_versions.effective_draws(reference.values))
    shift_error = (ratio**2 / z.sizes["draw"] + 1 / independent) ** 0.5
    ratio_error = 0.5 * (_excess(z) / z.sizes["draw"] + _excess(reference) / independent) ** 0.5
    return _stacked(guide_mean, guide_sd, mean, sd, shift, shift_error, _log(ratio), ratio_error)


def _excess(z: xr.DataArray) -> xr.DataArray:
    """The variance of (z - mean)^2 / variance, 2 of a normal distribution: that of log sd is a quarter of it over S."""
    variance = z.var(DRAWS)
    return (((z - z.mean(DRAWS)) ** 4).mean(DRAWS) / variance**2 - 1).where(variance > 0, 0.0)


def _log(ratio: xr.DataArray) -> xr.DataArray:
    with np.errstate(divide="ignore"):  # a point mass has -inf
        return ratio.copy(data=np.log(ratio.values))


def _stacked(*rows: xr.DataArray) -> xr.DataArray:
    return xr.concat(rows, "moment", coords="minimal", compat="override")
