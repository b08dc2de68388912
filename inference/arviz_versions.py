"""Where ArviZ 0.23 and 1.x differ: everything version-dependent that Pyrometer asks of ArviZ is in this one file."""

import warnings
from typing import Any

import numpy as np
import xarray as xr

with warnings.catch_warnings():
    # The import of ArviZ 0.23 announces the changes of 1.0, which this file is here to take.
    warnings.filterwarnings("ignore", category=FutureWarning, module="arviz")
    import arviz as az

__all__ = ["from_datasets", "smooth_log_weights", "summary"]


def smooth_log_weights(log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pareto-smoothed log weights (..., S), not normalised, and the shapes k (...) of their tails.

    Reference: A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry (2024), Pareto smoothed importance sampling,
    Journal of Machine Learning Research 25(72). https://arxiv.org/abs/1507.02646
    """
    # The tail's fit divides by sums of exponentials that may overflow, to weights of zero, as they should be.
    with np.errstate(over="ignore"):
        smoothed, k = az.psislw(np.array(log_weights, dtype=np.float64), normalize=False)
    return np.asarray(smoothed), np.asarray(k)


def from_datasets(groups: dict[str, xr.Dataset]) -> az.InferenceData:
    """ArviZ's container (InferenceData in 0.23, DataTree in 1.x) of the groups."""
    keywords: dict[str, Any] = dict(groups)
    return az.InferenceData(**keywords)


def summary(data: az.InferenceData, **kwargs: Any) -> Any:
    """ArviZ's table of means, spreads and intervals of the posterior, a pandas DataFrame.

    Independent draws come in one chain, of which ArviZ warns that it cannot compare chains: there are none.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Shape validation failed")
        return az.summary(data, **kwargs)
