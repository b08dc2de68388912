r"""F, U, H and c of p_beta over a ladder of inverse temperatures, as a table."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from .annealed_ladder import annealed_rungs
from .enumeration import enumerated_ladder
from .landscape import landscape
from .methods import quadrature_is_quick
from .minimum import zero_temperature
from .modes import find_modes
from .problem import Problem
from .quadrature import integrate
from .rung import totals

__all__ = ["ladder"]

METHODS = ("enumerate", "quadrature", "annealing")

Table = dict[str, Tensor]


def ladder(
    problem: Problem, betas: Sequence[float], guide: Callable | None, method: str, chains: int | None
) -> xr.Dataset:
    """The table of ``BoundView.ladder``; the problem's own temperature does not enter."""
    betas = _checked(betas)
    if method == "auto":
        method = _automatic(problem)
    if method not in METHODS:
        raise ValueError(f"method must be auto or one of {', '.join(METHODS)} for a ladder, got {method!r}.")
    values, attributes = _values(problem, betas, guide, method, chains)
    lowest = zero_temperature(problem, guide=guide)
    values["zero_temperature"] = lowest.energy
    if lowest.per_datum is not None:
        values["zero_temperature_per_datum"] = lowest.per_datum
    coordinates = {"beta": ("beta", betas, {"long_name": "inverse temperature"})}
    columns = {name: (_dims(name), value.detach().numpy()) for name, value in values.items()}
    table = xr.Dataset(columns, coordinates).assign_attrs(method=method, base=problem.base, **attributes)
    for name in table:
        table[name].attrs["units"] = "1" if str(name).startswith("heat_capacity") else "nats"
    return table


def _checked(betas: Sequence[float]) -> list[float]:
    values = sorted({float(beta) for beta in betas})
    if not values or not all(0 < beta < float("inf") for beta in values):
        raise ValueError(
            f"betas must be positive, finite inverse temperatures, got {list(betas)}; zero temperature is in the table "
            f"beside them."
        )
    return values


def _automatic(problem: Problem) -> str:
    if problem.discrete:
        return "enumerate"
    quick = quadrature_is_quick(landscape(problem.program, problem.given))
    return "quadrature" if quick else "annealing"


def _values(
    problem: Problem, betas: list[float], guide: Callable | None, method: str, chains: int | None
) -> tuple[Table, dict[str, Any]]:
    program, _, base, given = problem
    if method == "enumerate":
        exact = enumerated_ladder(program, torch.tensor(betas, dtype=torch.float64), base, given)
        return exact | _no_errors(exact), {"bound": "exact"}
    land = landscape(program, given)
    if method == "quadrature":
        rungs = [integrate(land, find_modes(land, guide, beta, base), beta, base).rung for beta in betas]
        attributes = {}
    else:
        rungs, disagree = annealed_rungs(land, guide, betas, base, chains)
        attributes = {} if disagree is None else {"data_where_paths_disagree": int(disagree.sum())}
    tables = [totals(land, rung) for rung in rungs]
    return {name: torch.stack([table[name] for table in tables]) for name in tables[0]}, {
        "bound": "estimate",
        **attributes,
    }


def _no_errors(exact: Table) -> Table:
    named = {name: name.replace("_per_datum", "") for name in exact}
    return {f"{own}_error{name.removeprefix(own)}": torch.zeros_like(exact[name]) for name, own in named.items()}


def _dims(name: str) -> tuple[str, ...]:
    dims = ("data",) if name.endswith("_per_datum") else ()
    return dims if name.startswith("zero_temperature") else ("beta", *dims)
