"""From a guide to ArviZ, and to a judgement of the guide."""

from .calibration import Calibration, Refit, calibrate, plot_calibration
from .diagnosis import Diagnosis, diagnose
from .diagnosis_plots import plot_loo_pit, plot_moments, plot_pareto_k, plot_reliability, plot_units
from .findings import Finding
from .inference_data import to_arviz
from .predictive import simulate
from .reference import nuts_draws
from .reparameterisation import noncentered

__all__ = [
    "Calibration",
    "Diagnosis",
    "Finding",
    "Refit",
    "calibrate",
    "diagnose",
    "noncentered",
    "nuts_draws",
    "plot_calibration",
    "plot_loo_pit",
    "plot_moments",
    "plot_pareto_k",
    "plot_reliability",
    "plot_units",
    "simulate",
    "to_arviz",
]
