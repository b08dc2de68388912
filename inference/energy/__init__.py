"""Energies and free energies of any Pyro program; knows Pyro, and no model of ours."""

from .comparison import compare
from .energy_plot import plot_energy
from .force import force, plot_force
from .free_energy import FreeEnergy
from .free_energy_map import plot_free_energy_map
from .plots import plot_free_energy, plot_gaps, plot_heat_capacity
from .stable_enumeration import stable_enumeration
from .temper import temper
from .view import BoundView, EnergyView

__all__ = [
    "BoundView",
    "EnergyView",
    "FreeEnergy",
    "compare",
    "force",
    "plot_energy",
    "plot_force",
    "plot_free_energy",
    "plot_free_energy_map",
    "plot_gaps",
    "plot_heat_capacity",
    "stable_enumeration",
    "temper",
]
