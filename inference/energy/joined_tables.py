"""One table of energies from those of shares of the data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["join_tables"]


def join_tables(tables: Sequence[xr.Dataset]) -> xr.Dataset:
    r"""The table of all data from the tables of ``compare`` or of ``BoundView.ladder`` for shares of them.

    What is by datum is put side by side. Data that share no latent have energies that add up, and errors, drawn apart,
    whose squares do:

    .. math:: F = \sum_s F_s, \qquad \sigma = \sqrt{\sum_s \sigma_s^2}.

    Args:
        tables: those of the shares, in the order of the data, with the same columns.

    Raises:
        ValueError: a latent or a factor is common to the data, so that shares have no energies of their own.

    Example:
        >>> def table(*energies):
        ...     rows = {"free_energy_per_datum": ("data", np.array(energies)), "free_energy": sum(energies)}
        ...     return xr.Dataset(rows, attrs={"bound": "exact", "method": "enumerate"})
        >>> joined = join_tables([table(1.0, 2.0), table(4.0)])
        >>> joined.free_energy.item(), joined.free_energy_per_datum.values.tolist()
        (7.0, [1.0, 2.0, 4.0])
    """
    for table in tables:
        _check_own(table)
    columns = {}
    for name, column in tables[0].data_vars.items():
        parts = [table[name] for table in tables]
        if "data" in column.dims:
            columns[name] = xr.concat(parts, "data")
        elif str(name).endswith("_error"):
            columns[name] = column.copy(data=np.sqrt(sum(part.values**2 for part in parts)))
        else:
            columns[name] = column.copy(data=np.asarray(sum(part.values for part in parts)))
    return xr.Dataset(columns, attrs=_attributes([table.attrs for table in tables]))


def _check_own(table: xr.Dataset) -> None:
    """Each total is the sum of what the data have."""
    totals = [str(name) for name, column in table.data_vars.items() if "data" not in column.dims]
    apart = all(f"{name}_per_datum" in table for name in totals)
    if apart:
        own = table.free_energy_per_datum.sum("data", skipna=False)
        apart = np.allclose(table.free_energy, own, rtol=1e-5, equal_nan=True)
    if not apart:
        raise ValueError(
            "the energies are not the sum of what the data have: these share a latent or a factor, or are a subsample, "
            "so that several processes cannot measure a share each. Use a single process."
        )


def _attributes(parts: Sequence[dict[Any, Any]]) -> dict[Any, Any]:
    joined = {name: value for part in reversed(parts) for name, value in part.items()}
    if "bound" in joined:
        bounds = {part["bound"] for part in parts}
        joined["bound"] = bounds.pop() if len(bounds) == 1 else "estimate"
    joined["method"] = " and ".join(sorted({part["method"] for part in parts}))
    if "data_where_paths_disagree" in joined:
        joined["data_where_paths_disagree"] = sum(part.get("data_where_paths_disagree", 0) for part in parts)
    return joined
