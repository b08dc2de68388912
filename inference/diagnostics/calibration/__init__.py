"""Simulation-based calibration: where the truth ranks among a guide's draws, on data that the model makes."""

from .calibration import Calibration, calibrate
from .plot import plot_calibration
from .trials import Refit

__all__ = ["Calibration", "Refit", "calibrate", "plot_calibration"]
