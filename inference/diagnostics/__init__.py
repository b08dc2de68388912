"""From a guide to ArviZ, and to a judgement of the guide."""

from .diagnosis import Diagnosis, diagnose
from .findings import Finding
from .inference_data import to_arviz
from .predictive import simulate
from .reparameterisation import noncentered

__all__ = ["Diagnosis", "Finding", "diagnose", "noncentered", "simulate", "to_arviz"]
