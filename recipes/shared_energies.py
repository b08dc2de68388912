"""Energies of held-out data, of which each process that torchrun has started measures a share."""

from collections.abc import Callable

import xarray as xr

from ..inference.energy import BoundView, EnergyView
from ..inference.energy.joined_tables import join_tables
from ..inference.svi.device import make_fabric
from ..inference.svi.processes import Processes, process_count
from ..inference.svi.sharding import share
from .recipe import Recipe

__all__ = ["measure_in_shares"]


def measure_in_shares(recipe: Recipe, count: int, measure: Callable[[BoundView], xr.Dataset]) -> xr.Dataset:
    """The table of the first ``count`` held-out data, the same in every process.

    Args:
        recipe: whose model and held-out data they are.
        count: how many.
        measure: gives a table of ``compare`` or of ``BoundView.ladder`` for a view.

    Raises:
        ValueError: there are fewer data than processes, or the data share a latent.
    """
    if process_count() == 1:
        return measure(recipe.view(count))
    processes = Processes(make_fabric("cpu", "32-true"))
    own = share(recipe.first(count), processes.rank, processes.count)
    if own.whole < processes.count:
        raise ValueError(f"{processes.count} processes cannot share {own.whole} data: ask for more, or start fewer.")
    table, error = None, None
    try:
        table = measure(EnergyView(recipe.model).bind(**own)).to_dict()
    except BaseException as raised:  # or the others would wait for ever
        error = raised
    processes.total(0.0, error)
    return join_tables([xr.Dataset.from_dict(part) for part in processes.gathered(table) if part is not None])
