"""Where ArviZ 0.23 and 1.x differ: everything version-dependent that Pyrometer asks of ArviZ is in this one file."""

import importlib
import warnings
from typing import Any

import numpy as np
import xarray as xr

with warnings.catch_warnings():
    # The import of ArviZ 0.23 announces the changes of 1.0, which this file is here to take.
    warnings.filterwarnings("ignore", category=FutureWarning, module="arviz")
    import arviz as az

__all__ = ["compare", "effective_draws", "from_datasets", "smooth_log_weights", "summary"]

BEFORE_1 = int(az.__version__.split(".")[0]) < 1


def smooth_log_weights(log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pareto-smoothed log weights (..., S), not normalised, and the shapes k (...) of their tails.

    Reference: A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry (2024), Pareto smoothed importance sampling,
    Journal of Machine Learning Research 25(72). https://arxiv.org/abs/1507.02646
    """
    values = np.array(log_weights, dtype=np.float64)
    # The tail's fit divides by sums of exponentials that may overflow, to weights of zero, as they should be.
    with np.errstate(over="ignore"):
        if BEFORE_1:
            smoothed, k = az.psislw(values, normalize=False)
            return np.asarray(smoothed), np.asarray(k)
        rows = [_smooth(row) for row in values.reshape(-1, values.shape[-1])]
    smoothed, k = (np.stack(part) for part in zip(*rows, strict=True))
    return smoothed.reshape(values.shape), k.reshape(values.shape[:-1])


def _smooth(log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By ArviZ 1.x, which takes minus the log weights, normalises, and refuses a tail of ties (k = inf in 0.23)."""
    base = importlib.import_module("arviz_stats.base")  # comes with 1.x
    try:
        smoothed, k = base.array_stats.psislw(-log_weights)
    except ValueError:
        return log_weights, np.array(np.inf)
    smallest = np.where(np.isfinite(log_weights), log_weights, np.inf).argmin()  # no part of the tail: not smoothed
    return smoothed + (log_weights[smallest] - smoothed[smallest]), np.asarray(k)


def effective_draws(draws: np.ndarray) -> np.ndarray:
    """How many independent draws those of chains, (C, S, ...), are worth for a mean: (...)."""
    names = [f"dim_{axis}" for axis in range(draws.ndim - 2)]
    return az.ess(xr.Dataset({"x": (["chain", "draw", *names], draws)}))["x"].values


def from_datasets(groups: dict[str, xr.Dataset]) -> Any:
    """ArviZ's container (InferenceData in 0.23, DataTree in 1.x) of the groups."""
    if BEFORE_1:
        keywords: dict[str, Any] = dict(groups)
        return az.InferenceData(**keywords)
    return xr.DataTree.from_dict(groups)


def compare(data: dict[str, Any]) -> dict[str, dict[str, float]]:
    """ArviZ's comparison of models by PSIS-LOO: ``elpd``, ``se``, ``elpd_diff`` (to the best, <= 0) and ``dse``.

    ``warning`` is 1 where Pareto k of some datum that is left out is too large.
    """
    options: dict[str, Any] = {} if BEFORE_1 else {"round_to": "none"}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The inplace keyword")  # of pandas
        warnings.filterwarnings("ignore", message="Estimated shape parameter")  # which the table says too
        table = az.compare(data, **options)
    if not BEFORE_1:  # which says in words what is wrong, and nothing where all is well
        table = table.assign(warning=[bool(str(words).strip()) for words in table["diag_elpd"]])
    names = ["elpd", "se", "elpd_diff", "dse", "warning"]
    rows = table.rename(columns={"elpd_loo": "elpd"})[names].T.to_dict()
    return {str(name): row | {"elpd_diff": -abs(row["elpd_diff"])} for name, row in rows.items()}


def summary(data: Any, **kwargs: Any) -> Any:
    """ArviZ's table of means, spreads and intervals of the posterior, a pandas DataFrame.

    Independent draws come in one chain, of which ArviZ warns that it cannot compare chains: there are none.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Shape validation failed")
        return az.summary(data, **kwargs)
