"""Pictures of a run's energies: F and c over beta, its guide's gaps, the energy across latents of few dimensions."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..inference.energy import (
    BoundView,
    plot_energy,
    plot_free_energy,
    plot_gaps,
    plot_heat_capacity,
)

__all__ = ["draw_energy_pictures", "flat_latents"]

FLAT = 2
"""The most dimensions that one picture can show."""


def draw_energy_pictures(
    view: BoundView, guide: Callable, comparison: xr.Dataset, ladder: xr.Dataset, folder: Path
) -> list[Path]:
    """Writes the pictures as PNG files into the folder; returns their paths.

    Args:
        view: the run's model with its held-out data.
        guide: where minima are looked for.
        comparison: a table of ``compare``, for the gaps.
        ladder: a table of ``BoundView.ladder``, for F and c.
        folder: made where it is missing.
    """
    drawn: dict[str, Callable[[], Axes]] = {
        "free_energy": partial(plot_free_energy, ladder),
        "heat_capacity": partial(plot_heat_capacity, ladder),
        "gaps": partial(plot_gaps, comparison),
    }
    names = flat_latents(view)
    minimum = view.zero_temperature(guide=guide) if names else None
    drawn |= {f"energy_{name}": partial(plot_energy, view, name, minimum=minimum) for name in names}
    folder.mkdir(exist_ok=True)
    paths = {folder / f"{name}.png": draw for name, draw in drawn.items()}
    for path, draw in paths.items():
        figure = draw().get_figure()
        assert isinstance(figure, Figure)
        figure.savefig(path, dpi=150)
    return list(paths)


def flat_latents(view: BoundView) -> list[str]:
    """The continuous latents that have one or two dimensions a datum."""
    sites = [view.structure.sites[name] for name in view.structure.latents]
    continuous = [site for site in sites if not site.discrete and site.coordinates is not None]
    size = view.structure.size
    return [s.name for s in continuous if s.shape.numel() <= FLAT * (size if view.plate in s.plate_dims else 1)]
