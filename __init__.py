"""Pyrometer measures the energy and the free energy of any Pyro program."""

import pyro.settings

# Two guides of one class must never share weights through Pyro's global parameter store.
pyro.settings.set(module_local_params=True)

from .inference.diagnostics import (  # noqa: E402
    Calibration,
    Diagnosis,
    Refit,
    calibrate,
    diagnose,
    noncentered,
    plot_calibration,
    to_arviz,
)
from .inference.energy import (  # noqa: E402
    BoundView,
    EnergyView,
    FreeEnergy,
    compare,
    force,
    plot_energy,
    plot_force,
    plot_free_energy,
    plot_free_energy_map,
    plot_gaps,
    plot_heat_capacity,
    stable_enumeration,
    temper,
)
from .inference.svi import (  # noqa: E402
    Decomposed,
    Fit,
    Marginalised,
    Minimised,
    MonteCarlo,
    Relaxed,
    SemiSupervised,
    SummedLabel,
    WakeSleep,
    check,
    fit,
)
from .recipes import Recipe  # noqa: E402

__all__ = [
    "BoundView",
    "Calibration",
    "Decomposed",
    "Diagnosis",
    "EnergyView",
    "Fit",
    "FreeEnergy",
    "Marginalised",
    "Minimised",
    "MonteCarlo",
    "Recipe",
    "Refit",
    "Relaxed",
    "SemiSupervised",
    "SummedLabel",
    "WakeSleep",
    "calibrate",
    "check",
    "compare",
    "diagnose",
    "fit",
    "force",
    "noncentered",
    "plot_calibration",
    "plot_energy",
    "plot_force",
    "plot_free_energy",
    "plot_free_energy_map",
    "plot_gaps",
    "plot_heat_capacity",
    "stable_enumeration",
    "temper",
    "to_arviz",
]
