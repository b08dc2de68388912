"""Energies and free energies of any Pyro program; knows Pyro, and no model of ours."""

from .comparison import compare
from .free_energy import FreeEnergy
from .view import BoundView, EnergyView

__all__ = ["BoundView", "EnergyView", "FreeEnergy", "compare"]
