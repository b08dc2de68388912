"""From a guide to ArviZ, and to a judgement of the guide."""

from .calibration import Calibration, Refit, calibrate, plot_calibration
from .diagnosis import Diagnosis, diagnose
from .diagnosis_plots import plot_loo_pit, plot_moments, plot_pareto_k, plot_reliability, plot_units
from .energy_distance import EnergyDistance, energy_distance
from .findings import Finding
from .inference_data import to_arviz
from .mutual_information import mutual_information
from .mutual_information_gap import mutual_information_gap
from .predictive import simulate
from .reference import nuts_draws
from .reliability import reliability
from .reparameterisation import noncentered
from .temperature_scaling import TemperatureScaling, gibbs_probabilities, temperature_scaling

__all__ = [
    "Calibration",
    "Diagnosis",
    "EnergyDistance",
    "Finding",
    "Refit",
    "TemperatureScaling",
    "calibrate",
    "diagnose",
    "energy_distance",
    "gibbs_probabilities",
    "mutual_information",
    "mutual_information_gap",
    "noncentered",
    "nuts_draws",
    "plot_calibration",
    "plot_loo_pit",
    "plot_moments",
    "plot_pareto_k",
    "plot_reliability",
    "plot_units",
    "reliability",
    "simulate",
    "temperature_scaling",
    "to_arviz",
]
