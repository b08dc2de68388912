"""Pyrometer measures the energy and the free energy of any Pyro program."""

import pyro.settings

# Two guides of one class must never share weights through Pyro's global parameter store.
pyro.settings.set(module_local_params=True)

from .inference.diagnostics import Diagnosis, diagnose, noncentered, to_arviz  # noqa: E402
from .inference.energy import (  # noqa: E402
    BoundView,
    EnergyView,
    FreeEnergy,
    compare,
    plot_energy,
    plot_free_energy,
    plot_free_energy_map,
    plot_gaps,
    plot_heat_capacity,
    stable_enumeration,
    temper,
)
from .inference.svi import Fit, SemiSupervised, check, fit  # noqa: E402
from .recipes import Recipe  # noqa: E402

__all__ = [
    "BoundView",
    "Diagnosis",
    "EnergyView",
    "Fit",
    "FreeEnergy",
    "Recipe",
    "SemiSupervised",
    "check",
    "compare",
    "diagnose",
    "fit",
    "noncentered",
    "plot_energy",
    "plot_free_energy",
    "plot_free_energy_map",
    "plot_gaps",
    "plot_heat_capacity",
    "stable_enumeration",
    "temper",
    "to_arviz",
]
