"""From a guide to ArviZ, and to a judgement of the guide."""

from .diagnosis import Diagnosis, diagnose, judge
from .inference_data import to_arviz
from .predictive import simulate

__all__ = ["Diagnosis", "diagnose", "judge", "simulate", "to_arviz"]
